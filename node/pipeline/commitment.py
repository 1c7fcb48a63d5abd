"""Storage commitment (PS3.4 annex J), both ways, without the wire.

Asked of us: an instance is committed when its row is there and its file in the archive still has the digest of receipt;
the outcome is told until the peer took it. Asked by us: a destination whose table says so must commit what it took
before that counts as delivered; it is asked again after a while, and what it did not commit is delivered again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from pydicom.uid import generate_uid

from node.archive import Archive
from node.core import log
from node.core.errors import Transient
from node.core.job import Job
from node.core.settings import Destination
from node.db import commitments as rows
from node.db import jobs
from node.db.commitments import Asked, Named
from node.db.deliveries import Due
from node.db.session import Database
from node.incoming import digest_of

logger = logging.getLogger(__name__)
BATCH = 20  # requests answered in one turn
GRACE = timedelta(seconds=1)  # the peer may want to release its association, or keep it for the report
NO_SUCH_INSTANCE = 0x0112  # PS3.3 C.14.1.1, as are the others
PROCESSING_FAILURE = 0x0110
CLASS_CONFLICT = 0x0119
HEAD_START = timedelta(seconds=1)  # of the process that has the association on which it was asked
LEASE = timedelta(minutes=2)  # for one report; then another process may send it


@dataclass(frozen=True)
class Report:
    """Event Information of PS3.4 Table J.3.3-1. failed: with Failure Reason."""

    transaction_uid: str
    committed: tuple[Named, ...]
    failed: tuple[tuple[str, str, int], ...]


class Reporter(Protocol):
    """Tells a peer. Empty when it took the report, else the problem in words; never raises for what a peer does."""

    def __call__(self, asked: Asked, report: Report) -> str: ...


class Requester(Protocol):
    """N-ACTION to a destination. Empty when it took the request, else the problem in words."""

    def __call__(self, destination: Destination, transaction_uid: str, instances: Sequence[Named]) -> str: ...


@dataclass(frozen=True)
class Commitments:
    """``take`` and ``taken`` are called by the wire; ``pump`` is a duty."""

    database: Database
    archive: Archive
    clock: Callable[[], datetime]
    backoff_seconds: Sequence[float]

    def take(self, transaction_uid: str, aet: str, address: str, instances: Sequence[Named]) -> None:
        """A peer's request: durable when this returns."""
        now = self.clock()
        with self.database.write() as session:
            rows.request(session, transaction_uid, aet, address, instances, now, now + GRACE)
        log.event(logger, "commitment.asked", transaction_uid=transaction_uid, aet=aet, instances=len(instances))

    def pump(self, tell: Reporter, mine: Callable[[Asked], bool] | None = None) -> bool:
        """Tell those who wait for an outcome: those that are ``mine``, or, a moment later, all. Whether nobody waits
        for one."""
        now = self.clock()
        with self.database.read() as session:
            if not rows.waits(session):
                return True
            due = rows.due(session, now if mine else now - HEAD_START, BATCH)
        for asked in due:
            if (mine is None or mine(asked)) and self._claimed(asked):
                self._answer(asked, tell)
        return False

    def _claimed(self, asked: Asked) -> bool:
        now = self.clock()
        with self.database.write() as session:
            return rows.claim(session, asked.id, now, now + LEASE)

    def _answer(self, asked: Asked, tell: Reporter) -> None:
        with self.database.write() as session:
            rows.promise(session, asked.instances, self.clock())
        try:
            report, problem = self.judge(asked), ""
        except Transient as error:  # nothing is said of what could not be looked at
            report, problem = Report(asked.transaction_uid, (), ()), str(error)
        problem = problem or tell(asked, report)
        now = self.clock()
        with self.database.write() as session:
            if problem:
                rows.report_later(session, asked.id, now + self._pause(asked.attempts + 1), problem)
            else:
                rows.reported(session, asked.id, now)
        level = logging.WARNING if problem else logging.INFO
        counts = {"committed": len(report.committed), "failed": len(report.failed), "reason": problem}
        said = "commitment.not_told" if problem else "commitment.told"
        log.event(logger, said, level, transaction_uid=asked.transaction_uid, aet=asked.aet, **counts)

    def _pause(self, attempts: int) -> timedelta:
        """After so many, from 1."""
        return timedelta(seconds=self.backoff_seconds[min(attempts, len(self.backoff_seconds)) - 1])

    def judge(self, asked: Asked) -> Report:
        """What is durable here at this moment."""
        committed, failed = [], []
        for sop_class, instance in asked.instances:
            reason = self._reason(sop_class, instance)
            if reason:
                failed.append((sop_class, instance, reason))
            else:
                committed.append((sop_class, instance))
        return Report(asked.transaction_uid, tuple(committed), tuple(failed))

    def _reason(self, sop_class: str, instance: str) -> int:
        with self.database.read() as session:
            held = rows.held(session, instance)
        if held is None:
            return NO_SUCH_INSTANCE
        if held.sop_class_uid != sop_class:
            return CLASS_CONFLICT
        try:
            with self.archive.opened(held.path) as file:
                return 0 if digest_of(file) == held.sha256 else PROCESSING_FAILURE
        except OSError:
            return PROCESSING_FAILURE

    def taken(self, transaction_uid: str, committed: Sequence[str], failed: Mapping[str, int]) -> bool:
        """A destination's report: durable when this returns. False for a transaction that is not ours."""
        with self.database.write() as session:
            found = rows.answered(session, transaction_uid, committed, failed, self.clock(), self._pause)
        if found is None:  # another node with our AE title may have asked
            log.event(logger, "commitment.not_ours", logging.WARNING, transaction_uid=transaction_uid)
            return False
        level = logging.WARNING if failed else logging.INFO
        done, again = found
        log.event(
            logger, "commitment.answered", level, transaction_uid=transaction_uid, committed=done, delivered_again=again
        )
        return True


@dataclass(frozen=True)
class Committing:
    """Asks destinations to commit what they took. again: how long to wait for the answer to one request."""

    database: Database
    clock: Callable[[], datetime]
    again: timedelta
    request: Requester

    def ask(
        self, destination: Destination, claimed: Sequence[tuple[Due, Job]], pause: Callable[[int], timedelta]
    ) -> None:
        """One transaction for all of these deliveries, whose claims are given back before it is sent: the answer may
        come before ``request`` has returned, even before a crash."""
        transaction_uid = str(generate_uid(prefix=None))  # a UUID under 2.25, PS3.5 B.2
        now, kept = self.clock(), []
        with self.database.write() as session:
            for item, job in claimed:
                if jobs.give_back(session, job, now + self.again, "the destination has not said that it committed it"):
                    kept.append((item, job))
            rows.ask(session, transaction_uid, [item.delivery_id for item, _ in kept], now)
        if not kept:
            return
        named = [(item.sop_class_uid, item.sop_instance_uid) for item, _ in kept]
        problem = self.request(destination, transaction_uid, named)
        if problem:
            with self.database.write() as session:
                for item, job in kept:
                    rows.ask_later(session, item.delivery_id, self.clock() + pause(job.attempts), problem)
        level = logging.WARNING if problem else logging.INFO
        fields = {"transaction_uid": transaction_uid, "instances": len(named), "reason": problem}
        log.event(logger, "commitment.requested", level, destination=destination.name, **fields)
