"""What we write of a CT series, of the mean of systems, and of numbers: valid, repeatable, tied to the right slices.

Records are made up. What all objects share is in test_objects. Not covered: how a viewer shows them.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset

from models.api import Code, Measured, ModelIdentity, Quantity, QuantityKind
from node.pipeline.ensemble import mean_of
from node.results.build import build
from node.results.record import AnalysisRecord, LeftOut, SystemRefusal
from node.results.render import windowed
from tests.films import uid
from tests.results.records import header, outcome, prediction, record
from tests.results.series import KEYS, SLICES, ct_record, of_series, series_outcome, slice_headers
from tests.results.test_objects import IDENTITY, checked, digests, items, kinds, of_kind, parsed, texts

CRP = QuantityKind("crp", "mg/L", Code("pred-crp", "99LUNGNODE", "Predicted C-reactive protein (image-derived)"))
CTR = QuantityKind("ctr", "{ratio}", Code("ctr", "99LUNGNODE", "Cardiothoracic ratio"))
BLOOD = ModelIdentity("cnnrf", "Made up indicators", "1", "c" * 64)


def with_numbers() -> AnalysisRecord:
    """A film with the mean of two systems, a biomarker and a predicted value."""
    source = header()
    pair = (prediction(), prediction("cnncf-xr", 0.6))
    mean = mean_of(pair, "0.1.0")
    assert mean is not None
    film = outcome(source, *pair, mean)
    assert film.lungs is not None
    seen = Measured(film.lungs.model, (Quantity(CTR, 0.48),))
    measured = Measured(BLOOD, (Quantity(CRP, np.float32(12.5)),), ("Judged on few cases.",))
    return record(source, images=(dataclasses.replace(film, indicators=(measured,), biomarkers=(seen,)),))


def report(made: AnalysisRecord) -> Dataset:
    return of_kind(build(made), "sr")[0]


def numbers(ds: Dataset) -> dict[str, float]:
    """Concept's code value -> the last value of it."""
    found = [(item.ConceptNameCodeSequence[0], item) for item in items(ds) if item.ValueType == "NUM"]
    return {
        str(name.get("CodeValue") or name.LongCodeValue): float(item.MeasuredValueSequence[0].NumericValue)
        for name, item in found
    }


def outcome_code(ds: Dataset) -> str:
    return next(
        str(item.ConceptCodeSequence[0].CodeValue)
        for item in items(ds)
        if item.ValueType == "CODE" and item.ConceptNameCodeSequence[0].get("CodeValue") == "111017"
    )


def test_a_report_and_a_picture_of_each_key_slice() -> None:
    objects = build(ct_record())
    assert kinds(objects, "sr", "sc") == ["sr", "sc", "sc", "sc"]
    assert len({built.sop_instance_uid for built in objects}) == len(objects)
    described = [(sc.SeriesDescription.split()[3], int(sc.InstanceNumber)) for sc in of_kind(objects, "sc")]
    assert described == [("bit-ct", 1), ("bit-ct", 2), ("cnncf-ct", 1)]


@pytest.mark.parametrize("made", [ct_record, with_numbers], ids=["ct", "numbers"])
def test_validators_find_no_error_and_the_bytes_repeat(made: object, tmp_path: Path) -> None:
    objects = build(made())  # type: ignore[operator]
    checked(objects, tmp_path)
    assert digests(objects) == digests(build(made()))  # type: ignore[operator]


@pytest.mark.parametrize(
    "missing",
    [
        "PatientName", "PatientID", "Modality", "InstanceNumber", "PixelSpacing", "FrameOfReferenceUID", "SeriesNumber",
        "StudyDate", "BodyPartExamined",
    ],
)  # fmt: skip
def test_a_missing_attribute_does_not_make_the_result_illegal(missing: str, tmp_path: Path) -> None:
    checked(build(ct_record(slice_headers(**{missing: None}))), tmp_path)


def test_a_film_and_a_series_of_one_study_are_in_one_report(tmp_path: Path) -> None:
    headers, film = slice_headers(), header()
    film.StudyInstanceUID = headers[0].StudyInstanceUID
    objects = build(ct_record(headers, images=(outcome(film),)))
    checked(objects, tmp_path)
    content = objects[0].content
    assert b"Plain chest X-ray" in content and b"CT of chest" in content


def test_the_procedure_is_a_ct_of_the_chest() -> None:
    codes = [
        item.ConceptCodeSequence[0].CodeValue
        for item in items(report(ct_record()))
        if item.ValueType == "CODE" and item.ConceptNameCodeSequence[0].get("CodeValue") == "121058"
    ]
    assert codes == ["169069000"]


def test_every_slice_is_evidence() -> None:
    headers = slice_headers()
    ds = report(ct_record(headers))
    evidence = [*ds.get("CurrentRequestedProcedureEvidenceSequence", [])]
    evidence += [*ds.get("PertinentOtherEvidenceSequence", [])]
    found = {
        reference.ReferencedSOPInstanceUID
        for study in evidence
        for series in study.ReferencedSeriesSequence
        for reference in series.ReferencedSOPSequence
    }
    assert found == {h.SOPInstanceUID for h in headers}


def test_statements_refer_to_the_key_slices() -> None:
    headers = slice_headers()
    made = ct_record(headers)
    groups = [item for item in items(report(made)) if item.ValueType == "CONTAINER" and _algorithm(item)]
    for group in groups:
        images = [i.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for i in items(group) if i.ValueType == "IMAGE"]
        keys = {headers[number].SOPInstanceUID for number in KEYS}
        expected = {"bit-ct": keys, "cnncf-ct": {headers[2].SOPInstanceUID}, "ensemble": keys}[_algorithm(group)]
        assert set(images) <= expected and images


def _algorithm(group: Dataset) -> str:
    """The system that a measurement group names, empty for other containers."""
    for item in group.get("ContentSequence", []):
        if str(item.get("TextValue", "")).startswith("system "):
            return str(item.TextValue).removeprefix("system ")
    return ""


def test_a_focus_is_a_point_on_its_slice() -> None:
    headers = slice_headers()
    ds = report(ct_record(headers))
    (point,) = [item for item in items(ds) if item.get("GraphicType") == "POINT"]
    assert list(point.GraphicData) == [30.0, 30.75]
    reference = point.ContentSequence[0].ReferencedSOPSequence[0]
    assert reference.ReferencedSOPInstanceUID == headers[KEYS[-1]].SOPInstanceUID


def test_the_text_names_the_slices_and_the_remarks() -> None:
    said = texts(report(ct_record()))
    assert "bit-ct judged 5 of 5 slices; highest for covid19, counted from the feet: slice 5, image number 1 " in said
    assert "cnncf-ct judged" not in said, "it judged the series as a whole"
    assert "A remark on the scan." in said
    assert numbers(report(ct_record()))["slices-judged"] == SLICES


def test_results_belong_to_the_source() -> None:
    headers = slice_headers()
    for ds in (parsed(built) for built in build(ct_record(headers))):
        for keyword in IDENTITY:
            assert ds.get(keyword) == headers[0].get(keyword), keyword
        assert ds.SeriesInstanceUID != headers[0].SeriesInstanceUID and ds.ContentQualification == "RESEARCH"


def test_a_picture_is_of_its_slice() -> None:
    headers = slice_headers()
    pictures = of_kind(build(ct_record(headers)), "sc")
    shown = [sc.SourceImageSequence[0].ReferencedSOPInstanceUID for sc in pictures]
    assert shown == [headers[n].SOPInstanceUID for n in (*KEYS, 2)]
    for sc in pictures:
        assert sc.pixel_array.shape == (96, 96, 3)
        assert (sc.pixel_array[..., 0] != sc.pixel_array[..., 1]).any(), "no colour: no heat was drawn"
        assert "over the CT slice" in sc.DerivationDescription


def test_the_lung_window_is_centre_600_below_water_and_1500_wide() -> None:
    values = np.array([[-2000, -1350, -600, 150, 3000]], np.float32)
    assert windowed(values).tolist() == [[0, 0, 128, 255, 255]]


def test_another_series_of_the_same_study_gives_other_tracking() -> None:
    one, two = slice_headers(), slice_headers()
    for ds in two:
        ds.SeriesInstanceUID = uid("series", "another")
    uids = [
        {item.UID for item in items(report(ct_record(headers))) if item.ValueType == "UIDREF"} for headers in (one, two)
    ]
    assert uids[0] != uids[1]


def test_the_mean_of_systems_is_reported_like_a_system() -> None:
    ds = report(with_numbers())
    named = {_algorithm(item) for item in items(ds) if item.ValueType == "CONTAINER"} - {""}
    assert named == {"cxnet", "cnncf-xr", "ensemble", "unet-lung", "cnnrf"}
    assert "mean of cxnet 1, cnncf-xr 1" in texts(ds)


def test_numbers_have_private_names_and_units_and_a_warning() -> None:
    ds = report(with_numbers())
    assert (numbers(ds)["pred-crp"], numbers(ds)["ctr"]) == (12.5, 0.48)
    said = texts(ds)
    assert "cnnrf: These values are predicted from the image by a model; no laboratory measured them." in said
    assert "cnnrf: Judged on few cases." in said
    schemes = {i.ConceptNameCodeSequence[0].CodingSchemeDesignator for i in items(ds) if "ConceptNameCodeSequence" in i}
    assert "LN" not in schemes


@pytest.mark.parametrize("nothing, code", [(True, "111242"), (False, "111244")])
def test_nothing_to_measure_is_no_failure_and_missing_weights_are(nothing: bool, code: str) -> None:
    source = header()
    refusal = SystemRefusal("cnnrf", "A sentence about it.", BLOOD, nothing_to_judge=nothing)
    film = dataclasses.replace(outcome(source), refusals=(refusal,))
    ds = report(record(source, images=(film,)))
    assert outcome_code(ds) == code and "cnnrf did not judge the image: A sentence about it." in texts(ds)


def test_many_images_left_out_for_one_reason_are_one_sentence() -> None:
    left = [LeftOut("1.2", f"1.2.{n}", "1.3", "CT", "Too thick.") for n in range(300)]
    ds = report(ct_record(left_out=(*left, LeftOut("1.4", "1.4.1", "1.3", "CT", "Too thick."))))
    said = texts(ds)
    assert "300 images of series 1.2 left out: Too thick." in said and "Image 1.4.1 left out: Too thick." in said
    assert numbers(ds)["left-out"] == 301 and numbers(ds)["instances-used"] == SLICES


def test_a_scan_without_a_finding_is_said_to_be_without() -> None:
    headers = slice_headers()
    ds = report(ct_record(headers, series=(series_outcome(headers, of_series(headers, "bit-ct", 0.1)),)))
    assert outcome_code(ds) == "111241"
    assert not [item for item in items(ds) if item.get("GraphicType") == "POINT"]
