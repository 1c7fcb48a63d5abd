"""One analysis process: loads the systems, claims jobs in one or several lanes, writes results. Started by ``app`` and
bound to it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy.exc import OperationalError

from models.api import Registry, WeightsMismatch
from node import __version__
from node.archive import RESULTS
from node.composition.archiving import archive_of
from node.composition.queueing import engine_of
from node.composition.routing import node_key, open_registry, routes
from node.composition.tracing import tracing
from node.core import heap, log
from node.core.errors import Transient
from node.core.job import Job, JobKind
from node.core.settings import Settings
from node.core.site import of_site
from node.core.study import StudyState
from node.db import intake as study_rows
from node.db import jobs, members
from node.db.session import Database, url_of
from node.folders import Folders
from node.pipeline.analyse import Analyse
from node.pipeline.by_site import BySite
from node.pipeline.rules import load as load_rules
from node.queue import pulse
from node.queue.lanes import Busy, Gate
from node.queue.rest import Rest
from node.queue.worker import Loop, bind_to_parent, stop_on_sigterm

logger = logging.getLogger(__name__)
AGAIN_SECONDS = 3.0  # until an analysis that disk or database broke off is tried again


@dataclass
class Claiming:
    """Analyses for one lane of a worker, which is at one at a time. pipeline: which models and settings it has."""

    database: Database
    worker: str
    pipeline: str
    clock: Callable[[], datetime]
    gate: Gate
    _is_sure: bool = field(default=True, init=False)

    def __post_init__(self) -> None:
        self._rest = Rest(self.database.changes.mark)

    def __call__(self, job_id: int | None) -> Job | None:
        """This job, or the next one; None where it is not to be had."""
        return self.gate.claim(lambda is_first: self._surely(job_id, is_first))

    def _surely(self, job_id: int | None, is_first: bool) -> Job | Busy | None:
        """is_first: this process is at nothing else."""
        if not self._is_sure:
            self._release()
        self._is_sure = False
        found = self._claimed(job_id, is_first)
        self._is_sure = True
        return found

    def _release(self) -> None:
        """A claim whose commit nobody heard of may stand, and nobody is at its job."""
        with self.database.write() as session:
            jobs.release(session, self.worker, "its claim was not heard of", stopped=True)

    def _claimed(self, job_id: int | None, is_first: bool) -> Job | Busy | None:
        if job_id is None and self._rest.lasts():
            return None
        token, now = uuid.uuid4().hex[:12], self.clock()
        if job_id is None:
            with self.database.read() as session:
                if jobs.next_due(session, JobKind.ANALYSE, now, self.pipeline) is None:
                    if not jobs.waits(session, JobKind.ANALYSE):
                        self._rest.begin()
                    return None
        with self.database.write() as session:
            if job_id is None:
                job = jobs.claim(session, JobKind.ANALYSE, self.worker, token, now, self.pipeline)
            else:
                job = jobs.claim_for(session, job_id, self.pipeline, self.worker, token, now)
            if job is not None and job.alone and not is_first:
                session.rollback()
                return Busy.BUSY
            return job


def run_worker(data: Path, name: str, parent: int, gpu: str = "") -> int:
    """One analysis process; started by ``serve`` and bound to it. gpu: the one that it sees, as CUDA_VISIBLE_DEVICES
    names it; empty: whatever there is."""
    if gpu:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu  # torch, which a load imports, reads it
    orphaned = bind_to_parent(parent)
    if orphaned():  # it died before this process could be bound to it
        return 0
    stop = stop_on_sigterm()
    pulse.tell()
    effective = Folders(data).read_worker_settings()
    folders = Folders(data, effective.database.archive)
    log.start(effective.node.log_level, process=name)
    registry = open_registry(effective.lanes)
    database = Database(url_of(data, effective.database.url), effective.receive.fsync)
    now = database.clock
    archive = archive_of(effective, folders)
    with contextlib.suppress(OSError):  # then each folder is made for the first result that goes there
        archive.prepare(RESULTS)
    trace, known = tracing(effective), routes(effective, registry)
    owner, pipeline = members.owner(folders.member_id()), node_key(known)

    def analyser(wanted: Settings, refusal: str) -> Analyse:
        rules = load_rules(wanted.analysis.selection)
        return Analyse(
            database, archive, registry, wanted, __version__, now, lambda: not orphaned(), rules, trace, refusal
        )

    _warm_up(registry, (of_site(effective, name) for name in known), stop)
    heap.has_started()
    heap.gives_back()
    if not stop.is_set():
        log.event(logger, "worker.ready", worker=name)

    def failed(job: Job, error: Exception) -> None:
        """Back to the queue; after one attempt more than allowed, which only writes the report, parked."""
        if isinstance(error, (Transient, OperationalError)):
            postponed(job, str(error) if isinstance(error, Transient) else "The database cannot be written.")
            return
        sentence = f"{type(error).__name__} in attempt {job.attempts}"
        final = job.attempts > effective.analysis.max_attempts
        with database.write() as session:
            kept = (jobs.park if final else jobs.give_back)(session, job, now(), sentence)
            if kept:
                then = StudyState.FAILED if final else StudyState.QUEUED
                study_rows.move_study(session, job.subject_id, StudyState.ANALYSING, then)
                study_rows.add_event(session, job.subject_id, now(), f"The analysis broke off: {sentence}.")

    def postponed(job: Job, sentence: str) -> None:
        """A fault of disk or database is no attempt of the study: it waits, for as long as that lasts."""
        with database.write() as session:
            is_news = jobs.last_error(session, job) != sentence
            if jobs.postpone(session, job, now() + timedelta(seconds=AGAIN_SECONDS), sentence):
                study_rows.move_study(session, job.subject_id, StudyState.ANALYSING, StudyState.QUEUED)
                if is_news:
                    study_rows.add_event(session, job.subject_id, now(), f"The analysis waits: {sentence}")

    gate, analyse = Gate(lambda: stop.is_set() or orphaned()), BySite(database, effective, analyser)
    names = [f"{owner}{name}/{number + 1}" for number in range(effective.lanes.studies)]
    lanes = [Loop(Claiming(database, one, pipeline, now, gate), analyse, failed, gate.ended) for one in names]
    engine_of(effective, database, pipeline).work(lanes, stop, orphaned)
    trace.close()
    return 0


def _warm_up(registry: Registry, of_sites: Iterable[Settings], stop: threading.Event) -> None:
    """Load every system before the first study; one that cannot be loaded says so in each result instead. What is
    left when the node is to stop is not loaded."""
    loads: list[tuple[Callable[[str, str], object], str, str]] = []
    for analysis in (effective.analysis for effective in of_sites):
        lungs = (analysis.segmenter, analysis.biomarkers)
        wanted: list[tuple[Callable[[str, str], object], str]] = []
        wanted += [(registry.load_segmenter, system) for system in lungs if system]
        wanted += [(registry.load_film_system, system) for system in analysis.systems]
        wanted += [(registry.load_ct_system, system) for system in analysis.ct_systems]
        wanted += [(registry.load_indicator_system, system) for system in analysis.indicators]
        loads += [(load, system, analysis.device) for load, system in wanted]
    for load, system, device in dict.fromkeys(loads):
        if stop.is_set():
            return
        try:
            load(system, device)
        except WeightsMismatch as error:
            log.event(logger, "model.not_loaded", logging.WARNING, system=system, reason=str(error))
        except Exception:
            logger.exception("model.not_loaded", extra={"fields": {"system": system}})
