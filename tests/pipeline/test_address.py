"""Who is sent what of an analysis; that a refusal reaches every destination. Forms and kept pages: test_fallback."""

from __future__ import annotations

import dataclasses

import pytest

from node.core import settings
from node.pipeline.address import address
from node.results.record import AnalysisRecord
from tests.results.records import record, refusal

PACS = "PACS@pacs.example:104"


@pytest.mark.parametrize("kinds", [("heat-maps",), ("regions", "segmentations"), ("key-images", "presentation-states")])
@pytest.mark.parametrize(("made", "told"), [(record, False), (refusal, True)], ids=["findings", "refusal"])
def test_a_destination_of_pictures_alone_is_told_of_a_refusal_by_a_page(
    kinds: tuple[str, ...], made: object, told: bool
) -> None:
    usual = settings.load(flags={("delivery", "destinations"): [PACS]})
    wishes = dataclasses.replace(usual, objects=dataclasses.replace(usual.objects, kinds=kinds))
    given: AnalysisRecord = made()  # type: ignore[operator]
    addressed, _ = address(given, wishes, ())
    assert [one.item.kind for one in addressed if PACS in one.owed_to and one.item.kind == "page"] == ["page"] * told


def test_a_destination_of_reports_gets_the_refusal_as_a_report_and_no_page() -> None:
    usual = settings.load(flags={("delivery", "destinations"): [PACS]})
    addressed, _ = address(refusal(), usual, ())
    assert [one.item.kind for one in addressed if one.owed_to] == ["sr"]
