"""From a system's id to the running system. Importing this, ``cards`` and ``verify`` need no torch.

A system is loaded once and kept warm; its weights are checked against the card's digest each time they are loaded.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, cast

from models.api import Card, CTSystem, FilmSystem, IndicatorSystem, Segmenter, VolumeSegmenter, WeightsMismatch
from models.cards import read_cards, weights_problem


class Registry:
    """The systems whose cards lie in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._cards = {card.system: card for card in read_cards(folder)}
        self._warm: dict[tuple[str, str], object] = {}

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
        if key not in self._warm:
            module, _, name = card.entry_point.partition(":")
            build: Any = getattr(importlib.import_module(module), name)
            self._warm[key] = _within_memory(partial(build, card), _device(device))
        return self._warm[key]


def _within_memory(build: Callable[[str], object], device: str) -> object:
    """On the CPU as it is: it has no memory of its own that could be full."""
    if device == "cpu":
        return build(device)
    return cast(object, importlib.import_module("models.frugal").Frugal(build, device))


def _device(name: str) -> str:
    if name != "auto":
        return name
    torch = importlib.import_module("torch")
    return "cuda" if torch.cuda.is_available() else "cpu"
