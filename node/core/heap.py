"""The heap of a process with many threads that come and go, as glibc keeps it (mallopt(3))."""

from __future__ import annotations

import contextlib
import ctypes

M_ARENA_MAX = -8


def one_arena() -> None:
    """Give all threads one heap: with one each, what a thread freed is kept for that thread, and memory grows with how
    many there were. To be called before there are threads. Other libraries of C have nothing to set."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 1)
