"""Group commit: whoever waits for a commit shares one transaction, and with it one sync of the disk.

Nobody hands work to another thread: the first who finds nobody committing commits for all who wait by then. So a single
association pays nothing for it, and many pay for one sync together.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

from node.db.session import Database

Work = Callable[[Connection], None]
LARGEST_GROUP = 64  # the write lock is held for all of them


class _Waiting:
    def __init__(self, work: Work) -> None:
        self.work = work
        self.done = False
        self.error: Exception | None = None


class GroupCommit:
    """Shared by all threads of a process."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: list[_Waiting] = []
        self._guard, self._turn = threading.Lock(), threading.Lock()

    def run(self, work: Work) -> None:
        """Do ``work`` in a transaction and return once it is committed; raises what it, or the commit, raised."""
        own = _Waiting(work)
        with self._guard:
            self._waiting.append(own)
        with self._turn:
            while not own.done:
                with self._database.turns.taken():  # first: more come while other processes write
                    with self._guard:
                        group, self._waiting = self._waiting[:LARGEST_GROUP], self._waiting[LARGEST_GROUP:]
                    self._commit(group)
        if own.error is not None:
            raise own.error

    def _commit(self, group: list[_Waiting]) -> None:
        """All of them, or one by one where they cannot be committed together: one fault is not everybody's. A database
        that is locked or has no room is: nobody waits for it a second time."""
        try:
            with self._database.writing() as connection:
                for item in group:
                    item.work(connection)
        except Exception as error:  # noqa: BLE001 - raised again by whoever waits for it
            if len(group) > 1 and not isinstance(error, OperationalError):
                for item in group:
                    self._commit([item])
                return
            for item in group:
                item.error = error
        for item in group:
            item.done = True
