"""Studies that a process of this node fetches from elsewhere (``lungnode pull``, priors), for whoever closes studies.

A file for each, locked as long as its process lives, so that what a dead one leaves counts for nobody. They outlive a
start of the node, beside which a pull may go on.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

from node.incoming import is_abandoned


class Fetching:
    """folder: made when it is needed first."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextlib.contextmanager
    def announced(self, study_uid: str) -> Iterator[None]:
        """It is being fetched meanwhile: nobody closes it, however slowly it comes."""
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{uuid4().hex}.study"
        begun = path.with_suffix(".part")
        descriptor = os.open(begun, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            os.write(descriptor, study_uid.encode("ascii", "replace"))
            begun.rename(path)  # locked by the time that anybody sees it
            yield
        finally:
            for one in (begun, path):
                one.unlink(missing_ok=True)
            os.close(descriptor)

    def studies(self) -> frozenset[str]:
        """Those that are being fetched now; what dead processes left is taken away."""
        found = set()
        for path in self._folder.glob("*.study"):
            if is_abandoned(path):
                path.unlink(missing_ok=True)
                continue
            with contextlib.suppress(FileNotFoundError):
                found.add(path.read_text(encoding="ascii"))
        return frozenset(found)
