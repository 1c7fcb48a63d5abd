"""Every rule of ``config/selection.toml`` for the header of a film or a CT slice: one header that it refuses, and one,
as like as can be, that it lets through. The rule that speaks is named, so that none hides behind another.

Sentences and the order of rules are in test_select.py, rules for series in tests/pipeline.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from pydicom import Dataset
from pydicom.uid import (
    CTImageStorage,
    DigitalMammographyXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
)

from node.pipeline.objections import first_objection, remarks
from node.pipeline.rules import load
from tests.films import CR, DX, SC, Film, drawn, wrap
from tests.pipeline.slices import Scan, change, scan

SILENT: dict[str, object] = {
    "ViewPosition": None, "ViewCodeSequence": None, "SeriesDescription": None, "StudyDescription": None,
    "ProtocolName": None, "PatientOrientation": None,
}  # fmt: skip
AXIAL = ["DERIVED", "PRIMARY", "AXIAL"]
BORN: dict[str, object] = {"PatientAge": "", "PatientBirthDate": "19500101"}
UNBORN: dict[str, object] = {"PatientAge": "", "PatientBirthDate": ""}
NO_CODE: dict[str, object] = {**SILENT, "ViewPosition": "PA"}


@dataclass(frozen=True)
class Case:
    """Changes that the rule refuses, changes that it accepts."""

    refused: dict[str, Any]
    accepted: dict[str, Any]
    sop_class: str = DX
    first: dict[str, Any] = field(default_factory=dict)  # changes of both


def view(value: str, meaning: str) -> dict[str, object]:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "SCT", meaning
    return {"ViewCodeSequence": [item]}


FILMS = {
    "for-processing": Case({"SOPClassUID": DigitalXRayImageStorageForProcessing}, {"SOPClassUID": DX}),
    "ct-unread": Case({"SOPClassUID": CTImageStorage}, {"SOPClassUID": CR}),
    "kind": Case({"SOPClassUID": DigitalMammographyXRayImageStorageForPresentation}, {"SOPClassUID": CR}),
    "capture": Case({"Modality": "OT"}, {"Modality": "RG"}, SC),
    "modality": Case({"Modality": "MG"}, {"Modality": "RF"}),
    "localizer": Case({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, {"ImageType": ["ORIGINAL", "PRIMARY", ""]}),
    "frames": Case({"NumberOfFrames": 2}, {"NumberOfFrames": 1}),
    "derived-film": Case(
        {"SeriesDescription": "Chest PA bone suppressed"}, {"SeriesDescription": "Chest PA grid line suppressed"}
    ),
    "body-part": Case({"BodyPartExamined": "ABDOMEN"}, {"BodyPartExamined": "CHEST_ABDOMEN"}),
    "body-part-described": Case(
        {"SeriesDescription": "Abdomen AP"}, {"SeriesDescription": "Thorax Abdomen AP"}, first={"BodyPartExamined": ""}
    ),
    "view": Case({"ViewPosition": "RLO"}, {"ViewPosition": "AP_AXIAL"}),
    "view-code": Case(view("399173006", "seventh"), view("399348003", "seventh"), first={"ViewPosition": ""}),
    "view-code-meaning": Case(view("1", "left lateral"), view("1", "antero-posterior, left"), first=NO_CODE),
    "view-described": Case(
        {"SeriesDescription": "LAT", "StudyDescription": "Chest PA and LAT"},
        {"SeriesDescription": "PA", "StudyDescription": "Chest PA and LAT"},
        first=SILENT,
    ),
    "view-described-elsewhere": Case({"ProtocolName": "Chest lateral"}, {"ProtocolName": "Chest latest"}, first=SILENT),
    "lateral-orientation": Case({"PatientOrientation": ["A", "F"]}, {"PatientOrientation": ["L", "F"]}, first=SILENT),
    "age": Case({"PatientAge": "015Y"}, {"PatientAge": "016Y"}),
    "compression": Case({"LossyImageCompressionRatio": [4, 30.5]}, {"LossyImageCompressionRatio": [4, 30]}),
}  # fmt: skip
SLICES = {
    "localizer": Case({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, {"ImageType": AXIAL}),
    "secondary": Case({"ImageType": ["ORIGINAL", "SECONDARY", "AXIAL"]}, {"ImageType": AXIAL}),
    "reformatted": Case({"ImageType": ["DERIVED", "PRIMARY", "mip"]}, {"ImageType": AXIAL}),
    "projection": Case({"SeriesDescription": "Lung MIP 10/2"}, {"SeriesDescription": "Lung mipmap"}),
    "body-part": Case({"BodyPartExamined": "HEAD"}, {"BodyPartExamined": "CHEST"}),
    "body-part-described": Case(
        {"SeriesDescription": "Brain"}, {"SeriesDescription": "Brain and lung"}, first={"BodyPartExamined": ""}
    ),
    "age": Case({"PatientAge": "190M"}, {"PatientAge": "192M"}),
    "compression-ct": Case({"LossyImageCompressionRatio": 15.1}, {"LossyImageCompressionRatio": 15}),
    "burned-in-ct": Case({"BurnedInAnnotation": "YES"}, {"BurnedInAnnotation": "NO"}),
    "thickness": Case({"SliceThickness": 10.5}, {"SliceThickness": 10}),
}  # fmt: skip
SAID = {
    ("film", "age-unknown"): (UNBORN, {**UNBORN, "PatientAge": "040Y"}),
    ("film", "burned-in"): ({"BurnedInAnnotation": "YES"}, {"BurnedInAnnotation": "NO"}),
    ("ct", "age-unknown"): (UNBORN, BORN),
    ("ct", "contrast"): ({"ContrastBolusAgent": "IOMERON 400"}, {"ContrastBolusAgent": "NONE"}),
}  # fmt: skip


def header(kind: str, sop_class: str, *changes: dict[str, Any]) -> Dataset:
    ds = wrap(Film(drawn(5, 96), "ruled", sop_class=sop_class)) if kind == "film" else scan(Scan(slices=1))[0]
    for one in changes:
        change(ds, **one)
    return ds


def rule_for(kind: str, case: Case, changes: dict[str, Any]) -> str:
    objection = first_objection(header(kind, case.sop_class, case.first, changes), load().of(kind))
    return objection.rule if objection else ""


ALL = [("film", name, case) for name, case in FILMS.items()] + [("ct", name, case) for name, case in SLICES.items()]


@pytest.mark.parametrize("kind, name, case", ALL, ids=[f"{kind} {name}" for kind, name, _ in ALL])
def test_each_rule_refuses_one_header_and_lets_its_like_through(kind: str, name: str, case: Case) -> None:
    assert rule_for(kind, case, case.refused) == name
    assert rule_for(kind, case, case.accepted) == ""


@pytest.mark.parametrize("kind, name", SAID)
def test_what_is_said_and_not_refused(kind: str, name: str) -> None:
    told, silent = SAID[kind, name]
    rules = load().of(kind)
    (sentence,) = [rule.sentence for rule in rules if rule.name == name]
    with_it, without = header(kind, DX, told), header(kind, DX, silent)
    assert remarks(with_it, rules) == (sentence,) and first_objection(with_it, rules) is None
    assert remarks(without, rules) == ()


def test_every_rule_for_headers_is_tried_here() -> None:
    elsewhere = {("ct", "frames")}  # a slice with frames is another SOP class: tests/pipeline
    found = {(kind, rule.name) for kind in ("film", "ct") for rule in load().of(kind)}
    assert found - elsewhere == {*(("film", name) for name in FILMS), *(("ct", name) for name in SLICES), *SAID}


@pytest.mark.parametrize(
    "words, enhanced",
    [
        ("Thorax KM arteriell", True), ("Chest C+", True), ("chest with contrast", True), ("Thorax venös", True),
        ("Thorax nativ", False), ("Chest without contrast", False), ("Thorax ohne KM", False), ("Chest", False),
        ("Chest C- portal", False),
    ],
)  # fmt: skip
def test_contrast_is_read_from_descriptions(words: str, enhanced: bool) -> None:
    said = remarks(header("ct", DX, {"SeriesDescription": words}), load().of("ct"))
    assert bool(said) == enhanced


@pytest.mark.parametrize("value", ["", None, "unknown", ["a", "b"]])
def test_attributes_that_say_nothing_object_to_nothing(value: object) -> None:
    ds = header("film", DX)
    for keyword in ("BodyPartExamined", "ImageType", "BurnedInAnnotation"):
        change(ds, **{keyword: value if keyword == "ImageType" else None})
    assert first_objection(ds, load().of("film")) is None
