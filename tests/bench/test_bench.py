"""The parts of the bench that reckon and write: new names in files, ratios, the sections of the page.

Not covered: the measuring itself, which ``python -m tests.bench --quick`` shows to run.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread

from tests.bench import comparison, series
from tests.bench.comparison import Wanted, Which
from tests.bench.ingest import QUICK, Plan, Rate
from tests.bench.page import with_section
from tests.bench.receivers import CANDIDATES

WORDS = st.text("abc #|\n", max_size=30).map(lambda text: text.replace("## ", "").strip()).filter(bool)


def _rate(number: int, receiver: str, associations: int, seconds: float) -> Rate:
    return Rate(number, "CT", "storescu", associations, receiver, 10, 100.0, seconds, 0.1)


def test_a_second_sending_has_new_names_and_the_same_pixels(tmp_path: Path) -> None:
    images = series.make(tmp_path / "CT", series.CT.fewer(5))
    before = [dcmread(image.path) for image in images]
    shares = series.shared_out(images, 2)
    after = [[dcmread(image.path) for image in share] for share in shares]
    assert [len(share) for share in after] == [3, 2]
    assert all(len({ds.StudyInstanceUID for ds in share}) == 1 for share in after)
    assert after[0][0].StudyInstanceUID != after[1][0].StudyInstanceUID
    everything = [ds for share in after for ds in share]
    assert all(ds.SOPInstanceUID == ds.file_meta.MediaStorageSOPInstanceUID for ds in everything)
    assert len({ds.SOPInstanceUID for ds in [*before, *everything]}) == 1 + 5, "made with one name, sent with five"
    assert {ds.PixelData for ds in everything} == {before[0].PixelData}
    assert {image.path.stat().st_size for image in images} == {image.bytes for image in images}


def test_a_ratio_is_taken_within_each_round_and_what_falls_short_is_bold() -> None:
    rates = [_rate(n, "node", 1, seconds) for n, seconds in enumerate((1.0, 2.0, 4.0))]
    rates += [_rate(n, "peer", 1, seconds) for n, seconds in enumerate((3.0, 4.0, 4.0))]
    wanted = [Wanted(Which("node", 1), Which("peer", 1), times) for times in (2.0, 2.1)]
    assert comparison.quotients(wanted[0], rates) == [3.0, 2.0, 1.0]
    table = comparison.ratios(rates, wanted)
    assert "| 2.0 | 2.00 (1.00..3.00) |" in table and "| 2.1 | **2.00 (1.00..3.00)** |" in table
    assert comparison.verdict(rates, wanted) == "Met: 1 of 2 measured; the others are in bold."


def test_what_was_not_measured_is_said_to_be_so() -> None:
    assert "not measured" in comparison.ratios([_rate(0, "node", 1, 1.0)], [Wanted(Which("node", 4), Which("x", 4), 1)])


@pytest.mark.parametrize("plan", [Plan(), QUICK], ids=["full", "quick"])
def test_every_association_has_something_to_send(plan: Plan) -> None:
    assert min(kind.count for kind in plan.kinds) >= max(plan.associations)


def test_every_wanted_ratio_is_of_receivers_and_associations_that_are_measured() -> None:
    measured = {Which(one.name, number) for one in CANDIDATES for number in one.associations}
    assert {which for one in comparison.WANTED for which in (one.upper, one.lower)} <= measured


@given(WORDS, WORDS, WORDS)
def test_a_section_is_replaced_and_the_rest_left(first: str, second: str, new: str) -> None:
    page = with_section(with_section("# Page\n", "One", first), "Two", second)
    changed = with_section(page, "One", new)
    assert changed == with_section(with_section("# Page\n", "One", new), "Two", second)
    assert with_section(changed, "One", first) == page
