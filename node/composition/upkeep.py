"""What a node does for its archive besides reading and writing it: clears what a crash left, tidies cache and bucket.

A folder is cleared by the one node that starts; a bucket by turns, since others may be writing to it, and only while
``pipeline.tenure`` says that it is the database's own.
"""

from __future__ import annotations

from collections.abc import Callable

from node.archive import Archive
from node.db.session import Database
from node.pipeline import strays
from node.pipeline.tenure import Tenure

DOUBT_SECONDS = 5.0
BUCKET_SECONDS = 3600.0  # for all of a bucket is listed

Duty = tuple[str, Callable[[], object], float]  # its name, what it does, seconds between


class Upkeep:
    def __init__(self, database: Database, archive: Archive) -> None:
        self._database, self._archive = database, archive
        self._tenure = Tenure(database, archive)

    def begin(self) -> None:
        """What this node itself left unfinished beside a bucket, whoever else lives."""
        if self._archive.is_remote:
            self._archive.discard_temporaries()

    def clear(self) -> None:
        """To be called where no other node lives."""
        if self._archive.is_remote:
            self._tenure.hold()
        else:
            self._archive.discard_temporaries()
            strays.clear(self._database, self._archive)

    def own_duties(self) -> list[Duty]:
        """Of each node."""
        doubts: Duty = ("doubts", self._look_again, DOUBT_SECONDS)
        return [doubts, ("cache", self._forget, BUCKET_SECONDS)] if self._archive.is_remote else [doubts]

    def common_duties(self) -> list[Duty]:
        """Done once, however many nodes share the archive."""
        return [("strays", self._clear_bucket, BUCKET_SECONDS)] if self._archive.is_remote else []

    def problems(self) -> list[str]:
        """Why nothing can be kept or removed, one sentence each."""
        return [self._tenure.problem] if self._tenure.problem else []

    def _look_again(self) -> None:
        """At what its own receipt, over HTTP or of priors, left in doubt; receivers do so themselves."""
        strays.look_again(self._database, self._archive)

    def _clear_bucket(self) -> None:
        strays.clear_bucket(self._database, self._archive, self._tenure.hold)

    def _forget(self) -> None:
        strays.forget(self._database, self._archive)
