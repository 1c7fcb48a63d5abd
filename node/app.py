"""The composition root: settings -> database, archive, queue, receiver, web, workers. Start, drain, stop.

Everything the rooms need is built here and passed in. The data folder (``folders``) is all the state there is.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import logging
import os
import signal
import sys
import threading
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import cast

from models.api import Registry, WeightsMismatch
from node import __version__, condition
from node.archive import Archive
from node.core import log
from node.core.errors import Misconfigured
from node.core.job import Job, JobKind
from node.core.settings import Analysis, Settings
from node.core.study import StudyState
from node.db import intake as study_rows
from node.db import jobs, schema, story
from node.db.session import Database, sqlite_url
from node.dimse.access import Access
from node.dimse.scp import Receiver
from node.dimse.tls import Certificates
from node.folders import Folders, lock
from node.peers import Peers
from node.pipeline.analyse import Analyse
from node.pipeline.catalogue import Catalogue
from node.pipeline.commitment import Commitments
from node.pipeline.completeness import close_quiet_studies
from node.pipeline.deliver import Deliver
from node.pipeline.intake import Intake
from node.pipeline.pressure import Pressure
from node.pipeline.rules import load as load_rules
from node.queue.embedded import Duties, Workers
from node.queue.worker import Loop, bind_to_parent, stop_on_sigterm
from node.web.server import Vitals, WebServer

logger = logging.getLogger(__name__)
COMPLETENESS_SECONDS, DELIVERY_SECONDS, TENDING_SECONDS = 0.25, 0.25, 0.5
COMMITMENT_SECONDS = 0.5
CATALOGUE_SECONDS = 5.0  # what came since is read before a query is answered anyway
DRAIN_SECONDS = 60.0
CRASHED = "its worker died"


def now() -> datetime:
    return datetime.now(UTC)


def open_registry() -> Registry:
    """The model registry of this installation. Reads cards only; torch is loaded by a worker's first load."""
    module = importlib.import_module("models.registry")
    return cast(Registry, module.Registry(Path(str(resources.files("models"))) / "weights"))


def pipeline_key(effective: Settings, registry: Registry) -> str:
    """Digest of what, besides the images, decides a result: settings of the analysis, rules of selection, models."""
    analysis = effective.analysis
    wanted = _systems(analysis)
    cards = {card.system: card for card in registry.cards()}
    missing = [system for system, _ in wanted if system not in cards]
    if missing:
        raise Misconfigured(f"no model {', '.join(missing)} is installed; there are {', '.join(sorted(cards))}")
    for system, kind in wanted:
        if cards[system].kind != kind:
            raise Misconfigured(f"{system} is a model for {cards[system].kind}, not for {kind}")
    parts = [f"{cards[system].system} {cards[system].version} {cards[system].weights_sha256}" for system, _ in wanted]
    parts += [str(analysis.ensemble), analysis.device, load_rules(analysis.selection).digest]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _systems(analysis: Analysis) -> list[tuple[str, str]]:
    """(system, the kind its card must have), in the order of the settings."""
    return [
        (analysis.segmenter, "lungs"),
        *((system, "lungs") for system in (analysis.biomarkers,) if system),
        *((system, "film") for system in analysis.systems),
        *((system, "ct") for system in analysis.ct_systems),
        *((system, "indicators") for system in analysis.indicators),
    ]


def _archive(effective: Settings, folders: Folders) -> Archive:
    return Archive(folders.archive, effective.receive.fsync, effective.receive.min_free_bytes)


SWITCH_SECONDS = 0.0005  # receipt, archive and reactor threads hand over often; Python's 5 ms are an fsync long


class Supervisor:
    """Everything of one node but the analysis itself."""

    def __init__(self, effective: Settings, folders: Folders) -> None:
        self._settings, self._folders = effective, folders
        self._key = pipeline_key(effective, open_registry())
        self._database = Database(sqlite_url(folders.data))
        self._archive = _archive(effective, folders)
        self._pressure = Pressure(self._database, self._archive, effective.limits)
        most = effective.receive.max_instance_bytes
        self._intake = Intake(self._database, self._archive, most, now, self._pressure.refusal)
        certificates, access = Certificates(effective.tls), Access.of(effective.limits, effective.access)
        peers = Peers(effective, certificates)
        self._catalogue = Catalogue(self._database, self._archive)
        commitments = Commitments(self._database, self._archive, now, effective.delivery.backoff_seconds)
        self._commitment = peers.commitment(commitments)
        services = [*peers.services(self._catalogue, self._archive), self._commitment]
        self._receiver = Receiver(effective.node, effective.receive, self._intake, services, certificates, access)
        self._deliver = Deliver(
            self._database,
            self._archive,
            effective.delivery,
            peers.send,
            now,
            peer=peers.find,
            ask=peers.ask,
            probe=peers.probe,
            committing=peers.committing(commitments, self._database, now),
        )
        self._duties = Duties()
        self._workers = Workers(self._worker_command, effective.node.workers, self._worker_environment(), self._release)
        self._web = WebServer(self._vitals(), effective.node.http_host, effective.node.http_port)

    def start(self) -> None:
        """Recover what a crash left, then open the doors; the ports are written when all of them are open."""
        schema.migrate(self._database.engine)
        self._archive.discard_temporaries()
        with self._database.write() as session:
            released = jobs.release(session, None, "the node was stopped")
        self._folders.write_worker_settings(self._settings)
        self._receiver.start()
        self._web.start()
        self._workers.start()
        self._duties.add("completeness", self._close_studies, COMPLETENESS_SECONDS)
        self._duties.add("delivery", self._deliver.pump, DELIVERY_SECONDS)
        self._duties.add("commitment", self._commitment.pump, COMMITMENT_SECONDS)
        if self._settings.query.serve:
            self._duties.add("catalogue", self._catalogue.describe, CATALOGUE_SECONDS)
        self._duties.add("workers", self._workers.tend, TENDING_SECONDS)
        self._duties.start()
        ports = {**self._receiver.ports, "http": self._web.port}
        temporary = self._folders.run / "ports.json"
        temporary.write_text(json.dumps(ports), encoding="utf-8")
        temporary.replace(self._folders.ports)
        log.event(logger, "node.started", version=__version__, jobs_released=released, **ports)

    def stop(self) -> None:
        """Drain: associations end, the duties stop, workers and deliveries finish what they are at."""
        log.event(logger, "node.draining")
        self._receiver.stop(DRAIN_SECONDS)
        self._duties.stop()
        self._workers.stop(DRAIN_SECONDS)
        self._deliver.drain(DRAIN_SECONDS)
        self._web.stop()
        self._database.close()
        self._folders.ports.unlink(missing_ok=True)
        log.event(logger, "node.stopped")

    def _close_studies(self) -> None:
        close_quiet_studies(self._database, self._settings.completeness, self._key, self._intake.open_studies(), now())

    def _worker_command(self, name: str) -> list[str]:
        return [
            sys.executable,
            "-m",
            "node.cli",
            "worker",
            "--data",
            str(self._folders.data),
            "--name",
            name,
            "--parent",
            str(os.getpid()),
        ]

    def _worker_environment(self) -> dict[str, str]:
        threads = self._settings.node.threads_per_worker
        threads = threads or max(1, (os.cpu_count() or 1) // max(1, self._settings.node.workers))
        return {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}

    def _release(self, worker: str) -> None:
        with self._database.write() as session:
            jobs.release(session, worker, CRASHED)

    def _vitals(self) -> Vitals:
        return Vitals(
            problems=self._problems,
            condition=lambda: condition.read(
                self._database, self._archive, self._folders.data, self._settings.node.workers, now()
            ),
            counts=self._counts,
            free_bytes=self._archive.free_bytes,
            rejections=lambda: dict(self._receiver.access.rejected),
            seconds_since=lambda at: (now() - at).total_seconds(),
        )

    def _counts(self) -> story.Counts:
        with self._database.read() as session:
            return story.counts(session)

    def _problems(self) -> list[str]:
        """Why the node is not ready, one sentence each."""
        problems = self._pressure.problems()
        wanted, alive = self._settings.node.workers, self._workers.alive()
        if alive < wanted:
            problems.append(f"{alive} of {wanted} workers run; the others are started again.")
        return problems


def serve(effective: Settings, data: Path) -> int:
    """Run a node until SIGTERM or SIGINT; 0 when it drained."""
    log.start(effective.node.log_level)
    sys.setswitchinterval(SWITCH_SECONDS)
    folders = Folders(data)
    folders.make()
    with lock(folders):
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        supervisor = Supervisor(effective, folders)
        supervisor.start()
        try:
            while not stop.wait(1.0):
                pass
        finally:
            supervisor.stop()
    return 0


def run_worker(data: Path, name: str, parent: int) -> int:
    """One analysis process; started by ``serve`` and bound to it."""
    orphaned = bind_to_parent(parent)
    stop = stop_on_sigterm()
    folders = Folders(data)
    effective = folders.read_worker_settings()
    log.start(effective.node.log_level)
    database, registry = Database(sqlite_url(data)), open_registry()
    rules = load_rules(effective.analysis.selection)
    analyse = Analyse(
        database, _archive(effective, folders), registry, effective, __version__, now, lambda: not orphaned(), rules
    )
    _warm_up(registry, effective)
    log.event(logger, "worker.ready", worker=name)

    def claim() -> Job | None:
        with database.read() as session:
            if not jobs.due(session, JobKind.ANALYSE, now()):
                return None
        with database.write() as session:
            return jobs.claim(session, JobKind.ANALYSE, name, uuid.uuid4().hex[:12], now())

    def failed(job: Job, sentence: str) -> None:
        """Back to the queue; after one attempt more than allowed, which only writes the report, parked."""
        final = job.attempts > effective.analysis.max_attempts
        with database.write() as session:
            kept = (jobs.park if final else jobs.give_back)(session, job, now(), sentence)
            if kept:
                then = StudyState.FAILED if final else StudyState.QUEUED
                study_rows.move_study(session, job.subject_id, StudyState.ANALYSING, then)
                study_rows.add_event(session, job.subject_id, now(), f"The analysis broke off: {sentence}.")

    Loop(claim, analyse, failed).run(stop, orphaned)
    return 0


def _warm_up(registry: Registry, effective: Settings) -> None:
    """Load every system before the first study; one that cannot be loaded says so in each result instead."""
    analysis = effective.analysis
    loads: list[tuple[Callable[[str, str], object], str]] = [(registry.load_segmenter, analysis.segmenter)]
    loads += [(registry.load_segmenter, system) for system in (analysis.biomarkers,) if system]
    loads += [(registry.load_film_system, system) for system in analysis.systems]
    loads += [(registry.load_ct_system, system) for system in analysis.ct_systems]
    loads += [(registry.load_indicator_system, system) for system in analysis.indicators]
    for load, system in loads:
        try:
            load(system, analysis.device)
        except WeightsMismatch as error:
            log.event(logger, "model.not_loaded", logging.WARNING, system=system, reason=str(error))
        except Exception:
            logger.exception("model.not_loaded", extra={"fields": {"system": system}})
