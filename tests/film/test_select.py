"""Selection by header: every rule, in its order, each with its sentence; nothing is left without one."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from pydicom import Dataset
from pydicom.uid import CTImageStorage, DigitalXRayImageStorageForProcessing, EncapsulatedPDFStorage

from node.core.study import StoredInstance
from node.pipeline.select import Selection, select_images
from tests.films import CR, DX, MARKER, SC, Film, drawn, wrap

PICTURE = drawn(5, 96)


def stored(ds: Dataset, folder: Path, own: bool = False) -> StoredInstance:
    path = folder / f"{ds.SOPInstanceUID}.dcm"
    ds.save_as(path, enforce_file_format=True)
    return StoredInstance(
        str(ds.SOPInstanceUID), str(ds.SOPClassUID), str(ds.SeriesInstanceUID), str(ds.StudyInstanceUID),
        str(ds.file_meta.TransferSyntaxUID), str(ds.get("Modality", "")), "0" * 64, path, own,
    )  # fmt: skip


def changed(folder: Path, sop_class: str = DX, **changes: object) -> StoredInstance:
    ds = wrap(Film(PICTURE, f"select {sorted(changes.items())} {sop_class}", sop_class=sop_class))
    for keyword, value in changes.items():
        if value is None:
            if keyword in ds:
                delattr(ds, keyword)
        else:
            setattr(ds, keyword, value)
    if "SOPClassUID" in changes:
        ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    return stored(ds, folder)


def one(selection: Selection) -> str:
    """The sentence of the only instance; empty when it was taken."""
    assert len(selection.taken) + len(selection.left_out) == 1
    return selection.left_out[0].reason if selection.left_out else ""


SILENT: dict[str, object] = {
    "ViewPosition": None, "ViewCodeSequence": None, "SeriesDescription": None, "StudyDescription": None,
    "ProtocolName": None, "PatientOrientation": None,
}  # fmt: skip


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"ViewPosition": "AP"},
        {"ViewPosition": "pa"},
        {"sop_class": CR},
        {"sop_class": SC, "Modality": "CR"},
        {"BodyPartExamined": "THORAX"},
        {"BodyPartExamined": None, "SeriesDescription": "Thorax p.a. im Stehen"},
        {"PatientAge": "016Y"},
        {"PatientAge": "62", "PatientBirthDate": ""},
    ],
)
def test_frontal_chest_films_are_taken(changes: dict[str, object], tmp_path: Path) -> None:
    selection = select_images([changed(tmp_path, **changes)])  # type: ignore[arg-type]
    assert one(selection) == ""
    assert not selection.taken[0].needs_pixel_check


@pytest.mark.parametrize(
    "changes, sentence",
    [
        ({"ViewPosition": "LL"}, "ViewPosition says LL"),
        ({"ViewPosition": "LATERAL"}, "only frontal films"),
        ({**SILENT, "SeriesDescription": "Chest lateral"}, "description says lateral"),
        ({**SILENT, "SeriesDescription": "Thorax seitlich"}, "description says lateral"),
        ({**SILENT, "PatientOrientation": ["A", "F"]}, "patient orientation is that of a lateral"),
        ({"BodyPartExamined": "KNEE"}, "BodyPartExamined says KNEE"),
        ({**SILENT, "BodyPartExamined": None, "SeriesDescription": "Knie links"}, "another part of the body"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "localizer"),
        ({"NumberOfFrames": 2}, "2 frames"),
        ({"PatientAge": "015Y"}, "younger than 16"),
        ({"PatientAge": "003D"}, "younger than 16"),
        ({"PatientAge": None, "PatientBirthDate": "20200101", "StudyDate": "20240101"}, "younger than 16"),
        ({"SOPClassUID": CTImageStorage}, "CT image"),
        ({"SOPClassUID": CTImageStorage, "ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "localizer"),
        ({"SOPClassUID": DigitalXRayImageStorageForProcessing}, "for processing"),
        ({"SOPClassUID": EncapsulatedPDFStorage}, "Encapsulated PDF Storage object"),
        ({"sop_class": SC, "Modality": "OT"}, "Secondary Capture Image Storage object"),
    ],
)
def test_everything_else_is_left_out_in_a_sentence(changes: dict[str, object], sentence: str, tmp_path: Path) -> None:
    said = one(select_images([changed(tmp_path, **changes)]))  # type: ignore[arg-type]
    assert sentence in said and said.endswith(".")


def test_a_silent_header_asks_for_a_look_at_the_pixels(tmp_path: Path) -> None:
    for changes in (SILENT, {"BodyPartExamined": None, "SeriesDescription": None, "StudyDescription": None}):
        selection = select_images([changed(tmp_path, **changes)])
        assert one(selection) == "" and selection.taken[0].needs_pixel_check
        assert "does not name" in selection.taken[0].reason


def test_own_results_are_never_taken(tmp_path: Path) -> None:
    own = stored(wrap(Film(PICTURE, "own", sop_class=SC)), tmp_path, own=True)
    assert one(select_images([own])) == "It is a result of this node."


def test_two_patients_in_one_study_stop_everything(tmp_path: Path) -> None:
    first = stored(wrap(Film(PICTURE, "first", "two")), tmp_path)
    other = dataclasses.replace(MARKER, patient_id="SOMEBODYELSE")
    second = stored(wrap(Film(PICTURE, "second", "two", identity=other)), tmp_path)
    selection = select_images([first, second])
    assert not selection.taken and len(selection.left_out) == 2
    assert all("two different patients" in left.reason for left in selection.left_out)
    assert not any("SOMEBODYELSE" in left.reason for left in selection.left_out)


def test_a_file_that_is_gone_is_left_out(tmp_path: Path) -> None:
    instance = changed(tmp_path)
    instance.path.unlink()
    assert "is gone" in one(select_images([instance]))


def test_every_instance_stands_in_one_list(tmp_path: Path) -> None:
    study = [changed(tmp_path), changed(tmp_path, ViewPosition="LL"), changed(tmp_path, BodyPartExamined="HAND")]
    selection = select_images(study)
    names = [t.instance.sop_instance_uid for t in selection.taken] + [x.sop_instance_uid for x in selection.left_out]
    assert sorted(names) == sorted(i.sop_instance_uid for i in study)
