"""What a queue engine is: the way on which jobs of the ledger come to those who do them.

The ledger (``db.jobs``) is the truth on every engine: a job is READY, RUNNING, DONE or PARKED there and nowhere else,
and is claimed there by a token. An engine only says whose turn it is and wakes a worker. Where it says so twice, the
second claim fails; where it forgets, ``mend`` says it again. So engines may be changed while jobs wait.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from node.queue.worker import Loop


class Engine(Protocol):
    def prepare(self) -> None:
        """Make what it needs in the database; before anything else, in one node at a time."""

    def mend(self) -> None:
        """A duty that one node does for all: what was forgotten is said again, what is over is taken away."""

    def work(self, lanes: Sequence[Loop], stop: threading.Event, orphaned: Callable[[], bool]) -> None:
        """In a worker process: give each lane one job after the other until ``stop``, or its supervisor is gone."""


class Ledger:
    """No engine but the ledger: each worker asks it whose turn it is (``rest``)."""

    def prepare(self) -> None:
        pass

    def mend(self) -> None:
        pass

    def work(self, lanes: Sequence[Loop], stop: threading.Event, orphaned: Callable[[], bool]) -> None:
        """The first lane in this thread, so that one alone needs no other."""
        first, *others = lanes
        with ThreadPoolExecutor(max(1, len(others))) as threads:
            running = [threads.submit(lane.run, stop, orphaned) for lane in others]
            first.run(stop, orphaned)
        for lane in running:
            lane.result()
