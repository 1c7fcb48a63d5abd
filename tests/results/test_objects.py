"""The objects we write: the same bytes for the same input, valid by dciodvfy and dsrdump, the patient of the source.

Records are made up (``records.py``); the way through Orthanc is in tests/e2e. Not covered: how a viewer shows them.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread

from models.api import RESEARCH_USE_ONLY
from node.results.build import build
from node.results.record import AnalysisRecord, BuiltObject
from tests.films import MARKER
from tests.peers import dciodvfy, dsr2html, dsrdump
from tests.results.records import header, outcome, prediction, record, refusal, results_settings

ROOT = Path(__file__).parents[2]
IDENTITY = (
    "PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex", "StudyInstanceUID", "StudyID",
    "AccessionNumber", "StudyDate", "ReferringPhysicianName",
)  # fmt: skip
CHARACTER_SETS = {  # as the field has them: PS3.3 C.12.1.1.2
    "": ("Muller^Anna", ""),
    "ISO_IR 100": ("Müller^Anna", "ISO_IR 100"),
    "ISO_IR 101": ("Novák^Řehoř", "ISO_IR 101"),
    "ISO_IR 109": ("Ġanni^Ħ", "ISO_IR 109"),
    "ISO_IR 110": ("Jānis^Bērziņš", "ISO_IR 110"),
    "ISO_IR 126": ("Διονυσιος", "ISO_IR 126"),
    "ISO_IR 127": ("قباني^لنزار", "ISO_IR 127"),
    "ISO_IR 138": ("שרון^דבורה", "ISO_IR 138"),
    "ISO_IR 144": ("Люкceмбypг", "ISO_IR 144"),
    "ISO_IR 148": ("Çavuşoğlu", "ISO_IR 148"),
    "ISO_IR 166": ("นามสกุล", "ISO_IR 166"),
    "ISO_IR 192": ("王^小東", "ISO_IR 192"),
    "GB18030": ("王^小东", "GB18030"),
}
ESCAPED = {  # several character sets in one name, by escape sequences
    "japanese": (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
    "korean": (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동"),
    "chinese": (["", "ISO 2022 IR 58"], "Zhang^XiaoDong=张^小东="),
}


def parsed(built: BuiltObject) -> Dataset:
    return dcmread(BytesIO(built.content))


def of_kind(objects: tuple[BuiltObject, ...], kind: str) -> list[Dataset]:
    return [parsed(item) for item in objects if item.kind == kind]


def kinds(objects: tuple[BuiltObject, ...], *wanted: str) -> list[str]:
    return [built.kind for built in objects if built.kind in wanted]


def items(ds: Dataset) -> Iterator[Dataset]:
    for item in ds.get("ContentSequence", []):
        yield item
        yield from items(item)


def texts(ds: Dataset) -> str:
    return " ".join(str(item.TextValue) for item in items(ds) if "TextValue" in item)


def checked(objects: tuple[BuiltObject, ...], folder: Path) -> None:
    """No error by dciodvfy on any object, and dsrdump reads every report."""
    for number, built in enumerate(objects):
        path = folder / f"{number}.dcm"
        path.write_bytes(built.content)
        errors = [line for line in dciodvfy(path) if line.startswith("Error")]
        assert errors == [], built.kind
        if built.kind in ("sr", "regions"):
            done = dsrdump(path)
            assert done.code == 0, done.text


def digests(objects: tuple[BuiltObject, ...]) -> list[str]:
    return [hashlib.sha256(built.content).hexdigest() for built in objects]


def test_a_report_and_a_heat_map_for_each_system() -> None:
    objects = build(record())
    assert kinds(objects, "sr", "sc") == ["sr", "sc", "sc"]
    assert len({built.sop_instance_uid for built in objects}) == len(objects)
    assert len({built.series_instance_uid for built in objects}) == len(objects)


def test_the_same_record_gives_the_same_bytes() -> None:
    assert digests(build(record())) == digests(build(record()))


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kolkata", "America/St_Johns"])
def test_another_process_in_another_zone_gives_the_same_bytes(zone: str) -> None:
    code = (
        "from tests.results.records import record; from tests.results.test_objects import digests;"
        "from node.results.build import build; print(*digests(build(record())))"
    )
    environment = {**os.environ, "TZ": zone, "PYTHONHASHSEED": "7", "LC_ALL": "C"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.split() == digests(build(record()))


@pytest.mark.parametrize(
    "changes",
    [
        {"instance_set_digest": "e" * 64},
        {"config_digest": "e" * 64},
        {"software_version": "0.2.0"},
        {"settings": results_settings(manufacturer="Somebody")},
    ],
)
def test_any_other_input_gives_other_uids(changes: dict[str, object]) -> None:
    before = {built.sop_instance_uid for built in build(record())}
    after = build(record(**changes))
    assert not before & {built.sop_instance_uid for built in after}


def test_other_weights_give_other_uids() -> None:
    source = header()
    one, two = (record(source, images=(outcome(source, prediction(weights=w * 64)),)) for w in "af")
    assert not {b.sop_instance_uid for b in build(one)} & {b.sop_instance_uid for b in build(two)}


def test_a_rerun_joins_the_same_series() -> None:
    one, two = build(record()), build(record(instance_set_digest="e" * 64))
    assert [b.series_instance_uid for b in one] == [b.series_instance_uid for b in two]


@pytest.mark.parametrize("made", [record, refusal], ids=["findings", "refusal"])
def test_validators_find_no_error(made: object, tmp_path: Path) -> None:
    checked(build(made()), tmp_path)  # type: ignore[operator]


def test_a_refusal_is_a_report_with_its_sentence(tmp_path: Path) -> None:
    objects = build(refusal())
    assert [built.kind for built in objects] == ["sr"]
    (report,) = of_kind(objects, "sr")
    assert "Not analysed: A knee." in texts(report)
    codes = [item.ConceptCodeSequence[0].CodeValue for item in items(report) if "ConceptCodeSequence" in item]
    assert "111245" in codes  # no algorithms succeeded
    (tmp_path / "sr.dcm").write_bytes(objects[0].content)
    page = dsr2html(tmp_path / "sr.dcm")
    assert "A knee." in page.out


def test_a_system_that_would_not_judge_is_named() -> None:
    source = header()
    (report,) = of_kind(build(record(source, images=(outcome(source, prediction(), refused=True),))), "sr")
    assert "cnncf-xr did not judge the image: It would not judge this film." in texts(report)


def test_remarks_and_limits_are_said_in_the_report() -> None:
    (report,) = of_kind(build(record()), "sr")
    assert RESEARCH_USE_ONLY in texts(report) and "A remark of the system." in texts(report)


def test_every_container_is_separate_and_nothing_is_verified() -> None:
    (report,) = of_kind(build(record()), "sr")
    assert report.ContinuityOfContent == "SEPARATE"
    assert all(item.ContinuityOfContent == "SEPARATE" for item in items(report) if item.ValueType == "CONTAINER")
    assert report.VerificationFlag == "UNVERIFIED" and report.CompletionFlag == "COMPLETE"


def test_points_count_from_the_corner_of_the_first_pixel() -> None:
    """PS3.3 C.18.6.1.2: ours count from its centre, so half a pixel is added."""
    (report,) = of_kind(build(record()), "sr")
    points = [list(item.GraphicData) for item in items(report) if item.get("GraphicType") == "POINT"]
    assert [30.0, 30.75] in points
    for item in items(report):
        if "GraphicData" in item:
            assert all(0 <= value <= 96 for value in item.GraphicData)


def test_probabilities_and_decisions_stand_in_the_report() -> None:
    (report,) = of_kind(build(record()), "sr")
    found = [
        float(item.MeasuredValueSequence[0].NumericValue)
        for item in items(report)
        if item.ValueType == "NUM" and item.ConceptNameCodeSequence[0].get("CodeValue") == "122157"
    ]
    assert sorted(found) == [0.2, 0.25, 0.75, 0.8]


def test_results_belong_to_the_source() -> None:
    source = header()
    for ds in (parsed(built) for built in build(record(source))):
        for keyword in IDENTITY:
            assert ds.get(keyword) == source.get(keyword), keyword
        assert ds.SeriesInstanceUID != source.SeriesInstanceUID
        assert ds.get("InstitutionName") is None and ds.get("OperatorsName") is None
        assert ds.SpecificCharacterSet == "ISO_IR 192"
        assert ds.ContentQualification == "RESEARCH"


def test_the_report_refers_to_the_film() -> None:
    source = header()
    (report,) = of_kind(build(record(source)), "sr")
    (study,) = report.CurrentRequestedProcedureEvidenceSequence
    referenced = study.ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    assert referenced.ReferencedSOPInstanceUID == source.SOPInstanceUID
    for sc in of_kind(build(record(source)), "sc"):
        assert sc.SourceImageSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID


def test_the_heat_map_is_a_picture_of_the_film_without_identifying_text() -> None:
    for sc in of_kind(build(record()), "sc"):
        pixels = sc.pixel_array
        assert pixels.shape[2] == 3 and pixels.shape[0] >= 96
        assert (pixels[..., 0] != pixels[..., 1]).any(), "no colour: no heat was drawn"
        assert sc.ConversionType == "WSD" and sc.ImageType[0] == "DERIVED"
        assert RESEARCH_USE_ONLY in sc.ImageComments
        rest = [element for element in sc if element.keyword not in ("PixelData", "PatientComments")]
        assert "not for diagnosis" in sc.SeriesDescription and rest


@pytest.mark.parametrize(
    "missing",
    [
        "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID",
        "AccessionNumber", "ReferringPhysicianName", "PatientOrientation", "SeriesNumber", "InstanceNumber",
        "Modality", "Manufacturer", "PixelSpacing", "ImagerPixelSpacing", "IssuerOfPatientID", "StudyDescription",
    ],
)  # fmt: skip
def test_a_missing_attribute_does_not_make_the_result_illegal(missing: str, tmp_path: Path) -> None:
    checked(build(record(header(**{missing: None}))), tmp_path)


@pytest.mark.parametrize(
    "illegal",
    [
        {"PatientSex": "X"},
        {"PatientSex": "female"},
        {"PatientAge": "62"},
        {"PatientBirthDate": "unknown"},
        {"StudyTime": "25:61"},
        {"Laterality": "B"},
        {"InstanceNumber": ""},
        {"PatientOrientation": ""},
        {"BurnedInAnnotation": "maybe"},
        {"TimezoneOffsetFromUTC": "CET"},
    ],
)
@pytest.mark.filterwarnings("ignore:Invalid value:UserWarning")
def test_an_illegal_attribute_does_not_make_the_result_illegal(illegal: dict[str, object], tmp_path: Path) -> None:
    checked(build(record(header(**illegal))), tmp_path)


@pytest.mark.parametrize("character_set", list(CHARACTER_SETS))
def test_names_survive_every_character_set(character_set: str, tmp_path: Path) -> None:
    name, declared = CHARACTER_SETS[character_set]
    _name_survives(name, declared, tmp_path)


@pytest.mark.parametrize("kind", list(ESCAPED))
def test_names_with_escape_sequences_survive(kind: str, tmp_path: Path) -> None:
    declared, name = ESCAPED[kind]
    _name_survives(name, declared, tmp_path)


def _name_survives(name: str, declared: object, folder: Path) -> None:
    """Written in its own character set, read as the node reads it, and found again in UTF-8 in our objects."""
    source = header()
    by_hand = _ir_58(name) if "ISO 2022 IR 58" in str(declared) else b""  # pydicom 3.0.2 writes it without escapes
    source.SpecificCharacterSet, source.PatientName = declared, "#" * len(by_hand) or name
    path = folder / "source.dcm"
    source.save_as(path, enforce_file_format=True)
    if by_hand:
        path.write_bytes(path.read_bytes().replace(b"#" * len(by_hand), by_hand, 1))
    objects = build(record(dcmread(path)))
    for built in objects:
        assert str(parsed(built).PatientName).rstrip("=^") == name.rstrip("=^")
        assert parsed(built).SpecificCharacterSet == "ISO_IR 192"
    checked(objects[:1], folder)


def _ir_58(name: str) -> bytes:
    """PS3.5 Annex K: the escape sequence before each component that needs it."""
    groups = []
    for group in name.split("="):
        parts = [part if part.isascii() else "\x1b$)A" + part for part in group.split("^")]
        groups.append("^".join(parts))
    content = "=".join(groups).encode("gb2312")
    return content + b" " * (len(content) % 2)


def test_requests_of_the_source_are_carried(tmp_path: Path) -> None:
    request = Dataset()
    request.RequestedProcedureID, request.ScheduledProcedureStepID = "RP1", "SPS1"
    source = header(RequestAttributesSequence=[request])
    objects = build(record(source))
    (report,) = of_kind(objects, "sr")
    assert report.ReferencedRequestSequence[0].RequestedProcedureID == "RP1"
    checked(objects, tmp_path)


def test_the_zone_of_the_source_is_kept() -> None:
    (report,) = of_kind(build(record(header(TimezoneOffsetFromUTC="+0530"))), "sr")
    assert report.TimezoneOffsetFromUTC == "+0530" and report.ContentTime.startswith("1238")  # 07:08 UTC


def test_an_image_of_normal_shows_heat_but_names_no_lesion() -> None:
    source = header()
    (report,) = of_kind(build(record(source, images=(outcome(source, prediction(probability=0.1)),))), "sr")
    assert not [item for item in items(report) if item.get("GraphicType") == "POINT"]


def test_markers_are_where_they_belong_and_nowhere_else() -> None:
    """Institution, operator and the like are not ours to repeat."""
    for built in build(record()):
        for word in (MARKER.institution, MARKER.operator.split("^")[0]):
            assert word.encode() not in built.content


def made_of_two_images() -> AnalysisRecord:
    one, two = header("first"), header("second")
    two.StudyInstanceUID = one.StudyInstanceUID
    return dataclasses.replace(record(one), images=(outcome(one), outcome(two)))


def test_two_films_of_one_study_are_told_apart(tmp_path: Path) -> None:
    objects = build(made_of_two_images())
    assert kinds(objects, "sr", "sc") == ["sr", "sc", "sc"]
    assert len({built.sop_instance_uid for built in objects}) == len(objects)
    numbers = sorted(int(sc.InstanceNumber) for sc in of_kind(objects, "sc"))
    assert numbers == [1, 2]
    checked(objects, tmp_path)


def test_pictures_are_the_same_whatever_the_scale_of_values() -> None:
    source = header()
    first = outcome(source)
    scaled = dataclasses.replace(first.image, pixels=(first.image.pixels * 2 + 5).astype(np.float32))
    one, two = (
        of_kind(build(record(source, images=(dataclasses.replace(first, image=image),))), "sc")[0].pixel_array
        for image in (first.image, scaled)
    )
    assert np.abs(one.astype(int) - two.astype(int)).max() <= 1


def test_a_uid_with_a_leading_zero_is_kept_as_it_came() -> None:
    """Illegal (PS3.5 section 9.1) and met in the field: the study must get its report all the same."""
    for made in (record, refusal):
        source = header()
        source.StudyInstanceUID = "1.02.0003"
        assert {str(parsed(built).StudyInstanceUID) for built in build(made(source))} == {"1.02.0003"}


def test_a_series_of_pictures_keeps_its_number_whatever_else_is_analysed() -> None:
    source = header()
    alone = of_kind(build(record(source, images=(outcome(source, prediction("cnncf-xr")),))), "sc")
    both = of_kind(build(record(source, images=(outcome(source, prediction(), prediction("cnncf-xr")),))), "sc")
    numbers = {str(ds.SeriesInstanceUID): int(ds.SeriesNumber) for ds in both}
    assert len(set(numbers.values())) == 2
    assert numbers[str(alone[0].SeriesInstanceUID)] == alone[0].SeriesNumber
