"""Priors: earlier studies of the patient of a study, asked for and fetched by the rules of [priors].

A job of its own in the ledger: it waits for a peer that is away, outlives a restart, and is given up after the last
step of the back-off table. A study counts as of the same patient where Patient ID and issuer agree as everywhere
(``identity``) and name and birth date stand on both sides and agree. What is fetched is kept and marked; nothing here
decides whether it is analysed (``completeness`` does).
"""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Protocol

from pydicom import Dataset

from node.archive import Archive
from node.core import log
from node.core.errors import LungnodeError, PeerAway, Refused
from node.core.job import Job, JobKind
from node.core.keeping import Priors as Rules
from node.db import intake as study_rows
from node.db import jobs
from node.db import priors as rows
from node.db.priors import Subject
from node.db.session import Database
from node.pipeline.film import read_header
from node.pipeline.header import text_of
from node.pipeline.identity import Patient, difference

logger = logging.getLogger(__name__)
WORKER = "priors"


@dataclass(frozen=True)
class Earlier:
    """A study as the source tells of it. study_date: DA; empty, as modalities may be, where it does not tell."""

    study_uid: str
    study_date: str
    modalities: frozenset[str]
    patient: Patient


class Source(Protocol):
    """Who holds priors; a peer that is away or refuses raises PeerAway or PeerRefused."""

    @property
    def name(self) -> str: ...

    def studies(self, patient_id: str) -> Sequence[Earlier]: ...

    def body_parts(self, study_uid: str) -> frozenset[str]: ...

    def fetch(self, study_uid: str) -> str:
        """Empty when all that the source holds of the study is here, else what is missing and why."""


@dataclass(frozen=True)
class Priors:
    """``fetch`` for one study, by job or by hand. announced: tells that a study is being fetched meanwhile."""

    database: Database
    archive: Archive
    rules: Rules
    source: Source
    clock: Callable[[], datetime]
    announced: Callable[[str], AbstractContextManager[object]] = nullcontext

    def fetch(self, study_id: int) -> str:
        """What came of it, in a sentence that is in the story too. Raises what may be otherwise later."""
        with self.database.read() as session:
            subject = rows.subject(session, study_id)
        said = self._fetch(subject)
        with self.database.write() as session:
            study_rows.add_event(session, study_id, self.clock(), said)
        return said

    def _fetch(self, subject: Subject) -> str:
        try:
            header = read_header(self.archive.path(subject.path)) if subject.path else Dataset()
        except Refused:
            header = Dataset()
        if not all(text_of(header, keyword) for keyword in ("PatientID", "PatientName", "PatientBirthDate")):
            return "No priors were asked for: Patient ID, name and birth date are not all known."
        found = [one for one in self.source.studies(text_of(header, "PatientID")) if one.study_uid != subject.study_uid]
        same = [one for one in found if _is_same(header, one.patient)]
        wanted = self._choose(subject, same)
        problems = [problem for one in wanted if (problem := self._take(subject, one))]
        if problems:
            raise PeerAway(f"{len(problems)} of {len(wanted)} priors are not whole: {problems[0]}")
        others = len(found) - len(same)
        left = f" {others} under this Patient ID left, since name or birth date do not agree." if others else ""
        names = f": {', '.join(one.study_uid for one in wanted)}" if wanted else ""
        return f"{len(wanted)} priors of {self.source.name} are here{names}.{left}"

    def _choose(self, subject: Subject, found: Sequence[Earlier]) -> list[Earlier]:
        """The newest first; a study without a date is none."""
        own = _day(subject.study_date) or self.clock().date()
        oldest = own - timedelta(days=self.rules.max_age_days)
        dated = [(day, one) for one in found if (day := _day(one.study_date)) and oldest <= day <= own]
        modalities, chosen = frozenset(self.rules.modalities), list[Earlier]()
        for _, one in sorted(dated, key=lambda pair: (pair[0], pair[1].study_uid), reverse=True):
            if len(chosen) == self.rules.most:
                break
            if (not modalities or not one.modalities or modalities & one.modalities) and self._shows_wanted_part(one):
                chosen.append(one)
        return chosen

    def _shows_wanted_part(self, one: Earlier) -> bool:
        wanted = {part.casefold() for part in self.rules.body_parts}
        return not wanted or bool(wanted & {part.casefold() for part in self.source.body_parts(one.study_uid)})

    def _take(self, subject: Subject, one: Earlier) -> str:
        """What is missing; a study that is here by another way is let be."""
        with self.database.write() as session:
            if rows.has_files(session, one.study_uid) and not rows.is_marked(session, one.study_uid):
                return ""
            rows.mark(session, one.study_uid, subject.study_id, self.source.name, self.clock())
        with self.announced(one.study_uid):
            problem = self.source.fetch(one.study_uid)
        log.event(logger, "prior.fetched", study_instance_uid=one.study_uid, of=subject.study_uid, complete=not problem)
        return problem


class PriorsDuty:
    """Does one job after the other in a thread of its own, so that a slow peer holds up no other duty."""

    def __init__(self, priors: Priors, backoff_seconds: Sequence[float], owner: str = "") -> None:
        """owner: of its claims, see ``db.members``."""
        self._priors, self._backoff = priors, backoff_seconds
        self._worker = f"{owner}{WORKER}-{uuid.uuid4().hex[:8]}"  # its claims are not those of the duty before a reload
        self._thread = threading.Thread()
        self._stopping = self._broken = False

    def pump(self) -> None:
        """Begin where something is due and nothing is under way."""
        if self._thread.is_alive() or self._stopping or self._broken:
            return
        with self._priors.database.read() as session:
            due = jobs.due(session, JobKind.PRIORS, self._priors.clock())
        if due:
            self._thread = threading.Thread(target=self._guarded, name="priors", daemon=True)
            self._thread.start()

    def let_go(self) -> None:
        """What a thread held that broke off is due again; a duty of every node, as that of ``Deliver``."""
        if self._broken and not self._thread.is_alive():
            with self._priors.database.write() as session:
                jobs.release(session, self._worker, "it broke off")
            self._broken = False

    @property
    def is_over(self) -> bool:
        """It was stopped, and holds nothing."""
        return self._stopping and not self._broken and not self._thread.is_alive()

    def stop(self, seconds: float) -> None:
        """What is not done by then is begun again by the next node: its job stays claimed until that starts."""
        self._stopping = True
        if self._thread.is_alive():
            self._thread.join(seconds)

    def _guarded(self) -> None:
        """Where the database itself fails, nothing can be written down."""
        try:
            self.work()
        except Exception:
            logger.exception("job.failed", extra={"fields": {"kind": JobKind.PRIORS}})
            self._broken = True

    def work(self) -> None:
        """All that is due."""
        while not self._stopping:
            with self._priors.database.write() as session:
                job = jobs.claim(session, JobKind.PRIORS, self._worker, uuid.uuid4().hex[:12], self._priors.clock())
            if job is None:
                return
            self._do(job)

    def _do(self, job: Job) -> None:
        try:
            self._priors.fetch(job.subject_id)
        except LungnodeError as error:
            self._later(job, str(error))
        except Exception as error:
            logger.exception("job.failed", extra={"fields": {"job": job.id}})
            self._later(job, type(error).__name__)
        else:
            with self._priors.database.write() as session:
                jobs.finish(session, job, self._priors.clock())

    def _later(self, job: Job, problem: str) -> None:
        now = self._priors.clock()
        with self._priors.database.write() as session:
            if job.attempts > len(self._backoff):
                jobs.park(session, job, now, problem)
            else:
                jobs.give_back(session, job, now + timedelta(seconds=self._backoff[job.attempts - 1]), problem)
        log.event(logger, "priors.not_fetched", logging.WARNING, job=job.id, attempts=job.attempts, reason=problem)


def _is_same(header: Dataset, patient: Patient) -> bool:
    return bool(patient.name and patient.birth_date) and not difference(header, patient)


def _day(text: str) -> date | None:
    try:
        return datetime.strptime(text, "%Y%m%d").date()
    except ValueError:
        return None
