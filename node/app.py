"""The composition root: settings -> database, archive, queue, receivers, web, workers. Start, drain, stop.

Everything the rooms need is built here and passed in. The data folder (``folders``) is all the state there is.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError
from starlette.middleware import Middleware
from starlette.routing import BaseRoute

from node import __version__, condition
from node.board import Board
from node.composition import publishing, reloading, showing
from node.composition.admitting import Admitting
from node.composition.archiving import archive_of
from node.composition.auditing import Auditing
from node.composition.following import Following, Ground
from node.composition.membership import Membership, describe
from node.composition.metering import TURN_SECONDS, Metering
from node.composition.reloading import Reload
from node.composition.tracing import tracing
from node.composition.upkeep import Duty, Upkeep
from node.composition.workers import workers_of
from node.core import heap, log
from node.core.errors import LungnodeError
from node.core.reload import changed, merged
from node.core.settings import Settings
from node.db import clock, jobs, members, schema
from node.db.session import Database, url_of
from node.dimse.listening import open_doors, ports
from node.folders import Folders, lock
from node.pipeline.catalogue import Catalogue
from node.queue.embedded import Children, Duties
from node.queue.rest import Rest, resting
from node.web.api.routes import Api
from node.web.metrics import Processes
from node.web.pages.site import Site
from node.web.server import Vitals, WebServer

logger = logging.getLogger(__name__)
COMPLETENESS_SECONDS, DELIVERY_SECONDS, TENDING_SECONDS = 0.25, 0.25, 0.5
COMMITMENT_SECONDS, CLOCK_SECONDS = 0.5, 1.0
RETENTION_SECONDS, PRIORS_SECONDS = 5.0, 1.0
CATALOGUE_SECONDS = 5.0  # what came since is read before a query is answered anyway
AUDIT_SECONDS = 0.5
MEMBERS_SECONDS = 2.0
DRAIN_SECONDS = 60.0
CRASHED, STOPPED = "its worker died", "the node was stopped"


class Supervisor:
    """Everything of one node but the analysis itself."""

    def __init__(
        self,
        effective: Settings,
        folders: Folders,
        again: Callable[[], Settings] | None = None,
        asked: threading.Event | None = None,
    ) -> None:
        """again: reads the settings anew, whence they came; the next ``tend`` does so where ``asked`` is set."""
        self._folders, self._again = folders, again or (lambda: effective)
        self._has_to_reload = asked or threading.Event()
        receive = effective.receive
        self._database = Database(url_of(folders.data, effective.database.url), receive.fsync)
        self._now = self._database.clock
        self._archive = archive_of(effective, folders)
        self._upkeep = Upkeep(self._database, self._archive)
        self._board, self._trace = Board(folders.board), tracing(effective)
        self._does, lease = effective.queue.does, effective.queue.lease_seconds
        owner = members.owner(folders.member_id())
        self._ground = Ground(self._database, self._archive, self._trace, owner, self._board)
        self._following = Following(effective, self._ground)
        self._staff, self._is_stopping = workers_of(effective), False
        this = describe(effective, folders, self._following.key, self._staff.count)
        self._member = Membership(self._database, self._archive, self._board, this, lease)
        self._catalogue = Catalogue(self._database, self._archive)
        self._doors = self._open_doors() if self._does("receiver") else {}
        self._reloading: Reload | None = None
        self._duties = Duties()
        self._receivers = Children(
            "receiver",
            self._receiver_command,
            receive.processes if self._doors else 0,
            os.environ,
            self._board.release,
            [door.fileno() for door in self._doors.values()],
            self._board.serves,
        )
        self._workers = Children("worker", self._worker_command, this.workers, self._staff.environment(), self._release)
        self._site = Site(effective.node.aet)
        self._auditing = Auditing(self._database, effective, folders, self._now)
        self._admitting = Admitting(effective, self._database, self._now, self._site.page)
        self._metering = Metering(
            self._database, self._board, lambda: self._following.pressure, self._processes, self._problems, self._now
        )
        host, port, secrecy = effective.node.http_host, effective.node.http_port, self._admitting.secrecy
        shown = self._shown(self._following)
        self._web = WebServer(self._vitals(), host, port, *shown, secrecy, self._site.handlers())

    def _shown(self, following: Following) -> tuple[list[BaseRoute], list[Middleware]]:
        """Routes of the web, and what stands before them."""
        effective, more = following.settings, list[BaseRoute]()
        if self._does("web"):
            archive, catalogue = self._archive, self._catalogue
            more += Api(self._database, self._now).routes()
            more += publishing.routes(effective, self._folders.board, self._database, archive, catalogue, self._now)
            more += showing.routes(
                self._site,
                effective,
                self._database,
                archive,
                catalogue,
                following.registry,
                following.peers,
                self._now,
            )
        more += self._admitting.routes
        return more, self._admitting.before(self._auditing.before_routes, more)

    def start(self) -> None:
        """Recover what a crash left, then open the doors; the ports are written when all of them are open."""
        self._board.clear()
        self._folders.write_worker_settings(self._settings)
        schema.migrate(self._database.engine)
        self._following.engine.prepare()
        self._auditing.started()
        self._admitting.started()
        self._upkeep.begin()
        released = self._member.start(self._upkeep.clear)
        self._receivers.start()
        self._workers.start()
        self._web.start()
        self._duties.add("metrics", self._metering.turn, TURN_SECONDS)
        for name, function, seconds in self._upkeep.own_duties():
            self._duties.add(name, function, seconds, at_once=True)
        if self._does("worker"):
            self._add_duties_of_all()
            self._duties.add("claims", lambda: self._following.let_go(), CLOCK_SECONDS)
        self._duties.start()
        found = {**ports(self._doors), "http": self._web.port}
        temporary = self._folders.run / "ports.json"
        temporary.write_text(json.dumps(found), encoding="utf-8")
        temporary.replace(self._folders.ports)
        log.event(logger, "node.started", version=__version__, jobs_released=released, **found)

    def _add_duties_of_all(self) -> None:
        """What is done once, however many nodes share the database."""

        def rests(look: Callable[[], bool]) -> Callable[[], None]:
            return resting(look, Rest(self._database.changes.mark))

        duties: list[Duty] = [
            ("audit", rests(self._auditing.turn), AUDIT_SECONDS),
            ("completeness", rests(lambda: self._following.close_studies(self._member.arriving)), COMPLETENESS_SECONDS),
            ("delivery", rests(lambda: self._following.deliver.pump()), DELIVERY_SECONDS),
            ("commitment", rests(lambda: self._following.commitment.pump()), COMMITMENT_SECONDS),
            ("clock", self._follow_clock, CLOCK_SECONDS),
            ("retention", lambda: self._following.retention.turn(), RETENTION_SECONDS),
            ("priors", lambda: self._following.fetch_priors(), PRIORS_SECONDS),
            ("members", self._member.tend, MEMBERS_SECONDS),
            ("queue", lambda: self._following.engine.mend(), MEMBERS_SECONDS),
            *self._upkeep.common_duties(),
        ]
        if self._settings.query.serve:
            duties.append(("catalogue", self._catalogue.describe, CATALOGUE_SECONDS))
        for name, function, seconds in duties:
            self._duties.add(name, self._member.once(function), seconds)

    def tend(self) -> None:
        """Replace children that died; to be called from the thread that called ``start``, now and then."""
        try:
            self._duties.follow_clock()
            for children in (self._receivers, self._workers):
                children.tend()
            if self._has_to_reload.is_set():
                self._has_to_reload.clear()
                self._reload()
            if self._reloading is not None and not self._receivers.is_renewing:
                reloading.write(self._folders, self._reloading)
                self._reloading = None
        except Exception:
            logger.exception("duty.failed", extra={"fields": {"duty": "children"}})

    def _reload(self) -> None:
        """All that can change now, or nothing: what is wrong with the new settings is said, and the old ones hold."""
        before = self._following
        try:
            effective, waiting = merged(before.settings, self._again())
            after = Following(effective, self._ground, before)
            shown = self._shown(after)
            self._member.now_has(after.key)
            self._folders.write_worker_settings(effective)
        except (LungnodeError, OSError) as error:
            self._refuse(str(error))
            return
        except SQLAlchemyError:
            self._refuse("the database cannot be written")
            return
        found = changed(before.settings, effective)
        self._following, self._archive.min_free_bytes = after, effective.receive.min_free_bytes
        before.stop_priors(0)
        self._web.show(*shown)
        log.start(effective.node.log_level, process="node")
        if reloading.concerns_receivers(found):
            self._receivers.renew()
        if reloading.concerns_workers(found) or after.key != before.key:
            self._workers.renew()
        self._reloading = Reload(self._now(), changed=tuple(found), waiting=tuple(waiting))
        log.event(logger, "configuration.reloaded", changed=found, waiting=waiting)
        self._auditing.changed(before.settings, effective)

    def _refuse(self, reason: str) -> None:
        """The row of the audit trail last: it may be the database that fails."""
        self._reloading = Reload(self._now(), refused=reason)
        log.event(logger, "configuration.refused", logging.ERROR, reason=reason)
        self._member.now_has(self._following.key)
        self._auditing.refused(reason)

    def stop(self) -> None:
        """Drain: associations end, the duties stop, workers and deliveries finish what they are at."""
        log.event(logger, "node.draining")
        self._is_stopping = True
        for door in self._doors.values():
            door.close()
        self._receivers.stop(DRAIN_SECONDS + 5)  # each aborts what is left after its own drain
        self._duties.stop()
        self._following.stop_priors(PRIORS_SECONDS)
        self._workers.stop(DRAIN_SECONDS)
        self._following.deliver.drain(DRAIN_SECONDS)
        self._trace.close()
        self._web.stop()
        self._auditing.stopped(self._member.once(self._auditing.turn))
        self._member.stop()
        self._database.close()
        self._folders.ports.unlink(missing_ok=True)
        log.event(logger, "node.stopped")

    @property
    def _settings(self) -> Settings:
        """Those that hold now."""
        return self._following.settings

    def _follow_clock(self) -> None:
        with self._database.read() as session:
            if not clock.set_back(session, self._now()):
                return
        with self._database.write() as session:
            log.event(logger, "clock.set_back", logging.WARNING, rows=clock.go_on(session, self._now()))

    def _open_doors(self) -> dict[str, socket.socket]:
        node = self._settings.node
        return open_doors(node.dicom_host, node.dicom_port, self._settings.tls)

    def _worker_command(self, name: str) -> list[str]:
        return [*self._command("worker", name), *self._staff.flags(name)]

    def _receiver_command(self, name: str) -> list[str]:
        doors = [f"{door}={listening.fileno()}" for door, listening in self._doors.items()]
        return [*self._command("receiver", name), "--doors", *doors]

    def _command(self, kind: str, name: str) -> list[str]:
        folder, parent = str(self._folders.data), str(os.getpid())
        return [sys.executable, "-m", "node.cli", kind, "--data", folder, "--name", name, "--parent", parent]

    def _receiving(self) -> int:
        """Receivers that live and take associations."""
        return min(self._receivers.alive(), self._board.serving(besides=publishing.WEB))

    def _release(self, worker: str) -> None:
        """What all lanes of a worker held. One that is killed since it did not end in time died of no study."""
        lanes, why = f"{self._member.owner}{worker}/", STOPPED if self._is_stopping else CRASHED
        with self._database.write() as session:
            jobs.release(session, lanes, why, stopped=self._is_stopping)

    def _vitals(self) -> Vitals:
        return Vitals(
            problems=self._problems,
            condition=lambda: condition.read(self._database, self._condition(), self._now()),
            readings=self._metering.read,
        )

    def _condition(self) -> condition.Node:
        receivers = condition.Receivers(self._receivers.count, self._receiving(), self._receivers.deaths())
        pressure = self._following.pressure
        disks, troubles = pressure.disks(), pressure.troubles()
        workers = self._workers.count if self._does("worker") else None
        return condition.Node(self._folders.data, True, disks, workers, troubles, receivers)

    def _processes(self) -> dict[str, Processes]:
        alive = {"receiver": self._receiving(), "worker": self._workers.alive()}
        return {
            one.kind: Processes(one.count, alive[one.kind], one.deaths()) for one in (self._receivers, self._workers)
        }

    def _problems(self) -> list[str]:
        """Why the node is not ready, one sentence each."""
        problems = self._following.pressure.problems() + self._upkeep.problems()
        for kind, wanted, alive in (
            ("receivers", self._receivers.count, self._receiving()),
            ("workers", self._workers.count, self._workers.alive()),
        ):
            if alive < wanted:
                problems.append(f"{alive} of {wanted} {kind} run; the others are started again.")
        return problems


def serve(effective: Settings, data: Path, again: Callable[[], Settings] | None = None) -> int:
    """Run a node until SIGTERM or SIGINT; 0 when it drained. SIGHUP: the settings are read anew, by ``again``."""
    log.start(effective.node.log_level, process="node")
    heap.one_arena()
    folders = Folders(data, effective.database.archive)
    folders.make()
    stop, asked = threading.Event(), threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    signal.signal(signal.SIGHUP, lambda *_: asked.set())  # before the lock, which says whom to send it to
    with lock(folders):
        supervisor = Supervisor(effective, folders, again, asked)
        supervisor.start()
        heap.has_started()
        heap.gives_back()
        try:
            while not stop.wait(TENDING_SECONDS):
                supervisor.tend()
        finally:
            supervisor.stop()
    return 0
