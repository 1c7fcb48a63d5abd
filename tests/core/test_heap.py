"""One heap for all threads, as glibc itself counts them. Not covered: memory over a long time (``make soak``)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

COUNT = """
import ctypes, sys, threading
from node.core.heap import one_arena
libc = ctypes.CDLL(None)
libc.fopen.restype = libc.malloc.restype = ctypes.c_void_p
if sys.argv[1] == "one":
    one_arena()
together = threading.Barrier(8)
def takes():
    together.wait()
    libc.malloc(5000)
    together.wait()
threads = [threading.Thread(target=takes) for _ in range(8)]
for one in threads: one.start()
for one in threads: one.join()
file = ctypes.c_void_p(libc.fopen(sys.argv[2].encode(), b"w"))
libc.malloc_info(0, file)
libc.fclose(file)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc alone has arenas")
def test_threads_share_one_heap(tmp_path: Path) -> None:
    found = {}
    for which in ("one", "many"):
        file = tmp_path / which
        subprocess.run([sys.executable, "-c", COUNT, which, str(file)], check=True, timeout=60)
        found[which] = file.read_text().count("<heap nr=")
    assert found["one"] == 1 < found["many"]
