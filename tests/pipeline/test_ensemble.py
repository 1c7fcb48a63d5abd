"""The arithmetic of the mean of several systems. Which predictions reach it is in test_judge."""

from __future__ import annotations

import hashlib

import pytest

from models.api import ClassScore, Code, ModelIdentity, Prediction
from node.pipeline.ensemble import mean_of

DIGESTS = {"one": "a" * 64, "two": "b" * 64, "three": "c" * 64}


def said(system: str, **probabilities: float) -> Prediction:
    """A system's answer; its decision is its first class, which the mean must not copy."""
    scores = tuple(
        ClassScore(name, p, number == 0, 0.5, Code(name, "99TEST", f"{name} by {system}"))
        for number, (name, p) in enumerate(probabilities.items())
    )
    model = ModelIdentity(system, f"System {system}", "7", DIGESTS[system])
    return Prediction(model, scores, scores[0].name, "made up")


def mean(*predictions: Prediction) -> dict[str, float]:
    found = mean_of(predictions, "0.1.0")
    assert found is not None
    return {score.name: score.probability for score in found.scores}


def test_two_systems_of_the_same_classes() -> None:
    assert mean(said("one", normal=0.2, covid19=0.8), said("two", covid19=0.4, normal=0.6)) == pytest.approx(
        {"normal": 0.4, "covid19": 0.6}
    )


def test_each_class_is_the_mean_over_those_that_have_it_and_the_sum_is_one() -> None:
    found = mean(
        said("one", normal=0.1, pneumonia=0.6, covid19=0.3),
        said("two", normal=0.5, pneumonia=0.2, covid19=0.3),
        said("three", normal=0.9, covid19=0.1),
    )
    total = 0.5 + 0.4 + 0.7 / 3
    assert found == pytest.approx({"normal": 0.5 / total, "pneumonia": 0.4 / total, "covid19": 0.7 / 3 / total})
    assert sum(found.values()) == pytest.approx(1)


def test_a_class_of_one_system_alone_is_left_out_and_named() -> None:
    found = mean_of([said("one", normal=0.1, pneumonia=0.6, covid19=0.3), said("two", normal=0.5, covid19=0.5)], "1")
    assert found is not None
    assert [score.name for score in found.scores] == ["normal", "covid19"]
    assert [score.probability for score in found.scores] == pytest.approx([0.3 / 0.7, 0.4 / 0.7])
    assert found.notes == ("Known to one system alone and not part of the mean: pneumonia.",)


def test_there_is_no_mean_against_the_one_system_that_knows() -> None:
    pneumonia = said("one", pneumonia=0.98, normal=0.01, covid19=0.01)
    assert mean_of([pneumonia, said("two", normal=0.55, covid19=0.45)], "0.1.0") is None


def test_the_decision_is_the_most_probable_class() -> None:
    found = mean_of([said("one", normal=0.4, covid19=0.6), said("two", normal=0.3, covid19=0.7)], "1")
    assert found is not None and found.decided_class == "covid19"
    assert [score.decision for score in found.scores] == [False, True]


def test_of_equal_classes_the_first_is_decided() -> None:
    found = mean_of([said("one", normal=0.4, covid19=0.6), said("two", normal=0.6, covid19=0.4)], "1")
    assert found is not None and found.decided_class == "normal"


@pytest.mark.parametrize(
    "predictions",
    [
        [],
        [said("one", normal=0.4, covid19=0.6)],
        [said("one", normal=0.4, covid19=0.6), said("two", nodule=1.0)],
        [said("one", normal=0.4, covid19=0.6), said("two", covid19=0.6, nodule=0.4)],
    ],
)
def test_there_is_no_mean_without_two_systems_and_two_common_classes(predictions: list[Prediction]) -> None:
    assert mean_of(predictions, "1") is None


def test_its_identity_is_that_of_its_members() -> None:
    members = [said("one", normal=0.4, covid19=0.6), said("two", normal=0.6, covid19=0.4)]
    found = mean_of(members, "0.1.0")
    assert found is not None
    digest = hashlib.sha256(("a" * 64 + "b" * 64).encode()).hexdigest()
    assert found.model == ModelIdentity("ensemble", "Mean of 2 systems", "0.1.0", digest, "mean of one 7, two 7")
    assert found.heat is None and found.lesions == () and found.slices == ()
