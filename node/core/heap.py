"""The heap: that of a process with many threads that come and go, as glibc keeps it (mallopt(3)), what of it goes back
to the system, and when Python looks through it for garbage.

Imports make some hundred thousand objects, of which none is garbage; looked through again and again, and once more at
the end, they cost a program that ends soon a third of its processor time.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import gc
import threading

M_ARENA_MAX = -8
TRIM_SECONDS = 30.0
USUAL, SELDOM = gc.get_threshold(), (100_000, 50, 100)


def one_arena() -> None:
    """Give all threads one heap: with one each, what a thread freed is kept for that thread, and memory grows with how
    many there were. To be called before there are threads. Other libraries of C have nothing to set."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 1)


def starts() -> None:
    """Of a program as a whole: garbage is looked for seldom, and not at its end."""
    gc.set_threshold(*SELDOM)
    atexit.register(gc.freeze)


def has_started() -> None:
    """Of one that goes on for long: what is here now stays and is not looked through; what comes is, as usual."""
    gc.freeze()
    gc.set_threshold(*USUAL)


def gives_back() -> None:
    """Of one that goes on for long: free pages go back to the system now and then."""
    threading.Thread(target=_trim_for_ever, name="heap", daemon=True).start()


def trim() -> None:
    """By itself glibc gives back only what is free behind the last block in use (malloc_trim(3)): of a receiver that
    had served some thousand associations, 48 at once, three quarters of the heap were free and still its own."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def _trim_for_ever() -> None:
    pause = threading.Event()
    while not pause.wait(TRIM_SECONDS):
        trim()
