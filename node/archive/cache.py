"""What a folder keeps of a bucket: how much, for how long, and what goes first.

Any number of processes share the folder and none counts for the others: each looks at all of it whenever it has added a
part of the bound. What was used least recently goes first, by the time of its last change, which every use sets. What
was used in the last hour stays, and so does what was used since an analysis began that still runs: it holds paths. So
the bound may be passed for a while; room on the disk is asked for elsewhere, before anything is received.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from uuid import uuid4

from node.core import locks
from node.incoming import is_abandoned, open_new

SPARED_SECONDS = 3600.0
PART = 32  # of the bound; added since the last look
LOW = 0.9  # of the bound: so much is left where more was there
AGAIN_SECONDS = 10.0  # between two looks that a full disk asks for
PATIENCE_SECONDS = 25.0  # with a process that was stopped while it made room


class Cache:
    """shelves: folders of folders of files. marks: where who reads for long says so."""

    def __init__(
        self, shelves: tuple[Path, ...], marks: Path, bound: int, clock: Callable[[], float] = time.time
    ) -> None:
        self._shelves, self._marks, self._bound, self._clock = shelves, marks, bound, clock
        self._added, self._looked_at = bound, float("-inf")  # nobody knows what is there when a process begins
        self._lock, self._giving = threading.Lock(), threading.Lock()

    def use(self, path: Path) -> bool:
        """Whether it is there; if so it stays for the next hour."""
        with self._locked(fcntl.LOCK_SH):
            with contextlib.suppress(OSError):  # another's file goes earlier than it should, that is all
                os.utime(path)
            return os.access(path, os.R_OK)  # what cannot be read is fetched again, into its place

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Nothing goes that is used from now on until the end of this."""
        mark = self._marks / f"{uuid4().hex}.use"
        descriptor = open_new(mark, direct=False)
        try:
            yield
        finally:
            mark.unlink(missing_ok=True)
            os.close(descriptor)

    def added(self, size: int) -> None:
        """So many bytes came; those that are too many go."""
        with self._lock:
            self._added += size
            if self._added * PART < self._bound:
                return
            self._added = 0
        self._trim(lambda total: total - int(LOW * self._bound) if total > self._bound else 0)

    def give_way(self, wanted: int) -> None:
        """Make ``wanted`` bytes of room on the disk, where that can be. Who comes meanwhile waits for it."""
        with self._giving:
            if self._clock() >= self._looked_at + AGAIN_SECONDS:
                self._trim(lambda _: wanted)
                self._looked_at = self._clock()

    def _trim(self, excess: Callable[[int], int]) -> None:
        """excess: how many bytes are to go, of so many that are there. What fails is done at the next look: nobody is
        refused for it."""
        with contextlib.suppress(OSError):
            found = sorted(self._files())
            left, since = excess(sum(size for _, size, _ in found)), self._spared_since()
            old = [(size, Path(path)) for used, size, path in found if used < since]
            if left > 0 and old:
                self._remove(old, left, since)

    def _remove(self, old: Sequence[tuple[int, Path]], left: int, since: float) -> None:
        with self._locked(fcntl.LOCK_EX):  # whoever uses a file now finds it gone
            for size, path in old:
                if left <= 0:
                    return
                with contextlib.suppress(FileNotFoundError):
                    if path.stat().st_mtime < since:
                        path.unlink()
                        left -= size

    def _files(self) -> Iterator[tuple[float, int, str]]:
        """(when it was used, bytes, path)"""
        for folder in (path for shelf in self._shelves for path in shelf.glob("*/")):
            for file in os.scandir(folder):
                with contextlib.suppress(FileNotFoundError):
                    stat = file.stat()
                    yield stat.st_mtime, stat.st_size, file.path

    def _spared_since(self) -> float:
        began = [self._clock() - SPARED_SECONDS]
        for mark in self._marks.glob("*.use"):
            with contextlib.suppress(FileNotFoundError):
                if is_abandoned(mark):
                    mark.unlink()
                else:
                    began.append(mark.stat().st_mtime)
        return min(began)

    @contextlib.contextmanager
    def _locked(self, how: int) -> Iterator[None]:
        descriptor = os.open(self._marks, os.O_RDONLY | os.O_DIRECTORY)
        try:
            locks.lock(descriptor, PATIENCE_SECONDS, how)
            yield
        finally:
            os.close(descriptor)
