"""What a page says of each film and series, from records made by hand.

Not covered: how it is drawn (test_answers.py), and that the records are those of the database (test_person.py).
"""

from __future__ import annotations

from datetime import UTC, datetime

from node.db.layers import Named
from node.db.study_page import AnalysisView, Focus, Image, Number, Score
from node.web.pages.reading import reads

SYSTEM = "cxnet"


def image(uid: str, series: str, modality: str = "DX") -> Image:
    return Image(uid, series, modality, "", None, "PA", 64, 64, 1, True, "")


def score(uid: str) -> Score:
    return Score(uid, "", SYSTEM, "1", "covid19", "COVID-19", 0.6, 0.5, True)


def focus(uid: str, number: int) -> Focus:
    return Focus(uid, 0, SYSTEM, "covid19", number, 1.0, 1.0, None, None, 1.0, 1.0, True)


def view(scores: list[Score], foci: list[Focus], numbers: list[Number], heat: list[str]) -> AnalysisView:
    layers = tuple(Named(number, uid, 0, SYSTEM, "heat") for number, uid in enumerate(heat))
    now = datetime(2026, 1, 1, tzinfo=UTC)
    return AnalysisView(1, "", "", False, now, 1, 0, tuple(scores), tuple(foci), tuple(numbers), (), layers)


def test_each_film_of_a_series_has_its_own_foci_and_heat() -> None:
    films = [image("1", "series"), image("2", "series"), image("3", "another")]
    foci = [focus("1", 1), focus("1", 2), focus("3", 1)]
    found = reads(view([score("1"), score("2"), score("3")], foci, [], ["1"]), films, {})
    assert [(read.said[0].foci, read.said[0].has_heat) for read in found] == [(2, True), (0, False), (1, False)]
    assert not any(read.profile for read in found)


def test_a_ct_series_counts_as_one_with_the_foci_of_all_its_slices() -> None:
    """Its statements stand under the second slice."""
    slices = [image(str(number), "ct", "CT") for number in range(4)]
    numbers = [Number(one.sop_instance_uid, 0, SYSTEM, "slice.covid19", 0.25) for one in slices]
    answer = view([score("1")], [focus("0", 1), focus("3", 2)], numbers, ["3"])
    (found,) = reads(answer, [*slices, image("film", "film")], {})
    assert (found.said[0].foci, found.said[0].has_heat) == (2, True)
    assert found.said[0].further == () and "slice, from the feet" in found.profile


def test_an_image_that_was_removed_is_named_as_such() -> None:
    (found,) = reads(view([score("gone")], [focus("gone", 1)], [], []), [], {})
    assert found.label == "An image that is no longer here" and found.said[0].foci == 1
