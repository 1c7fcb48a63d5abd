"""When studies were last fetched from here, for retention, which removes the least recently needed ones first."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from node.db import retention as rows
from node.db.session import Database

AGAIN_SECONDS = 600.0  # a study is noted at most so often: a viewer fetches it object by object


class Uses:
    """Shared by all associations; may be called from any thread."""

    def __init__(
        self, database: Database, clock: Callable[[], datetime] | None = None, passed: Callable[[], float] | None = None
    ) -> None:
        self._database, self._clock = database, clock or (lambda: datetime.now(UTC))
        self._passed, self._lock = passed or time.monotonic, threading.Lock()
        self._noted: dict[int, float] = {}

    def note(self, study_ids: Iterable[int]) -> None:
        at = self._passed()
        with self._lock:
            self._noted = {one: when for one, when in self._noted.items() if at - when < AGAIN_SECONDS}
            news = [one for one in dict.fromkeys(study_ids) if one not in self._noted]
            self._noted |= dict.fromkeys(news, at)
        if news:
            with self._database.write() as session:
                rows.used(session, news, self._clock())
