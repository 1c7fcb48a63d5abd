"""Key images: what a reader is led to, and that a PACS holds what they refer to.

Not covered: how a viewer lists them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import EnhancedCTImageStorage, SecondaryCaptureImageStorage

from models.api import RESEARCH_USE_ONLY
from node.core import settings
from node.results.build import build
from node.results.record import AnalysisRecord, BuiltObject
from tests.films import Film, drawn, uid, wrap
from tests.peers import Orthanc, dciodvfy, dcmsend, program, run
from tests.results.records import SIZE, header, outcome, prediction, record, refusal
from tests.results.series import KEYS, ct_record, of_series, series_outcome, slice_headers

WITH_PICTURES = ("heat-maps", "key-images")


def wanting(made: AnalysisRecord, *kinds: str, jpeg: bool = False) -> AnalysisRecord:
    return dataclasses.replace(made, wanted=dataclasses.replace(settings.load().objects, kinds=kinds, jpeg=jpeg))


def documents(made: AnalysisRecord, *kinds: str) -> list[Dataset]:
    objects = build(wanting(made, *(kinds or WITH_PICTURES)))
    return [dcmread(BytesIO(built.content)) for built in objects if built.kind == "ko"]


def references(ds: Dataset) -> list[str]:
    images = [item for item in ds.ContentSequence if item.ValueType == "IMAGE"]
    return [item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for item in images]


def evidence(ds: Dataset) -> dict[str, tuple[str, str]]:
    """SOP Instance UID -> (class, series)."""
    return {
        reference.ReferencedSOPInstanceUID: (reference.ReferencedSOPClassUID, series.SeriesInstanceUID)
        for study in ds.CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for reference in series.ReferencedSOPSequence
    }


def description(ds: Dataset) -> str:
    (text,) = [
        item.TextValue for item in ds.ContentSequence
        if item.ValueType == "TEXT" and item.ConceptNameCodeSequence[0].CodeValue == "113012"
    ]  # fmt: skip
    return str(text)


def checked(ds: Dataset, folder: Path) -> None:
    path = folder / "ko.dcm"
    ds.save_as(path, enforce_file_format=True)
    assert dciodvfy(path) == []
    done = run([program("dsrdump"), "-Er", path])
    assert done.code == 0 and "Of Interest" in done.out, done.text
    assert not [line for line in done.err.splitlines() if line.startswith("E:")], done.err


def test_a_film_with_a_disease_is_a_key_image_with_the_pictures_of_those_who_say_so(tmp_path: Path) -> None:
    source = header()
    made = record(source, images=(outcome(source, prediction(), prediction("cnncf-xr", 0.2)),))
    (ds,) = documents(made)
    checked(ds, tmp_path)
    pictures = {b.sop_instance_uid: b for b in build(wanting(made, "heat-maps"))}
    film, *heats = references(ds)
    assert film == source.SOPInstanceUID and len(heats) == 1 and len(pictures) == 2
    assert evidence(ds)[heats[0]] == (SecondaryCaptureImageStorage, pictures[heats[0]].series_instance_uid)
    shown = dcmread(BytesIO(pictures[heats[0]].content))
    assert "cxnet" in shown.SeriesDescription, "cnncf-xr decided that the film is normal"
    assert RESEARCH_USE_ONLY in description(ds) and "cxnet 1 covid19 (p = 0.75)" in description(ds)
    assert "cnncf-xr" not in description(ds)


def test_pictures_that_the_destination_is_not_sent_are_not_referred_to() -> None:
    source = header()
    made = record(source)
    (without,) = documents(made, "key-images")
    (with_them,) = documents(made)
    assert references(without) == [source.SOPInstanceUID]
    assert without.SOPInstanceUID != with_them.SOPInstanceUID, "other bytes"


@pytest.mark.parametrize("made", [record, ct_record], ids=["film", "scan"])
def test_pictures_in_jpeg_are_referred_to_as_such(made: Callable[[], AnalysisRecord]) -> None:
    """They are other objects than the lossless ones."""
    objects = build(wanting(made(), *WITH_PICTURES, jpeg=True))
    (ds,) = [dcmread(BytesIO(built.content)) for built in objects if built.kind == "ko"]
    pictures = {built.sop_instance_uid: built.series_instance_uid for built in objects if built.kind == "sc"}
    named = {
        uid: series for uid, (sop_class, series) in evidence(ds).items() if sop_class == SecondaryCaptureImageStorage
    }
    assert named and named.items() <= pictures.items()


@pytest.mark.parametrize("made", ["normal film", "normal scan", "refusal"])
def test_there_is_none_where_nothing_is_of_interest(made: str) -> None:
    source, headers = header(), slice_headers()
    records = {
        "normal film": record(source, images=(outcome(source, prediction(probability=0.1)),)),
        "normal scan": ct_record(headers, series=(series_outcome(headers, of_series(headers, "bit-ct", 0.1)),)),
        "refusal": refusal(),
    }
    assert documents(records[made]) == []


def test_of_a_scan_the_key_slices_are_chosen(tmp_path: Path) -> None:
    headers = slice_headers()
    made = ct_record(headers)
    (ds,) = documents(made)
    checked(ds, tmp_path)
    slices = [found for found in references(ds) if found in {h.SOPInstanceUID for h in headers}]
    assert slices == [headers[n].SOPInstanceUID for n in KEYS]
    pictures = {b.sop_instance_uid for b in build(wanting(made, "heat-maps"))}
    assert set(references(ds)) - set(slices) == pictures
    assert "In the series: bit-ct 1 covid19" in description(ds)


def test_frames_of_one_object_are_one_reference() -> None:
    headers = slice_headers(SOPInstanceUID=uid("instance", "enhanced"), SOPClassUID=EnhancedCTImageStorage)
    for number, ds in enumerate(headers, start=1):
        ds.add_new("ReferencedFrameNumber", "IS", number)
    (document,) = documents(ct_record(headers), "key-images")
    (item,) = [item for item in document.ContentSequence if item.ValueType == "IMAGE"]
    assert [int(n) for n in item.ReferencedSOPSequence[0].ReferencedFrameNumber] == [n + 1 for n in KEYS]


def test_a_film_and_a_scan_of_one_study_are_in_one_selection(tmp_path: Path) -> None:
    headers, film = slice_headers(), header()
    film.StudyInstanceUID = headers[0].StudyInstanceUID
    (ds,) = documents(ct_record(headers, images=(outcome(film),)))
    checked(ds, tmp_path)
    assert references(ds)[0] == film.SOPInstanceUID
    assert "In the film:" in description(ds) and "In the series:" in description(ds)


def test_every_reference_is_evidence_and_no_evidence_is_without_reference() -> None:
    """PS3.3 C.17.2.3; Weasis lists what the evidence names."""
    for made in (record(), ct_record()):
        (ds,) = documents(made)
        assert set(references(ds)) == set(evidence(ds)) and len(references(ds)) == len(evidence(ds))


@pytest.mark.parametrize("missing", ["PatientName", "PatientID", "PatientSex", "StudyDate", "StudyTime", "StudyID",
                                     "AccessionNumber", "ReferringPhysicianName", "Modality"])  # fmt: skip
def test_a_missing_attribute_does_not_make_it_illegal(missing: str, tmp_path: Path) -> None:
    (ds,) = documents(record(header(**{missing: None})))
    checked(ds, tmp_path)


def test_requests_are_referred_to(tmp_path: Path) -> None:
    request = Dataset()
    request.RequestedProcedureID = "RP1"
    (ds,) = documents(record(header(RequestAttributesSequence=[request])))
    checked(ds, tmp_path)
    assert ds.ReferencedRequestSequence[0].RequestedProcedureID == "RP1" and "RequestAttributesSequence" not in ds


def _files(objects: tuple[BuiltObject, ...], folder: Path) -> list[Path]:
    for built in objects:
        (folder / f"{built.sop_instance_uid}.dcm").write_bytes(built.content)
    return sorted(folder.glob("*.dcm"))


def test_a_pacs_keeps_them_and_holds_what_they_refer_to(tmp_path: Path) -> None:
    film = wrap(Film(drawn(1, SIZE), "results"))
    film.save_as(tmp_path / "film.dcm", enforce_file_format=True)
    objects = build(wanting(record(), "heat-maps", "presentation-states", "key-images"))
    with Orthanc() as orthanc:
        sent = dcmsend(orthanc.dicom_port, _files(objects, tmp_path), called=orthanc.aet)
        assert sent.code == 0, sent.text
        study = str(film.StudyInstanceUID)
        kept = {str(ds.SOPInstanceUID): ds for ds in orthanc.datasets(study)}
    for built in objects:
        assert kept[built.sop_instance_uid] == dcmread(BytesIO(built.content)), built.kind
    (ko,) = [ds for ds in kept.values() if ds.Modality == "KO"]
    assert set(references(ko)) <= set(kept)
    states = [ds for ds in kept.values() if ds.Modality == "PR"]
    assert len(states) == 2
    for ds in states:
        assert ds.ReferencedSeriesSequence[0].ReferencedImageSequence[0].ReferencedSOPInstanceUID in kept
