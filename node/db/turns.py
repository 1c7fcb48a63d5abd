"""Whose turn it is to write: a queue of threads and processes at one lock file, each woken as soon as it is next.

SQLite lets those who find it busy sleep, longer each time. The lock ends with its process. A process that was stopped
keeps it: whoever has waited too long, and everybody after it until the lock is free, does not queue, and SQLite decides
alone. So it does where the file cannot be opened.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
from collections.abc import Iterator

LONGEST_SECONDS = 15.0  # in the queue; SQLite's own patience comes after it, and senders wait 30 s for an answer


class Turns:
    """path: of the lock file; None: threads of this process alone."""

    def __init__(self, path: str | None) -> None:
        self._path, self._descriptor = path, -1
        self._lock, self._depth, self._has_it = threading.RLock(), 0, False
        self._queued: _Queued | None = None

    @contextlib.contextmanager
    def taken(self) -> Iterator[None]:
        """One at a time; whoever has the turn may take it again."""
        with self._lock:
            self._depth += 1
            try:
                if self._depth == 1:
                    self._has_it = self._take()
                yield
            finally:
                self._depth -= 1
                if not self._depth and self._has_it:
                    self._has_it = False
                    with contextlib.suppress(OSError):
                        fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def _take(self) -> bool:
        """False where nobody queues."""
        if self._path is None or self._is_stuck():
            return False
        try:
            if self._descriptor < 0:
                self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return self._queue()
        except OSError:
            return False
        return True

    def _queue(self) -> bool:
        try:
            self._queued = _Queued(self._descriptor)
        except RuntimeError:  # no more threads are to be had
            return False
        return self._queued.gets_it_within(LONGEST_SECONDS)

    def _is_stuck(self) -> bool:
        return self._queued is not None and self._queued.given_up and self._queued.is_alive()

    def close(self) -> None:
        if self._descriptor >= 0 and not self._is_stuck():
            os.close(self._descriptor)
            self._descriptor = -1


class _Queued(threading.Thread):
    """Waits for the lock, since nothing that waits for one can be told for how long."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(name="turn", daemon=True)
        self._descriptor, self._guard, self._ended = descriptor, threading.Lock(), threading.Event()
        self._has_it = self.given_up = False
        self.start()

    def run(self) -> None:
        with contextlib.suppress(OSError):
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
            with self._guard:
                self._has_it = not self.given_up
                if self.given_up:
                    fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        self._ended.set()

    def gets_it_within(self, seconds: float) -> bool:
        """Where not, it is let go as soon as it comes."""
        self._ended.wait(seconds)
        with self._guard:
            self.given_up = not self._has_it
            return self._has_it
