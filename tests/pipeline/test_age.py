"""The age that a model card states: who is asked, who refuses, what is said when the age is not known.

The limit for all systems, a rule of selection, is in tests/film/test_select.py.
"""

from __future__ import annotations

import dataclasses
from importlib import resources
from pathlib import Path

import pytest

from models.api import Card, RefusedInput
from models.cards import read_cards
from node.core.settings import Analysis
from node.pipeline.age import objection
from node.pipeline.judge import Judge, Stages
from node.pipeline.rules import load
from node.pipeline.select import select_images
from node.results.record import ImageOutcome
from tests.films import Film, drawn, wrap
from tests.pipeline.fakes import Fake, FakeRegistry, identities
from tests.pipeline.slices import change, stored

WANTED = Analysis("lungs", "", ("old", "any"), (), (), False, "cpu", 3)


def aged(fake: Fake, years: float) -> Fake:
    fake.card = dataclasses.replace(fake.card, minimum_age_years=years)
    return fake


def judged(folder: Path, systems: FakeRegistry, **header: object) -> ImageOutcome:
    """A film of a patient whom the rule for all systems lets through, however young."""
    lenient = folder / "lenient.toml"
    lenient.write_text("[image.age]\nyears = 0\n", encoding="utf-8")
    rules = load(lenient)
    ds = change(wrap(Film(drawn(1, 128), "aged")), **header)
    (taken,) = select_images([stored(ds, folder)], rules=rules).taken
    return Judge(systems, WANTED, "0.1.0", rules).film(taken, Stages())


def systems(years: float = 18) -> FakeRegistry:
    return FakeRegistry(Fake("lungs", "lungs"), aged(Fake("old", "film"), years), Fake("any", "film"))


def test_a_system_made_for_older_patients_refuses_and_the_others_judge(tmp_path: Path) -> None:
    outcome = judged(tmp_path, systems(), PatientAge="017Y")
    assert identities(outcome.predictions) == ["any"]
    (refusal,) = outcome.refusals
    assert (refusal.system, refusal.reason) == (
        "old", "The patient is younger than 18 years, from which on old judges patients."
    )  # fmt: skip


def test_from_that_age_on_it_judges(tmp_path: Path) -> None:
    outcome = judged(tmp_path, systems(), PatientAge="018Y")
    assert identities(outcome.predictions) == ["old", "any"] and outcome.refusals == ()


def test_where_every_system_is_made_for_older_patients_the_film_is_left_out(tmp_path: Path) -> None:
    registry = FakeRegistry(Fake("lungs", "lungs"), *(aged(Fake(name, "film"), 18) for name in ("old", "any")))
    with pytest.raises(RefusedInput, match="younger than 18"):
        judged(tmp_path, registry, PatientAge="012Y")


def test_an_age_that_is_not_known_stops_nothing_and_is_said(tmp_path: Path) -> None:
    outcome = judged(tmp_path, systems(), PatientAge=None, PatientBirthDate="")
    assert identities(outcome.predictions) == ["old", "any"]
    for prediction in outcome.predictions:
        assert "The age of the patient is not stated; the systems were trained on adults." in prediction.notes


def test_a_known_age_is_not_remarked_upon(tmp_path: Path) -> None:
    assert not any("age" in note for note in judged(tmp_path, systems(), PatientAge="050Y").predictions[0].notes)


def test_cards_of_systems_for_adults_state_the_age_and_others_none() -> None:
    cards = read_cards(Path(str(resources.files("models"))) / "weights")
    assert {card.minimum_age_years for card in cards if "of an adult" in card.text} == {16.0}
    assert {card.minimum_age_years for card in cards if "of an adult" not in card.text} == {None}


@pytest.mark.parametrize("age, refused", [(15.99, True), (16.0, False), (None, False)])
def test_the_limit_is_the_least_age_that_is_judged(age: float | None, refused: bool) -> None:
    assert bool(objection(_card(16.0), age)) == refused


def test_a_card_without_a_limit_judges_everybody() -> None:
    assert objection(_card(None), 0.1) == ""


def _card(years: float | None) -> Card:
    return dataclasses.replace(Fake("one", "film").card, minimum_age_years=years)
