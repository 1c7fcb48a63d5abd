"""Locks of files between processes, with an end to patience: a process that was stopped keeps those that it has.

For locks that several rarely want at once: whoever finds one taken looks again soon, and nobody is first in a queue.
"""

from __future__ import annotations

import errno
import fcntl
import time

SHORTEST, LONGEST = 0.0005, 0.01  # seconds between two looks


def lock(descriptor: int, seconds: float, how: int = fcntl.LOCK_EX) -> None:
    """Until the descriptor is closed. TimeoutError, with its sentence, where another process does not let it go."""
    end, pause = time.monotonic() + seconds, SHORTEST
    while True:
        try:
            fcntl.flock(descriptor, how | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= end:
                raise TimeoutError(errno.ETIMEDOUT, "another process does not let it go") from None
        time.sleep(pause)
        pause = min(2 * pause, LONGEST)
