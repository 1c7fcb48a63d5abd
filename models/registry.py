"""From a system's id to the running system. Importing this, ``cards`` and ``verify`` need no torch.

A system is loaded once and kept warm; its weights are checked against the card's digest each time they are loaded.
Where several lanes of a process ask, they ask together (``together``).
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

from models.api import Card, CTSystem, FilmSystem, IndicatorSystem, Segmenter, VolumeSegmenter, WeightsMismatch
from models.cards import read_cards, weights_problem


class Registry:
    """The systems whose cards lie in ``folder``.

    lanes: of this process, which share its models; batch: pictures of several lanes that a network judges at once;
    wait_seconds: how long it waits for more of them; memory_mib: of the GPU, for the whole process; 0: all of it.
    """

    def __init__(
        self, folder: Path, lanes: int = 1, batch: int = 8, wait_seconds: float = 0.005, memory_mib: int = 0
    ) -> None:
        self._cards = {card.system: card for card in read_cards(folder)}
        self._warm: dict[tuple[str, str], object] = {}
        self._lanes, self._batch, self._wait_seconds, self._memory_mib = lanes, batch, wait_seconds, memory_mib
        self._loading = threading.Lock()
        self._gathering: Any = None

    def cards(self) -> tuple[Card, ...]:
        return tuple(self._cards.values())

    def verify(self) -> Mapping[str, str]:
        """System id -> "" when the digest matches, else the sentence why not."""
        return {system: weights_problem(card) for system, card in self._cards.items()}

    def load_segmenter(self, system: str, device: str = "cpu") -> Segmenter:
        return cast(Segmenter, self._load(system, "lungs", device))

    def volume_segmenter(self) -> VolumeSegmenter:
        """Without a card: nothing of it was trained."""
        return cast(VolumeSegmenter, importlib.import_module("models.systems.ct_lungs").CTLungs())

    def load_film_system(self, system: str, device: str = "cpu") -> FilmSystem:
        return cast(FilmSystem, self._load(system, "film", device))

    def load_ct_system(self, system: str, device: str = "cpu") -> CTSystem:
        return cast(CTSystem, self._load(system, "ct", device))

    def load_indicator_system(self, system: str, device: str = "cpu") -> IndicatorSystem:
        return cast(IndicatorSystem, self._load(system, "indicators", device))

    def _load(self, system: str, kind: str, device: str) -> object:
        card = self._cards.get(system)
        if card is None or card.kind != kind:
            raise WeightsMismatch(f"No model {system} for {kind} is installed.")
        key = (system, device)
        with self._loading:
            if key not in self._warm:
                module, _, name = card.entry_point.partition(":")
                self._warm[key] = self._made(card, getattr(importlib.import_module(module), name), _device(device))
            return self._warm[key]

    def _made(self, card: Card, entry: Callable[[Card, str], Any], device: str) -> object:
        """On the CPU as it is: it has no memory of its own that could be full."""
        gathering = self._gathered()

        def build(where: str) -> Any:
            system = entry(card, where)
            return gathering.shared(system) if gathering and where == device else system

        if device == "cpu":
            made = build(device)
        else:
            if self._memory_mib:
                importlib.import_module("models.devices").limit_memory(self._memory_mib)
            made = importlib.import_module("models.frugal").Frugal(build, device)
        return gathering.attended(made) if gathering else made

    def _gathered(self) -> Any:
        """None for a single lane."""
        if self._lanes > 1 and self._gathering is None:
            together = importlib.import_module("models.together")
            self._gathering = together.Gathering(self._batch, self._wait_seconds)
        return self._gathering


def _device(name: str) -> str:
    if name != "auto":
        return name
    torch = importlib.import_module("torch")
    return "cuda" if torch.cuda.is_available() else "cpu"
