"""Send what is owed. One association a destination, destinations side by side, a ledger row for every attempt.

"Delivered" means that the peer said so (success, or a warning, which is success with a note). Anything else is tried
again after a growing pause, for ever unless the settings set a limit. Before a file leaves, its bytes are compared with
their digest and its patient and study with those of the source: a mismatch is held, never sent.
"""

from __future__ import annotations

import hashlib
import logging
import random
import threading
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

from node.archive import Archive
from node.core import log
from node.core.errors import Refused
from node.core.job import Job
from node.core.settings import Delivery, Destination
from node.db import deliveries as ledger
from node.db import intake as study_rows
from node.db import jobs
from node.db.session import Database
from node.pipeline.film import read_header
from node.pipeline.identity import contradiction
from node.results.common import source_of

logger = logging.getLogger(__name__)
BATCH = 200  # rows looked at in one turn


@dataclass(frozen=True)
class Outcome:
    """What a peer said of one file; ``status`` None: nothing."""

    status: int | None
    comment: str
    delivered: bool


def worker_name(destination: str) -> str:
    """The name under which a destination's thread claims jobs: short, whatever the destination is called."""
    return f"delivery-{hashlib.sha256(destination.encode()).hexdigest()[:12]}"


class Sender(Protocol):
    """Sends files to a destination; one outcome a file, in order. Never raises for what a peer does."""

    def __call__(self, destination: Destination, files: Sequence[Path]) -> Sequence[Outcome]: ...


@dataclass(frozen=True)
class Deliver:
    """``pump`` is a duty: it starts a thread for each destination that is owed something and has none running."""

    database: Database
    archive: Archive
    settings: Delivery
    send: Sender
    clock: Callable[[], datetime]
    jitter: Callable[[], float] = lambda: random.uniform(0.9, 1.1)
    _busy: dict[str, threading.Thread] = field(default_factory=dict)

    def pump(self) -> None:
        with self.database.read() as session:
            due = ledger.due(session, self.clock(), BATCH)
        for name in dict.fromkeys(item.destination for item in due):
            thread = self._busy.get(name)
            if thread is None or not thread.is_alive():
                mine = [item for item in due if item.destination == name]
                self._busy[name] = thread = threading.Thread(target=self._guarded, args=(name, mine), name=f"to {name}")
                thread.start()

    def drain(self, seconds: float) -> None:
        """Wait for the associations that run."""
        for thread in self._busy.values():
            thread.join(seconds)

    def _guarded(self, name: str, due: Sequence[ledger.Due]) -> None:
        try:
            self.deliver(name, due)
        except Exception:
            logger.exception("delivery.failed", extra={"fields": {"destination": name}})
            with self.database.write() as session:
                jobs.release(session, worker_name(name), "the delivery broke off")

    def deliver(self, name: str, due: Sequence[ledger.Due]) -> None:
        """Claim, check, send, write down."""
        claimed = self._claim(name, due)
        objections = [self._objection(item) for item, _ in claimed]
        doubted = {item.study_id: said for (item, _), said in zip(claimed, objections, strict=True) if said}
        sound: list[tuple[ledger.Due, Job]] = []
        for (item, job), said in zip(claimed, objections, strict=True):
            if item.study_id in doubted:  # a heat map without its report would tell half a story
                self._hold(item, job, said or f"Another result of its study is held: {doubted[item.study_id]}")
            else:
                sound.append((item, job))
        if not sound:
            return
        outcomes = self.send(Destination.parse(name), [self.archive.path(item.path) for item, _ in sound])
        for (item, job), outcome in zip(sound, outcomes, strict=True):
            self._note(item, job, outcome)

    def _claim(self, name: str, due: Sequence[ledger.Due]) -> list[tuple[ledger.Due, Job]]:
        token, now = uuid.uuid4().hex[:12], self.clock()
        with self.database.write() as session:
            found = [(item, jobs.claim_one(session, item.job_id, worker_name(name), token, now)) for item in due]
        return [(item, job) for item, job in found if job is not None]

    def _objection(self, item: ledger.Due) -> str:
        """Empty when the output is what was built and belongs to the patient and study of its source."""
        path = self.archive.path(item.path)
        try:
            if hashlib.sha256(path.read_bytes()).hexdigest() != item.sha256:
                return "The file in the archive is not the one that was built."
            ours = read_header(path)
            source = source_of(read_header(self.archive.path(item.source_path)))
        except (OSError, Refused):
            return "The file, or the source it is compared with, cannot be read from the archive."
        keyword = contradiction((ours, source))
        if ours.get("StudyInstanceUID") != source.get("StudyInstanceUID"):
            keyword = "StudyInstanceUID"
        return f"Its {keyword} differs from that of the source study." if keyword else ""

    def _hold(self, item: ledger.Due, job: Job, reason: str) -> None:
        now = self.clock()
        with self.database.write() as session:
            if jobs.park(session, job, now, reason):
                ledger.note_attempt(session, item.delivery_id, "failed", None, f"Held: {reason}", job.attempts, now)
                study_rows.add_event(session, item.study_id, now, f"A result for {item.destination} is held: {reason}")
        log.event(logger, "delivery.held", logging.ERROR, sop_instance_uid=item.sop_instance_uid, reason=reason)

    def _note(self, item: ledger.Due, job: Job, outcome: Outcome) -> None:
        now = self.clock()
        last = 0 < self.settings.max_attempts <= job.attempts
        with self.database.write() as session:
            if outcome.delivered:
                state, kept = "delivered", jobs.finish(session, job, now)
            elif last:
                state, kept = "failed", jobs.park(session, job, now, outcome.comment)
            else:
                state, kept = "waiting", jobs.give_back(session, job, now + self._pause(job.attempts), outcome.comment)
            if kept:
                ledger.note_attempt(
                    session, item.delivery_id, state, outcome.status, outcome.comment, job.attempts, now
                )
        log.event(
            logger,
            f"delivery.{state}",
            destination=item.destination,
            sop_instance_uid=item.sop_instance_uid,
            attempt=job.attempts,
            status=None if outcome.status is None else f"0x{outcome.status:04X}",
        )

    def _pause(self, attempts: int) -> timedelta:
        table = self.settings.backoff_seconds
        return timedelta(seconds=table[min(attempts, len(table)) - 1] * self.jitter())
