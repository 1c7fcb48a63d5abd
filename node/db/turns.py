"""Whose turn it is to write: a queue of threads and processes at one lock file, each woken as soon as it is next.

SQLite lets those who find it busy sleep, longer each time. The lock ends with its process. Where the file cannot be
opened nobody queues, and SQLite decides alone.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
from collections.abc import Iterator


class Turns:
    """path: of the lock file; None: threads of this process alone."""

    def __init__(self, path: str | None) -> None:
        self._path, self._descriptor = path, -1
        self._lock, self._depth = threading.RLock(), 0

    @contextlib.contextmanager
    def taken(self) -> Iterator[None]:
        """One at a time; whoever has the turn may take it again."""
        with self._lock:
            self._depth += 1
            try:
                if self._depth == 1:
                    self._flock(fcntl.LOCK_EX)
                yield
            finally:
                self._depth -= 1
                if not self._depth:
                    self._flock(fcntl.LOCK_UN)

    def _flock(self, how: int) -> None:
        with contextlib.suppress(OSError):
            if self._descriptor < 0 and self._path is not None:
                self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
            if self._descriptor >= 0:
                fcntl.flock(self._descriptor, how)

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
