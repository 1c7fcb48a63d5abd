"""Whether this database is still the one whose archive the bucket is: only then may what it does not name be removed.

A copy of a database (a backup that is served for a trial, a dump of last week, a standby that took over) names the same
bucket and not what came since. So the object ``archive-id`` holds a generation beside the identity. It changes whenever
strays are looked for, which is every hour and at a start, and the database knows the one that is there and the one that
is to follow. A copy that is older knows neither and removes nothing. One that is younger takes the generation over;
whoever held it finds out within the hour, long before anything that came since is old enough to go
(``archive.bucket.SETTLED``), and writes ``disputed``: then neither removes anything until a person has decided.
"""

from __future__ import annotations

import logging
import uuid

from node.archive import ARCHIVE_ID, Archive
from node.core import log
from node.db import members
from node.db.session import Database

logger = logging.getLogger(__name__)
GENERATION = "generation"  # the common thing of all nodes: the one that is there, and the one to follow
DISPUTED = "disputed"
INCOMPLETE = "incomplete"  # a person's word: files that the database names are lost, and that is known
BY_HAND = frozenset({"", INCOMPLETE})  # who wrote it has decided


class Tenure:
    """problem: a sentence for /health/ready; empty: there is none."""

    def __init__(self, database: Database, archive: Archive) -> None:
        self._database, self._archive = database, archive
        self._is_held = False
        self.problem = ""

    def hold(self) -> bool:
        """Whether it is; if so, the next generation has begun. Not for several threads at once."""
        with self._database.read() as session:
            known, expected = members.common(session, "archive"), members.common(session, GENERATION).split()
        identity, _, found = self._archive.mark().partition(" ")
        if identity != known or found not in BY_HAND.union(expected):
            self._lost(known, is_ours=identity == known)
            return False
        following = expected[-1] if found in expected[:-1] else self._prepared(found)
        self._archive.remark(f"{identity} {following}")
        self._is_held, self.problem = True, ""
        return True

    def _prepared(self, found: str) -> str:
        """Committed first: a kill between the two leaves a bucket whose generation the database knows."""
        following = uuid.uuid4().hex
        with self._database.write() as session:
            members.agree(session, GENERATION, following if found in BY_HAND else f"{found} {following}")
        return following

    def _lost(self, known: str, is_ours: bool) -> None:
        if self._is_held and is_ours:
            self._archive.remark(f"{known} {DISPUTED}")
        self._is_held = False
        place = self._archive.place
        self.problem = (
            f"The archive {place} was used by another database since, a copy of this one or its later state: nothing "
            "is cleared away from it. Once no node runs on another, and this is the one to go on with, write "
            f"{known} into {place}/{ARCHIVE_ID}."
        )
        log.event(logger, "archive.not_ours", logging.ERROR, archive=place)
