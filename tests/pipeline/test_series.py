"""Which CT series is taken, by its headers alone, and the sentence of each that is not.

Pixels are not looked at here; whether lungs are seen is for the systems.
"""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import EnhancedCTImageStorage

from node.pipeline.select import Selection, select_images
from tests.films import MARKER, Film, drawn, wrap
from tests.pipeline.slices import Scan, change, scan, stored


def selected(data_sets: list[Dataset], folder: Path, ct: bool = True) -> Selection:
    selection = select_images([stored(ds, folder) for ds in data_sets], ct)
    uids = [taken.instance.sop_instance_uid for taken in selection.taken]
    uids += [left.sop_instance_uid for left in selection.left_out]
    uids += [i.sop_instance_uid for run in selection.series for i in run.instances]
    assert sorted(uids) == sorted(ds.SOPInstanceUID for ds in data_sets), "each instance stands in exactly one list"
    return selection


def reasons(selection: Selection) -> set[str]:
    return {left.reason for left in selection.left_out}


def tilted(degrees: float) -> list[float]:
    """Image Orientation (Patient) of a gantry tilted about the left-right axis."""
    angle = math.radians(degrees)
    return [1, 0, 0, 0, math.cos(angle), math.sin(angle)]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"BodyPartExamined": None, "SeriesDescription": None, "StudyDescription": None},
        {"BodyPartExamined": "CHEST_TO_PELVIS"},
        {"ImageType": ["DERIVED", "PRIMARY", "AXIAL"]},
        {"ImageOrientationPatient": tilted(5)},
        {"ImageOrientationPatient": [-1, 0, 0, 0, -1, 0]},
        {"ImageOrientationPatient": [-1, 0, 0, 0, 1, 0]},
        {"Modality": None, "PatientName": None},
        {"FrameOfReferenceUID": None},
    ],
)
def test_axial_chest_series_are_taken(changes: dict[str, object], tmp_path: Path) -> None:
    selection = selected(scan(Scan(), **changes), tmp_path)
    (run,) = selection.series
    assert run.reason == "Axial CT series of 6 images." and not selection.left_out


@pytest.mark.parametrize(
    "changes, sentence",
    [
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "localizer"),
        ({"ImageType": ["DERIVED", "SECONDARY", "AXIAL"]}, "secondary CT image"),
        ({"ImageType": ["DERIVED", "PRIMARY", "MPR"]}, "reformatted"),
        ({"ImageType": ["DERIVED", "PRIMARY", "AXIAL", "MIP"]}, "reformatted"),
        ({"BodyPartExamined": "HEAD"}, "BodyPartExamined says HEAD"),
        (
            {"BodyPartExamined": None, "SeriesDescription": "Abdomen pv", "StudyDescription": None},
            "another part of the body",
        ),
        ({"PatientAge": "009Y"}, "younger than 16"),
        ({"NumberOfFrames": 4}, "4 frames"),
        ({"ImageOrientationPatient": tilted(25)}, "tilted by 25 degrees"),
        ({"ImageOrientationPatient": [1, 0, 0, 0, 0, -1]}, "coronal, not axial"),
        ({"ImageOrientationPatient": [0, 1, 0, 0, 0, -1]}, "sagittal, not axial"),
        ({"ImageOrientationPatient": None}, "does not state the position and orientation"),
        ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, "does not state the position and orientation"),
        ({"ImagePositionPatient": None}, "does not state the position and orientation"),
    ],
)
def test_everything_else_is_left_out_in_a_sentence(changes: dict[str, object], sentence: str, tmp_path: Path) -> None:
    selection = selected(scan(Scan(), **changes), tmp_path)
    (said,) = reasons(selection)
    assert sentence in said and said.endswith(".") and not selection.series


def test_two_slices_are_too_few_and_three_are_not(tmp_path: Path) -> None:
    assert reasons(selected(scan(Scan(slices=2)), tmp_path)) == {"The series has 2 CT images; at least 3 are needed."}
    assert selected(scan(Scan(slices=3)), tmp_path).series


@pytest.mark.parametrize(
    "keyword, value, sentence",
    [
        ("Rows", 32, "has another number of rows"),
        ("ImageOrientationPatient", tilted(5), "has another orientation"),
        ("FrameOfReferenceUID", "1.2.3", "lies in another frame of reference"),
    ],
)
def test_a_series_that_is_not_one_volume_is_left_out(
    keyword: str, value: object, sentence: str, tmp_path: Path
) -> None:
    data_sets = scan(Scan())
    change(data_sets[2], **{keyword: value})
    selection = selected(data_sets, tmp_path)
    assert not selection.series and all(sentence in said for said in reasons(selection))


def test_a_localizer_within_the_series_does_not_spoil_it(tmp_path: Path) -> None:
    data_sets = scan(Scan())
    change(data_sets[0], ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"], ImageOrientationPatient=[0, 1, 0, 0, 0, -1])
    selection = selected(data_sets, tmp_path)
    assert len(selection.series[0].instances) == 5 and len(selection.left_out) == 1


def test_of_several_series_the_one_with_the_most_images_is_analysed(tmp_path: Path) -> None:
    thick = scan(Scan("thick", "same", 4))
    thin = scan(Scan("thin", "same", 9), SeriesNumber=5)
    selection = selected([*thick, *thin], tmp_path)
    (run,) = selection.series
    assert {i.series_instance_uid for i in run.instances} == {thin[0].SeriesInstanceUID}
    assert run.reason == "Axial CT series of 9 images, chosen of 2."
    (said,) = reasons(selection)
    assert "this is another" in said and len(selection.left_out) == 4


def test_of_equal_series_the_lung_kernel_then_the_lower_number_is_analysed(tmp_path: Path) -> None:
    soft = scan(Scan("soft", "same"), SeriesNumber=2, ConvolutionKernel="B30f")
    again = scan(Scan("again", "same"), SeriesNumber=1, ConvolutionKernel="B30f")
    lung = scan(Scan("lung", "same"), SeriesNumber=7, ConvolutionKernel="LUNG")
    for data_sets, best in (([*soft, *again, *lung], lung), ([*soft, *again], again)):
        (run,) = selected(data_sets, tmp_path).series
        assert run.instances[0].series_instance_uid == best[0].SeriesInstanceUID


def test_a_series_that_names_the_chest_comes_before_a_longer_one_that_names_nothing(tmp_path: Path) -> None:
    silent: dict[str, object] = {"BodyPartExamined": None, "SeriesDescription": None, "StudyDescription": None}
    longer = scan(Scan("longer", "same", 12), **silent)
    chest = scan(Scan("chest", "same", 6))
    (run,) = selected([*longer, *chest], tmp_path).series
    assert run.instances[0].series_instance_uid == chest[0].SeriesInstanceUID


def test_without_a_ct_system_ct_is_left_out(tmp_path: Path) -> None:
    assert reasons(selected(scan(Scan()), tmp_path, ct=False)) == {
        "It is a CT image; no configured system analyses CT."
    }


def test_a_multi_frame_ct_is_named_as_what_it_is(tmp_path: Path) -> None:
    ds = scan(Scan(slices=1))[0]
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
    assert "multi-frame CT" in reasons(selected([ds], tmp_path)).pop()


def test_a_film_and_a_series_of_one_study_are_both_taken(tmp_path: Path) -> None:
    film = wrap(Film(drawn(5, 96), "film", "same"))
    selection = selected([film, *scan(Scan("scan", "same"))], tmp_path)
    assert len(selection.taken) == 1 and len(selection.series) == 1


def test_two_patients_in_one_study_stop_everything(tmp_path: Path) -> None:
    other = dataclasses.replace(MARKER, patient_id="SOMEBODYELSE")
    film = wrap(Film(drawn(5, 96), "film", "same", identity=other))
    selection = selected([film, *scan(Scan("scan", "same"))], tmp_path)
    assert not selection.taken and not selection.series
    assert all("two different patients" in said for said in reasons(selection))


def test_slices_with_almost_no_header_get_a_sentence(data_folder: Path, tmp_path: Path) -> None:
    """Two of one series, without Patient's Name and Modality."""
    data_sets = [dcmread(data_folder / "dicom" / f"lungmask-ct-{n}.dcm") for n in range(2)]
    assert reasons(selected(data_sets, tmp_path)) == {"The series has 2 CT images; at least 3 are needed."}
