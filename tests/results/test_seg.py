"""Segmentations: read back as the masks that went in, in their place in the patient, tied to the reports.

Records are made up; readers are pydicom and highdicom. Identity and times are in test_identity, foci at known places
through the whole node in tests/geometry. Not covered: what a viewer shows, and whether the lungs are the lungs
(tests/models).
"""

from __future__ import annotations

import dataclasses
from io import BytesIO
from pathlib import Path

import highdicom
import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.uid import EnhancedCTImageStorage

from models.api import LungField, LungPart, Prediction, VolumeField, VolumeInput
from node.results import seg
from node.results.build import build
from node.results.record import AnalysisRecord, BuiltObject, SeriesOutcome
from tests.films import uid
from tests.peers import Orthanc, dciodvfy, dcmsend
from tests.pipeline.slices import Scan, scan
from tests.results.records import SIZE, header, outcome, prediction, record
from tests.results.series import SLICES, ct_record, of_series, series_outcome, slice_headers
from tests.results.test_objects import digests, items, of_kind, parsed

ALL = ("summary", "regions", "segmentations", "film-segmentations", "parametric-maps")
PRONE, MIRRORED = [-1, 0, 0, 0, -1, 0], [-1, 0, 0, 0, 1, 0]


def everything(made: AnalysisRecord) -> AnalysisRecord:
    return dataclasses.replace(made, wanted=dataclasses.replace(made.wanted, kinds=ALL))


def of_ct(made: AnalysisRecord) -> Dataset:
    (built,) = seg.of_series(made)
    return parsed(built)


def of_film(made: AnalysisRecord) -> Dataset:
    (built,) = seg.of_films(made)
    return parsed(built)


def errors(built: BuiltObject, folder: Path) -> list[str]:
    path = folder / f"{built.sop_instance_uid}.dcm"
    path.write_bytes(built.content)
    return dciodvfy(path)


def masks(ds: Dataset) -> dict[tuple[int, str], NDArray[np.uint8]]:
    """(segment, SOP Instance UID of the image) -> frame, by pydicom alone."""
    frames = ds.pixel_array.reshape(-1, ds.Rows, ds.Columns)
    found = {}
    for groups, frame in zip(ds.PerFrameFunctionalGroupsSequence, frames, strict=True):
        (source,) = groups.DerivationImageSequence[0].SourceImageSequence
        number = int(groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        found[number, str(source.ReferencedSOPInstanceUID)] = frame
    return found


def segment(ds: Dataset, label: str) -> Dataset:
    (found,) = [item for item in ds.SegmentSequence if item.SegmentLabel == label]
    return found


def code(item: Dataset, keyword: str) -> str:
    return str(item[keyword].value[0].CodeValue)


def scanned(shape: tuple[int, int] = (SIZE, SIZE), **changes: object) -> list[Dataset]:
    """Headers of slices of any matrix."""
    found = scan(Scan("segmented", voxels=np.zeros((SLICES, *shape), np.int16)), **changes)
    for ds in found:
        del ds.PixelData
    return found


def random_lungs(headers: list[Dataset], seed: int = 3) -> SeriesOutcome:
    """Lungs that no anatomy explains, so that nothing is right by symmetry; the last slice has none."""
    shape = (len(headers), int(headers[0].Rows), int(headers[0].Columns))
    parts = np.random.default_rng(seed).integers(0, 3, shape).astype(np.uint8)
    parts[-1] = 0
    uids = tuple(str(header.SOPInstanceUID) for header in headers)
    volume = VolumeInput(np.zeros(shape, np.float32), uids, str(headers[0].SeriesInstanceUID), (5.0, 0.75, 0.75))
    said = series_outcome(slice_headers())
    assert said.lungs is not None
    return SeriesOutcome(tuple(headers), volume, (), lungs=VolumeField(parts, said.lungs.model))


@pytest.mark.parametrize("made", [record, ct_record], ids=["film", "ct"])
def test_the_validator_finds_no_error_and_the_bytes_repeat(made: object, tmp_path: Path) -> None:
    objects = build(everything(made()))  # type: ignore[operator]
    assert "seg" in {built.kind for built in objects}
    for built in objects:
        assert errors(built, tmp_path) == [], built.kind
    assert digests(objects) == digests(build(everything(made())))  # type: ignore[operator]


@pytest.mark.parametrize(
    "headers",
    [
        scanned(),
        scanned(ImageOrientationPatient=PRONE),
        scanned(ImageOrientationPatient=MIRRORED),  # the normal points to the feet
        scanned(PixelSpacing=[0.5, 1.25]),
        scanned((61, 43)),  # frames end within a byte
        scanned((43, 64), ImageOrientationPatient=[0, 1, 0, -1, 0, 0]),
    ],
    ids=["axial", "prone", "mirrored", "oblong", "odd", "turned"],
)
def test_lungs_come_back_as_they_went_in(headers: list[Dataset], tmp_path: Path) -> None:
    """By pydicom frame by frame, by highdicom slice by slice and in the patient's millimetres."""
    made = random_lungs(headers)
    assert made.lungs is not None
    (built,) = seg.of_series(ct_record(headers, series=(made,)))
    assert errors(built, tmp_path) == []
    found = masks(parsed(built))
    for number, source in enumerate(made.volume.slice_uids):
        for part in (LungPart.RIGHT, LungPart.LEFT):
            expected = made.lungs.parts[number] == part
            frame = found.pop((int(part), source), np.zeros(expected.shape))
            assert np.array_equal(frame > 0, expected)
    assert not found, "frames of nothing"
    read = highdicom.seg.segread(BytesIO(built.content))
    every = read.get_pixels_by_source_instance(list(made.volume.slice_uids), assert_missing_frames_are_empty=True)
    for part in (LungPart.RIGHT, LungPart.LEFT):
        assert np.array_equal(every[..., int(part) - 1] > 0, made.lungs.parts == part)


@pytest.mark.parametrize("orientation", [[1, 0, 0, 0, 1, 0], PRONE, MIRRORED, [0, 1, 0, -1, 0, 0]])
def test_a_voxel_lies_in_the_patient_where_the_source_has_it(orientation: list[int]) -> None:
    headers = scanned((40, 64), ImageOrientationPatient=orientation, PixelSpacing=[0.5, 1.25])
    made = random_lungs(headers)
    assert made.lungs is not None
    parts = np.zeros_like(made.lungs.parts)
    parts[1:3, 10, 50] = LungPart.RIGHT
    made = dataclasses.replace(made, lungs=dataclasses.replace(made.lungs, parts=parts))
    (built,) = seg.of_series(ct_record(headers, series=(made,)))
    volume = highdicom.seg.segread(BytesIO(built.content)).get_volume(segment_numbers=[1])
    place = volume.affine @ [*np.argwhere(volume.array[..., 0] > 0).mean(axis=0), 1]
    row, column = np.array(orientation[:3]), np.array(orientation[3:])
    positions = np.array([header.ImagePositionPatient for header in headers[1:3]], float)
    assert place[:3] == pytest.approx(positions.mean(axis=0) + 50 * 1.25 * row + 10 * 0.5 * column)


def test_frames_are_those_with_something_on_them_and_count_up_from_the_feet() -> None:
    headers = scanned()
    ds = of_ct(ct_record(headers, series=(random_lungs(headers),)))
    groups = ds.PerFrameFunctionalGroupsSequence
    values = [list(one.FrameContentSequence[0].DimensionIndexValues) for one in groups]
    assert values == [[segment, place] for segment in (1, 2) for place in range(1, SLICES)]
    places = [one.PlanePositionSequence[0].ImagePositionPatient[2] for one in groups[: SLICES - 1]]
    assert places == [header.ImagePositionPatient[2] for header in headers[:-1]]
    assert ds.pixel_array.reshape(len(groups), -1).any(axis=1).all()


def test_the_source_is_named_as_viewers_ask_for_it() -> None:
    """OHIF looks for Referenced Series Sequence; the frame of reference ties the lungs to the slices."""
    headers = slice_headers()
    ds = of_ct(ct_record(headers))
    (series,) = ds.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == headers[0].SeriesInstanceUID
    named = {item.ReferencedSOPInstanceUID for item in series.ReferencedInstanceSequence}
    assert named == {header.SOPInstanceUID for header in headers}
    assert ds.FrameOfReferenceUID == headers[0].FrameOfReferenceUID
    (shared,) = ds.SharedFunctionalGroupsSequence
    assert list(shared.PixelMeasuresSequence[0].PixelSpacing) == [0.75, 0.75]
    assert float(shared.PixelMeasuresSequence[0].SpacingBetweenSlices) == 5.0


def test_lungs_have_their_sides_and_their_method() -> None:
    ds = of_ct(ct_record())
    for label, side in (("Right lung", "24028007"), ("Left lung", "7771000")):
        item = segment(ds, label)
        assert code(item, "SegmentedPropertyCategoryCodeSequence") == "91723000"
        (kind,) = item.SegmentedPropertyTypeCodeSequence
        assert kind.CodeValue == "39607008" and code(kind, "SegmentedPropertyTypeModifierCodeSequence") == side
        (method,) = item.SegmentationAlgorithmIdentificationSequence
        assert code(method, "AlgorithmFamilyCodeSequence") == "123104", "no artificial intelligence"
        assert "TrackingUID" not in item
    right, left = (np.argwhere(frame)[:, 1].mean() for frame in ds.pixel_array[[0, SLICES]])
    assert right < left, "of a patient on the back, the right lung is at the left of the picture"


def test_lungs_of_no_known_side_have_none() -> None:
    headers = slice_headers()
    made = series_outcome(headers)
    assert made.lungs is not None
    both = np.where(made.lungs.parts > 0, LungPart.EITHER, 0).astype(np.uint8)
    one = dataclasses.replace(made, lungs=dataclasses.replace(made.lungs, parts=both))
    ds = of_ct(ct_record(headers, series=(one,)))
    (kind,) = segment(ds, "Lung, side unknown").SegmentedPropertyTypeCodeSequence
    assert "SegmentedPropertyTypeModifierCodeSequence" not in kind
    assert len(ds.SegmentSequence) == 2


@pytest.mark.parametrize("made", [record, ct_record], ids=["film", "ct"])
def test_a_focus_has_the_tracking_identifiers_of_the_reports(made: object) -> None:
    objects = build(everything(made()))  # type: ignore[operator]
    (summary,), (ds,) = of_kind(objects, "sr"), of_kind(objects, "seg")
    told = [(str(item.get("TextValue", "")), str(item.get("UID", ""))) for item in items(summary)]
    names = {text for text, _ in told if "focus" in text and ":" not in text}
    uids = {uid_ for _, uid_ in told if uid_}
    tracked = [item for item in ds.SegmentSequence if "TrackingUID" in item]
    assert tracked and {item.TrackingID for item in tracked} <= names
    assert {item.TrackingUID for item in tracked} <= uids
    for item in tracked:
        assert code(item, "SegmentedPropertyTypeCodeSequence") == "130401", "as the reports say it"
        assert code(item.SegmentationAlgorithmIdentificationSequence[0], "AlgorithmFamilyCodeSequence") == "123110"
        assert "no outline of disease" in item.SegmentDescription
        assert code(item, "AnatomicRegionSequence") == "39607008"


def test_a_focus_without_an_outline_has_no_segment() -> None:
    source = header()
    bare = dataclasses.replace(prediction().lesions[0], outline_px=())
    made = outcome(source, dataclasses.replace(prediction(), lesions=(bare,)))
    assert [item.SegmentLabel for item in of_film(record(source, images=(made,))).SegmentSequence] == ["Lungs", "Heart"]


def test_a_film_has_lungs_and_heart_in_its_own_pixels() -> None:
    source = header()
    made = outcome(source)
    assert made.lungs is not None and made.heart is not None
    ds = of_film(record(source, images=(made,)))
    found = masks(ds)
    assert np.array_equal(found[1, source.SOPInstanceUID] > 0, made.lungs.mask)
    assert np.array_equal(found[2, source.SOPInstanceUID] > 0, made.heart.heart)
    assert code(segment(ds, "Heart"), "SegmentedPropertyTypeCodeSequence") == "80891009"
    assert "FrameOfReferenceUID" not in ds and list(ds.PatientOrientation) == list(source.PatientOrientation)
    assert all("PlanePositionSequence" not in groups for groups in ds.PerFrameFunctionalGroupsSequence)


def test_without_a_heart_there_is_no_segment_of_it() -> None:
    source = header()
    ds = of_film(record(source, images=(dataclasses.replace(outcome(source), heart=None),)))
    assert [item.SegmentLabel for item in ds.SegmentSequence] == ["Lungs", "cxnet focus 1"]


def test_where_nothing_was_found_there_is_no_object() -> None:
    source, headers = header(), slice_headers()
    film = outcome(source, prediction(probability=0.2))
    empty = LungField(np.zeros((SIZE, SIZE), bool), (), prediction().model)
    assert not list(seg.of_films(record(source, images=(dataclasses.replace(film, lungs=empty, heart=None),))))
    quiet: Prediction = of_series(headers, "bit-ct")
    quiet = dataclasses.replace(quiet, slices=())
    without = dataclasses.replace(series_outcome(headers, quiet), lungs=None)
    assert not list(seg.of_series(ct_record(headers, series=(without,))))


@pytest.mark.parametrize(
    "changes", [{"FrameOfReferenceUID": None}, {"PixelSpacing": None}, {"PixelSpacing": [0, 0]}, {"PixelSpacing": 0.7}]
)
def test_slices_without_a_place_in_the_patient_have_none(changes: dict[str, object]) -> None:
    assert not list(seg.of_series(ct_record(slice_headers(**changes))))


def test_the_matrix_is_that_of_the_film_whatever_its_header_says(tmp_path: Path) -> None:
    for source in (header(Rows=None), header(Columns=7)):
        (built,) = seg.of_films(record(source))
        assert errors(built, tmp_path) == [] and parsed(built).pixel_array.shape[1:] == (SIZE, SIZE)


def test_film_and_series_of_one_study_stand_in_series_of_their_own() -> None:
    headers, film = slice_headers(), header()
    film.StudyInstanceUID = headers[0].StudyInstanceUID
    objects = build(everything(ct_record(headers, images=(outcome(film),))))
    one, two = of_kind(objects, "seg")
    assert one.SeriesInstanceUID != two.SeriesInstanceUID and one.SeriesNumber != two.SeriesNumber


def frames_of_one_object() -> list[Dataset]:
    """Headers as the frames of an Enhanced CT are laid out, the first frame being the highest."""
    headers = slice_headers(SOPClassUID=EnhancedCTImageStorage, SOPInstanceUID=uid("instance", "enhanced"))
    for number, one in enumerate(headers):
        one.ReferencedFrameNumber = SLICES - number
    return headers


def test_frames_of_a_multi_frame_source_are_named(tmp_path: Path) -> None:
    (built,) = seg.of_series(ct_record(frames_of_one_object()))
    assert errors(built, tmp_path) == []
    ds = parsed(built)
    assert len(ds.ReferencedSeriesSequence[0].ReferencedInstanceSequence) == 1
    sources = [
        groups.DerivationImageSequence[0].SourceImageSequence[0] for groups in ds.PerFrameFunctionalGroupsSequence
    ]
    assert [int(source.ReferencedFrameNumber) for source in sources[:SLICES]] == list(range(SLICES, 0, -1))
    made = series_outcome(slice_headers())
    assert made.lungs is not None
    assert np.array_equal(ds.pixel_array[:SLICES] > 0, made.lungs.parts == LungPart.RIGHT)


def test_lossy_sources_are_told() -> None:
    lossy = slice_headers(
        LossyImageCompression="01", LossyImageCompressionRatio="12.5", LossyImageCompressionMethod="ISO_10918_1"
    )
    ds = of_ct(ct_record(lossy))
    assert (ds.LossyImageCompression, float(ds.LossyImageCompressionRatio)) == ("01", 12.5)
    assert of_ct(ct_record()).LossyImageCompression == "00"


def test_uneven_slices_state_no_step() -> None:
    headers = slice_headers()
    headers[-1].ImagePositionPatient = [-150.0, -150.0, 0.0]
    measures = of_ct(ct_record(headers)).SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert "SpacingBetweenSlices" not in measures


def test_orthanc_takes_them_and_gives_them_back(tmp_path: Path) -> None:
    headers, film = slice_headers(), header()
    film.StudyInstanceUID = headers[0].StudyInstanceUID
    objects = build(everything(ct_record(headers, images=(outcome(film),))))
    sent = {built.sop_instance_uid: built for built in objects if built.kind in ("seg", "pm")}
    assert len(sent) == 4
    for number, built in enumerate(sent.values()):
        (tmp_path / f"{number}.dcm").write_bytes(built.content)
    with Orthanc() as orthanc:
        ran = dcmsend(orthanc.dicom_port, [tmp_path], called=orthanc.aet)
        assert ran.code == 0, ran.text
        kept = {str(ds.SOPInstanceUID): ds for ds in orthanc.datasets(str(headers[0].StudyInstanceUID))}
    assert kept.keys() == sent.keys()
    for sop, ds in kept.items():
        assert np.array_equal(ds.pixel_array, parsed(sent[sop]).pixel_array)
