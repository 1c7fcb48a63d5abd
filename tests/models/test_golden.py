"""Every shipped weight still gives on two phantoms what it gave when it was put in; see ``golden``."""

from __future__ import annotations

import tomllib

import pytest

from models.registry import Registry
from tests.models.golden import FILE, WEIGHTS, answers

PROBABILITY = 2e-3  # sums differ between processors and library versions
RELATIVE = 5e-3


def test_shipped_weights_give_what_they_gave() -> None:
    kept = tomllib.loads(FILE.read_text(encoding="utf-8"))
    found = answers()
    assert set(found) == set(kept) == {card.system for card in Registry(WEIGHTS).cards() if card.weights_sha256}
    for system, numbers in kept.items():
        assert found[system] == pytest.approx(numbers, abs=PROBABILITY, rel=RELATIVE), system
