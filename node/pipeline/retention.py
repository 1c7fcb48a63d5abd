"""Retention: what goes from the archive by itself, how much at most, and the removal of its files.

Rows go first, files after them: from the commit of a removal on nothing is offered that may be gone, and a removal that
was cut off is finished at the next turn, whatever came again meanwhile. Too many at once is taken for a clock that
jumped or a setting that was mistyped: nothing goes for its age before an operator has said so.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from node.archive import Archive
from node.core import log
from node.core.keeping import Retention as Rules
from node.db import holds
from node.db import retention as rows
from node.db.retention import Bounds, Candidate, Gone
from node.db.session import Database

logger = logging.getLogger(__name__)
STUDIES_PER_TURN = 5
DAY = timedelta(days=1)


@dataclass(frozen=True)
class Decision:
    """What goes now, each with its rule, and why not more. sentence and remedy: empty where all goes that should."""

    going: tuple[tuple[Candidate, str], ...] = ()
    sentence: str = ""
    remedy: tuple[str, ...] = ()


@dataclass
class Retention:
    """``turn`` is a duty; ``decide`` changes nothing. committing: names of destinations that are to commit what they
    take. used_percent: of the archive's disk."""

    database: Database
    archive: Archive
    rules: Rules
    committing: tuple[str, ...]
    clock: Callable[[], datetime]
    used_percent: Callable[[], float] | None = None
    _making_room: bool = field(default=False, init=False)

    def turn(self) -> None:
        """Finish what was begun, then remove what is due, a few studies at most."""
        self._finish_all()
        decision = self.decide(STUDIES_PER_TURN)
        self._say(decision)
        for candidate, rule in decision.going:
            if rule == self._room_rule and not self._is_too_full():
                break
            self._remove(candidate, rule)

    def decide(self, limit: int | None = None) -> Decision:
        """For their age first, then for want of room; ``limit`` studies at most."""
        if not self.rules.is_on:
            return Decision()
        with self.database.read() as session:
            lifted = holds.is_allowed(session, self.clock())
            gone = rows.count_removed(session, self.clock() - DAY)
            most = max(1, int((rows.count_here(session) + gone) * self.rules.max_percent_per_day / 100))
            left = None if lifted else max(0, most - gone)
            return self._roomy(session, limit, left, self._aged(session, limit, left))

    def _aged(self, session: Session, limit: int | None, left: int | None) -> Decision:
        days = self.rules.remove_after_days
        before = self.clock() - timedelta(days=days)
        found = rows.removable(session, self.bounds(), limit, before) if days else []
        if not found:
            return Decision()
        if left is not None and (due := rows.count_removable(session, self.bounds(), before)) > left:
            sentence = (
                f"{due} studies are older than retention.remove_after_days = {days:g} and at most {left} more may go "
                "today (retention.max_percent_per_day), so none goes for its age. Is the clock right?"
            )
            return Decision((), sentence, ("retention", "allow"))
        rule = f"it came more than {days:g} days ago (retention.remove_after_days)"
        return Decision(tuple((one, rule) for one in found))

    def _roomy(self, session: Session, limit: int | None, left: int | None, aged: Decision) -> Decision:
        """``aged`` and what goes for want of room besides."""
        if not self._is_too_full():
            return aged
        known = {one.id for one, _ in aged.going}
        found = [one for one in rows.removable(session, self.bounds(), limit) if one.id not in known]
        wanted = found[: self._enough(found)]
        allowed = wanted if left is None else wanted[: max(0, left - len(known))]
        going = (*aged.going, *((one, self._room_rule) for one in allowed))
        if aged.sentence:
            return Decision(going, aged.sentence, aged.remedy)
        if len(allowed) < len(wanted):
            sentence = (
                f"The archive's disk is {self._used():.0f} % full, and no more than "
                f"{self.rules.max_percent_per_day:g} % of the studies go in a day (retention.max_percent_per_day)."
            )
            return Decision(going, sentence, ("retention", "allow"))
        if not going:
            sentence = f"The archive's disk is {self._used():.0f} % full, and there is no study that may go."
            return Decision((), sentence, ("retention", "plan"))
        return Decision(going)

    def _enough(self, found: list[Candidate]) -> int:
        """How many of them, in order, bring the disk to the low mark by the size of what was received."""
        total = shutil.disk_usage(self.archive.root).total
        over = (self._used() - self.rules.low_watermark_percent) / 100 * total
        for number, one in enumerate(found):
            if over <= 0:
                return number
            over -= one.bytes
        return len(found)

    def _is_too_full(self) -> bool:
        """Above the high mark, and from then on until the low one is reached."""
        high, low = self.rules.high_watermark_percent, self.rules.low_watermark_percent
        used = self._used() if high else 0.0
        self._making_room = bool(high) and (used > high or (self._making_room and used > low))
        return self._making_room

    def _used(self) -> float:
        if self.used_percent is not None:
            return self.used_percent()
        disk = shutil.disk_usage(self.archive.root)
        return 100 * (1 - disk.free / disk.total)

    @property
    def _room_rule(self) -> str:
        high, low = self.rules.high_watermark_percent, self.rules.low_watermark_percent
        return (
            f"the archive's disk was more than {high:g} % full, and {low:g} % are wanted; it was needed least recently"
        )

    def bounds(self) -> Bounds:
        return Bounds(self.clock() - timedelta(days=self.rules.min_days), self.committing, self.rules.keep_committed)

    def _remove(self, candidate: Candidate, rule: str) -> None:
        with self.database.write() as session:
            removal = rows.remove(session, candidate.id, rule, self.bounds(), self.clock())
        if removal is not None:
            self._finish_all()

    def _finish_all(self) -> None:
        with self.database.read() as session:
            found = rows.unfinished(session)
        for gone in found:
            self._finish(gone)

    def _finish(self, gone: Gone) -> None:
        """A file that came again meanwhile has a row again and stays."""
        for sop_uid, path in gone.received:
            with self.archive.claimed(sop_uid), self.database.read() as session:
                if not rows.is_named(session, path, sop_uid):
                    self.archive.discard(path)
        for path in gone.results:
            self.archive.discard(path)
        self.archive.settle((*(path for _, path in gone.received), *gone.results))
        with self.database.write() as session:
            rows.finish(session, gone.id, self.clock())
        files = len(gone.received) + len(gone.results)
        log.event(logger, "study.removed", study_instance_uid=gone.study_uid, rule=gone.rule, files=files)

    def _say(self, decision: Decision) -> None:
        """In the database, for status and health page; once in the log."""
        with self.database.read() as session:
            known = holds.problem(session)
        if (known.sentence if known else "") == decision.sentence:
            return
        with self.database.write() as session:
            holds.note_problem(session, decision.sentence, decision.remedy, self.clock())
        if decision.sentence and known is None:
            log.event(logger, "retention.held", logging.WARNING, reason=decision.sentence)
