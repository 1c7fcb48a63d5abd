"""One heap for all threads, as glibc itself counts them; when garbage is looked for.

Not covered: memory over a long time (``make soak``).
"""

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


GARBAGE = """
import gc, weakref
from node.core import heap
class Cycle:
    def __init__(self):
        self.itself = self
def is_found():
    first = weakref.ref(Cycle())
    for _ in range(5000):
        Cycle()
    return first() is None
heap.starts()
print(is_found())
heap.has_started()
print(gc.get_freeze_count() > 5000, is_found())
"""


def test_garbage_is_looked_for_once_a_program_has_started() -> None:
    """Before, it waits; what was there by then is never looked through again."""
    done = subprocess.run([sys.executable, "-c", GARBAGE], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["False", "True", "True"]


HOLES = """
from node.core import heap
def has_pages():
    return int(open("/proc/self/statm").read().split()[1])
begun = has_pages()
kept = [bytes(20_000) for _ in range(5_000)]
most = has_pages() - begun
del kept[:4_999]
freed = has_pages() - begun
heap.trim()
print(most, freed, has_pages() - begun)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc alone gives back when asked")
def test_what_is_free_below_what_is_in_use_goes_back() -> None:
    done = subprocess.run([sys.executable, "-c", HOLES], capture_output=True, text=True, check=True, timeout=60)
    most, freed, trimmed = map(int, done.stdout.split())
    assert freed > most / 2, "glibc has given it back by itself: the test shows nothing"
    assert trimmed < most / 10
