"""A registry of one film system and one CT system that cost what the environment says and find nothing.

STANDIN is JSON: ``film`` and ``ct``, seconds of one study; ``works``: whether they take processor time or wait, as one
that has sent its work to a GPU does. Where a worker has several lanes, what waits is a device that judges a batch in
the time of one study, and one batch at a time.
"""

from __future__ import annotations

import importlib
import json
import os
import time
from pathlib import Path
from typing import Any

from tests.pipeline.fakes import Fake, FakeRegistry


class Costly(Fake):
    """A system that keeps its worker busy for so long."""

    def __init__(self, system: str, kind: str, seconds: float, works: bool) -> None:
        super().__init__(system, kind, covid19=0.1)
        self._seconds, self._works = seconds, works
        self.ask: Any = self._pass
        self.picture: Any = None

    def _look(self, given: object) -> None:
        self.ask(self.picture)

    def _pass(self, pictures: Any) -> tuple[Any]:
        if not self._works:
            time.sleep(self._seconds)
            return (pictures,)
        end = time.thread_time() + self._seconds
        while time.thread_time() < end:
            pass
        return (pictures,)


class Registry(FakeRegistry):
    """folder: of the cards of the real one."""

    def __init__(self, folder: Path, lanes: int = 1, batch: int = 8, wait_seconds: float = 0.0, _: int = 0) -> None:
        costs = json.loads(os.environ["STANDIN"])
        systems = (
            Costly("standin-lungs", "lungs", 0.0, works=False),
            Costly("standin-film", "film", costs["film"], costs["works"]),
            Costly("standin-ct", "ct", costs["ct"], costs["works"]),
        )
        super().__init__(*systems)
        self._gathering: Any = None
        if lanes > 1:
            self._gathering = importlib.import_module("models.together").Gathering(batch, wait_seconds)
            for system in systems:
                system.picture = importlib.import_module("torch").zeros(1)
                self._gathering.shared(system)

    def _load(self, system: str, kind: str) -> Any:
        found = super()._load(system, kind)
        return self._gathering.attended(found) if self._gathering else found
