"""A model card may say from what age on patients are judged (``[input] minimum_age_years``); this keeps to it.

The limit for all systems is a rule of selection; here is what one system adds to it. An age that is not known stops
nothing: that it is not known is said by a rule.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from models.api import (
    Card,
    CTSystem,
    FilmSystem,
    IndicatorSystem,
    RefusedInput,
    Registry,
    Segmenter,
    VolumeSegmenter,
)


def objection(card: Card, age_years: float | None) -> str:
    """Why the card's system does not judge a patient of this age; empty where it does."""
    least = card.minimum_age_years
    if least is None or age_years is None or age_years >= least:
        return ""
    return f"The patient is younger than {least:g} years, from which on {card.system} judges patients."


@dataclass(frozen=True)
class OfAge:
    """The registry as one patient finds it: a system made for older patients is refused when it is asked for."""

    registry: Registry
    age_years: float | None

    def cards(self) -> tuple[Card, ...]:
        return self.registry.cards()

    def verify(self) -> Mapping[str, str]:
        return self.registry.verify()

    def load_segmenter(self, system: str, device: str = "cpu") -> Segmenter:
        self._check(system)
        return self.registry.load_segmenter(system, device)

    def volume_segmenter(self) -> VolumeSegmenter:
        return self.registry.volume_segmenter()

    def load_film_system(self, system: str, device: str = "cpu") -> FilmSystem:
        self._check(system)
        return self.registry.load_film_system(system, device)

    def load_ct_system(self, system: str, device: str = "cpu") -> CTSystem:
        self._check(system)
        return self.registry.load_ct_system(system, device)

    def load_indicator_system(self, system: str, device: str = "cpu") -> IndicatorSystem:
        self._check(system)
        return self.registry.load_indicator_system(system, device)

    def _check(self, system: str) -> None:
        card = next((card for card in self.registry.cards() if card.system == system), None)
        if card is not None and (said := objection(card, self.age_years)):
            raise RefusedInput(said)
