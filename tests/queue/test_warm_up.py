"""A worker that is to stop while it loads its models loads no further one. Not covered: the load that is under way."""

from __future__ import annotations

import threading
from typing import Any, cast

import pytest

from models.api import Registry
from node import working
from node.core import settings


class Loads:
    """Has every system; after so many loads the node is to stop."""

    def __init__(self, stop: threading.Event, most: int) -> None:
        self.stop, self.most, self.names = stop, most, list[str]()

    def __getattr__(self, name: str) -> Any:
        assert name.startswith("load_")
        return self._load

    def _load(self, system: str, device: str) -> object:
        self.names.append(system)
        if len(self.names) == self.most:
            self.stop.set()
        return object()


ANALYSIS = settings.load().analysis
FEW = [*ANALYSIS.systems, *ANALYSIS.ct_systems, *ANALYSIS.indicators]
ALL = len({ANALYSIS.segmenter, ANALYSIS.biomarkers, *FEW})


@pytest.mark.parametrize("most, loaded", [(1, 1), (3, 3), (ALL + 1, ALL)])
def test_what_is_left_is_not_loaded(most: int, loaded: int) -> None:
    """Of two sites that want the same systems."""
    stop = threading.Event()
    registry = Loads(stop, most)
    working._warm_up(cast(Registry, registry), [settings.load(), settings.load()], stop)
    assert len(registry.names) == loaded and registry.names[0] == ANALYSIS.segmenter
