"""A disk and a clock that fail at will, for a node as a process: ``shim.c``, built by the C compiler of this machine.

The node knows nothing of it. Without a compiler the tests that need it skip with a sentence.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.peers import Absent

LAYOUT = struct.Struct("=qqqq224s")  # struct faults of shim.c
SOURCE = Path(__file__).with_name("shim.c")


class Shim:
    """``environment`` is for the process; ``fault`` holds for as long as its block. One at a time."""

    def __init__(self, folder: Path) -> None:
        compiler = shutil.which("cc") or shutil.which("gcc")
        if compiler is None:
            raise Absent("there is no C compiler: Debian package gcc")
        library, self._file = folder / "shim.so", folder / "faults"
        subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", library, SOURCE, "-ldl"], check=True, timeout=60)
        self._file.write_bytes(LAYOUT.pack(0, 0, 0, 0, b""))
        self.environment = {"LD_PRELOAD": str(library), "FAULTS_PAGE": str(self._file)}

    @contextlib.contextmanager
    def fault(
        self, where: str = "", *, sync: int = 0, write: int = 0, delay_seconds: float = 0, clock_seconds: int = 0
    ) -> Iterator[None]:
        """sync, write: the errno that these end in, for files whose path holds ``where``."""
        self._set(LAYOUT.pack(sync, write, int(delay_seconds * 1e6), clock_seconds, where.encode()))
        try:
            yield
        finally:
            self._set(LAYOUT.pack(0, 0, 0, 0, b""))

    def _set(self, content: bytes) -> None:
        """In the same page that the processes have mapped."""
        descriptor = os.open(self._file, os.O_WRONLY)
        try:
            os.pwrite(descriptor, content, 0)
        finally:
            os.close(descriptor)


FAILED = errno.EIO
