"""A registry of one film system and one CT system that cost what the environment says and find nothing.

STANDIN is JSON: ``film`` and ``ct``, seconds of one study; ``works``: whether they take processor time or wait, as one
that has sent its work to a GPU does.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from tests.pipeline.fakes import Fake, FakeRegistry


class Costly(Fake):
    """A system that keeps its worker busy for so long."""

    def __init__(self, system: str, kind: str, seconds: float, works: bool) -> None:
        super().__init__(system, kind, covid19=0.1)
        self._seconds, self._works = seconds, works

    def _look(self, given: object) -> None:
        if not self._works:
            time.sleep(self._seconds)
            return
        end = time.thread_time() + self._seconds
        while time.thread_time() < end:
            pass


class Registry(FakeRegistry):
    """folder: of the cards of the real one."""

    def __init__(self, folder: Path) -> None:
        costs = json.loads(os.environ["STANDIN"])
        super().__init__(
            Costly("standin-lungs", "lungs", 0.0, works=False),
            Costly("standin-film", "film", costs["film"], costs["works"]),
            Costly("standin-ct", "ct", costs["ct"], costs["works"]),
        )
