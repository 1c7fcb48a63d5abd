"""Who of the lanes of one worker process may claim a job now.

A lane is a thread that is at one study at a time. One lane claims after the other; a job that has to be the only one of
its process (``Job.alone``) is claimed when the others have ended, and nothing is claimed before it has. So of a process
that dies of such a job it is known which one it was.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from enum import Enum, auto

from node.core.job import Job

LOOK_SECONDS = 0.2  # whether the process is to end


class Busy(Enum):
    """What is next has to be the only one, and the process is at others."""

    BUSY = auto()


Take = Callable[[bool], Job | Busy | None]  # (whether the process is at nothing) -> the claimed job, or none


class Gate:
    """Shared by all lanes of a process. Each job that ``claim`` gives is told to have ``ended``."""

    def __init__(self, has_to_end: Callable[[], bool]) -> None:
        self._has_to_end = has_to_end
        self._claiming, self._changed = threading.Lock(), threading.Condition()
        self._running, self._is_closed = 0, False

    def claim(self, take: Take) -> Job | None:
        """What ``take`` claims; it is asked a second time once nothing runs, where it said that it has to be so."""
        with self._claiming:
            if not self._wait(lambda: not self._is_closed):
                return None
            found = take(not self._running)
            if found is Busy.BUSY:
                found = take(True) if self._wait(lambda: not self._running) else None
            if not isinstance(found, Job):
                return None
            with self._changed:
                self._running, self._is_closed = self._running + 1, found.alone
            return found

    def ended(self) -> None:
        with self._changed:
            self._running, self._is_closed = self._running - 1, False
            self._changed.notify_all()

    def _wait(self, until: Callable[[], bool]) -> bool:
        """False where the process is to end before."""
        with self._changed:
            while not self._has_to_end():
                if self._changed.wait_for(until, LOOK_SECONDS):
                    return not self._has_to_end()
        return False
