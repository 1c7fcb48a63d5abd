"""Whether the node can take more: room on disk, a disk and a database that can be written, studies that wait.

What it says is a sentence for the sender (with 0xA700, so that it tries again) or for the operator (a problem). Both
end by themselves when there is room again and the queue is shorter.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from node.archive import Archive
from node.core.job import JobKind
from node.core.limits import Limits
from node.db import jobs
from node.db.session import Database
from node.pipeline.disks import Disk, disks
from node.pipeline.probe import Trouble, troubles

RECOUNT_SECONDS = 1.0  # the queue is counted, and the disk tried, at most so often, however many objects come


class Pressure:
    """Every method may be called from any thread."""

    def __init__(
        self, database: Database, archive: Archive, limits: Limits, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._database, self._archive, self._limits, self._clock = database, archive, limits, clock
        self._counted_at, self._waiting = float("-inf"), 0
        self._tried_at, self._troubles = float("-inf"), tuple[Trouble, ...]()

    def refusal(self) -> str:
        """Why a sender that begins now is to come later; empty: it need not. Room on the archive's disk is asked for
        each object by intake itself, since it may end in the middle of a study."""
        if any(not disk.has_room for disk in self.disks()):
            return "the disk of the database is nearly full"
        return self._queue()

    def _queue(self) -> str:
        most = self._limits.max_waiting_studies
        if most and self._count() > most:
            return f"more than {most} studies wait to be analysed"
        return ""

    def troubles(self) -> tuple[Trouble, ...]:
        """What of archive and database cannot be written now."""
        if self._clock() >= self._tried_at + RECOUNT_SECONDS:
            self._troubles = troubles(self._archive, self._database)
            self._tried_at = self._clock()
        return self._troubles

    def disks(self) -> tuple[Disk, ...]:
        """Room where archive and database lie."""
        floor = self._archive.min_free_bytes
        factor, cached = self._limits.warn_free_factor, self._archive.is_remote
        return disks(self._archive.root, self._database.file, floor, factor, cached)

    def problems(self) -> list[str]:
        """One sentence each, for /health/ready."""
        found = [trouble.sentence for trouble in self.troubles()]
        has_rows = all(trouble.subject != "database" for trouble in self.troubles())
        found += [disk.sentence for disk in self.disks() if disk.sentence]
        if has_rows and (sentence := self._queue()):
            found.append(f"New senders are answered 0xA700 until the queue is shorter: {sentence}.")
        return found

    def _count(self) -> int:
        now = self._clock()
        if now >= self._counted_at + RECOUNT_SECONDS:
            self._counted_at = now
            with self._database.read() as session:
                self._waiting = jobs.ready(session, JobKind.ANALYSE)
        return self._waiting
