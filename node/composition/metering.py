"""What the metrics of this run are read from: the database, the board, the disks, the children.

Part of the composition root. What costs more than a scrape may is read by a duty and kept: results of
the last day, bytes of the archive. Until the duty has had its first turn they are not told.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from node.board import Board
from node.core.job import JobKind
from node.db import figures
from node.db.session import Database
from node.pipeline.pressure import Pressure
from node.web.metrics import Processes, Readings, Room

TURN_SECONDS = 15.0
WINDOW = timedelta(hours=24)
COUNTED_EVERY = 40  # turns: every received object is read for it


@dataclass
class _Kept:
    recent: list[figures.Recent] = field(default_factory=list)
    archive_bytes: int | None = None
    turns: int = 0


@dataclass(frozen=True)
class Metering:
    """``read`` for each scrape, ``turn`` for the duty."""

    database: Database
    board: Board
    pressure: Callable[[], Pressure]
    processes: Callable[[], Mapping[str, Processes]]
    problems: Callable[[], list[str]]
    clock: Callable[[], datetime]
    _kept: _Kept = field(default_factory=_Kept)

    def turn(self) -> None:
        with self.database.read() as session:
            self._kept.recent = figures.recent(session, self.clock() - WINDOW)
            if self._kept.turns % COUNTED_EVERY == 0:
                self._kept.archive_bytes = figures.received_bytes(session)
        self._kept.turns += 1

    def read(self) -> Readings:
        with self.database.read() as session:
            found = figures.read(session)
        now = self.clock()
        waiting = {kind: max(0.0, (now - at).total_seconds()) for kind, at in found.oldest_ready.items()}
        return Readings(
            figures=found,
            ages={str(kind): waiting.get(str(kind), 0.0) for kind in JobKind},
            rejections=self.board.rejected(),
            associations=self.board.associations(),
            disks={
                disk.holds.split()[0]: Room(disk.free_bytes, disk.total_bytes, disk.refusal_bytes)
                for disk in self.pressure().disks()
            },
            processes=self.processes(),
            recent=self._kept.recent,
            archive_bytes=self._kept.archive_bytes,
            ready=not self.problems(),
        )
