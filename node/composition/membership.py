"""This node among those that share its database: that it lives, who of them does the duties, one archive for all.

On SQLite there is no other. Part of the composition root.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from sqlalchemy.exc import SQLAlchemyError

from node import __version__
from node.archive import Archive
from node.board import Board
from node.composition.sharing import share
from node.core import log
from node.core.errors import Misconfigured
from node.core.settings import Settings
from node.db import jobs, members
from node.db.elected import Elected, alone_starting
from node.db.session import Database
from node.folders import Folders

logger = logging.getLogger(__name__)
BEAT_SECONDS = 1.0
COPY_SECONDS, LOOK_SECONDS = 3.0, 0.25  # a node that lives is heard of meanwhile; between two looks
TENDING_SECONDS = 2.0


def describe(effective: Settings, folders: Folders, pipeline: str, workers: int) -> members.Node:
    """What this node says of itself to the others."""
    place = f"{socket.gethostname()}:{os.getpid()}"
    return members.Node(
        folders.member_id(), uuid.uuid4().hex, place, effective.node.aet, effective.queue.roles, workers, pipeline,
        __version__,
    )  # fmt: skip


@dataclass
class Membership:
    """``start`` before anything else, ``tend`` as a duty. board: of the associations of this node."""

    database: Database
    archive: Archive
    board: Board
    node: members.Node
    lease_seconds: float
    _stop: threading.Event = field(default_factory=threading.Event, init=False)
    _beating: threading.Thread | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self._elected = Elected(self.database.engine)
        self._is_one_of_many = self.database.file is None

    @property
    def owner(self) -> str:
        """How the names begin under which processes of this node claim jobs."""
        return members.owner(self.node.id)

    def start(self, clear: Callable[[], object]) -> int:
        """Join the others; how many jobs were given back. clear: takes away what a crash left in the archive; called
        where no other node lives, and before one can start."""
        with alone_starting(self.database.engine):
            if self._is_one_of_many:
                self._refuse_a_copy()
            now = self.database.clock()
            with self.database.write() as session:
                if not self._is_one_of_many:
                    members.forget_all(session)
                members.join(session, self.node, now)
                released = jobs.release(session, self.owner, "the node was stopped", stopped=True)
                others = members.others(session, self.node, now - timedelta(seconds=self.lease_seconds))
                if not others:
                    released += jobs.release(session, None, "the node was stopped")
            share(self.database, self.archive, is_alone=not others)
            if not others:
                clear()
        if self._is_one_of_many:
            log.event(logger, "member.joined", member=self.node.id, others=others, roles=",".join(self.node.roles))
            self._beating = threading.Thread(target=self._beat_on, name="member", daemon=True)
            self._beating.start()
        return released

    def _refuse_a_copy(self) -> None:
        """Of two nodes with one name each would give away what the other is at. Our last run is heard of no more."""
        before, looks = self._last_beat(), int(COPY_SECONDS / LOOK_SECONDS)
        for _ in range(looks if before else 0):
            time.sleep(LOOK_SECONDS)
            if self._last_beat() not in (before, None):
                raise Misconfigured(
                    f"a node that runs on this database has the name of this one, {self.node.id}: its data folder was "
                    "copied. Remove run/member from the copy, and see that both have one archive (database.archive)"
                )

    def _last_beat(self) -> datetime | None:
        since = self.database.clock() - timedelta(seconds=self.lease_seconds)
        with self.database.read() as session:
            return members.last_beat(session, self.node.id, since)

    def now_has(self, pipeline: str) -> None:
        """Its workers have other models or settings from now on."""
        if pipeline != self.node.pipeline:
            with self.database.write() as session:
                members.now_has(session, self.node, pipeline)
            self.node = replace(self.node, pipeline=pipeline)

    def stop(self) -> None:
        """The others need not wait for the end of the lease."""
        self._stop.set()
        if self._beating is not None:
            self._beating.join(10)
            try:
                with self.database.write() as session:
                    members.leave(session, self.node)
            except SQLAlchemyError:
                logger.exception("member.not_left")
        self._elected.resign()

    def once(self, duty: Callable[[], object]) -> Callable[[], None]:
        """A duty that one node does for all."""

        def run() -> None:
            if self._elected.seconds() >= 0:
                duty()

        return run

    def arriving(self) -> tuple[frozenset[str], datetime]:
        """Studies that associations of any node are sending, and when that was so."""
        now = self.database.clock()
        if not self._is_one_of_many:
            return self.board.open_studies(), now
        with self.database.read() as session:
            return members.arriving(session, now)

    def tend(self) -> None:
        """Do the work of nodes that are gone; let what asks for models that are gone have those of now."""
        now = self.database.clock()
        with self.database.write() as session:
            lost = []
            if self._is_one_of_many and self._elected.seconds() > self.lease_seconds:  # all had the time to be heard
                lost = members.expire(session, now - timedelta(seconds=self.lease_seconds), now)
            adopted = members.adopt(session, self.node.pipeline, now)
        for place, released in lost:
            log.event(logger, "member.lost", logging.ERROR, member=place, jobs_released=released)
        if adopted:
            log.event(logger, "jobs.adopted", logging.WARNING, jobs=adopted)

    def _beat_on(self) -> None:
        silent = False
        while not self._stop.wait(BEAT_SECONDS):
            try:
                self._beat()
                silent = False
            except SQLAlchemyError as error:
                if not silent:
                    reason = str(getattr(error, "orig", None) or type(error).__name__).strip().splitlines()[0]
                    log.event(logger, "member.not_heard", logging.WARNING, reason=reason)
                silent = True

    def _beat(self) -> None:
        now = self.database.clock()  # first: what arrives from here on may be missing
        arriving, behind = self.board.open_studies(), self.database.clock.behind().total_seconds()
        with self.database.aside() as session:
            known = members.beat(session, self.node, arriving, behind, now)
        if not known:
            log.event(logger, "member.rejoined", logging.WARNING, member=self.node.id)
            with self.database.write() as session:
                members.join(session, self.node, now)
                members.beat(session, self.node, arriving, behind, now)  # nobody closes what arrives here
