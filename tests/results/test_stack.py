"""Stacks of heat over a CT: one frame for each slice judged, in the order of the volume, each tied to its slice.

DCMTK and Orthanc decode what we packed. Records are made up (``series.py``). What holds for every kind of object is in
test_identity, the words and colours of a picture in test_render, JPEG in test_jpeg. Not covered: how a viewer shows it.
"""

from __future__ import annotations

import dataclasses
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom import Dataset, dcmread
from pydicom.encaps import get_frame, parse_basic_offsets
from pydicom.uid import JPEGLSLossless, MultiFrameTrueColorSecondaryCaptureImageStorage

from models.api import SliceFinding
from node.core import settings
from node.results import render
from node.results.build import build
from node.results.record import AnalysisRecord, BuiltObject
from tests.peers import Orthanc, dciodvfy, dcmsend, program, run
from tests.pipeline.slices import change
from tests.results.records import SIZE, record
from tests.results.series import KEYS, SLICES, ct_record, of_series, of_whole_series, series_outcome, slice_headers

JUDGED = (1, 2, 3)  # of a system that found lung in these slices


def wanting_stacks(made: AnalysisRecord) -> AnalysisRecord:
    return dataclasses.replace(made, wanted=dataclasses.replace(settings.load().objects, kinds=("heat-stacks",)))


def of_headers(headers: list[Dataset]) -> AnalysisRecord:
    """A system that judged the three slices in the middle, and one that judged the whole."""
    every = of_series(headers, "bit-ct")
    some = dataclasses.replace(every, slices=tuple(found for found in every.slices if found.index in JUDGED))
    return wanting_stacks(
        ct_record(headers, series=(series_outcome(headers, some, of_whole_series(headers, "whole")),))
    )


def built(headers: list[Dataset] | None = None) -> BuiltObject:
    (found,) = build(of_headers(headers or slice_headers()))
    return found


def stack(headers: list[Dataset] | None = None) -> Dataset:
    return dcmread(BytesIO(built(headers).content))


def expected(headers: list[Dataset]) -> list[render.RGB]:
    """The picture of each slice judged, from the feet."""
    (outcome,) = of_headers(headers).series
    answer = outcome.predictions[0]
    return [render.stack_slice(outcome.volume.voxels[f.index], f, SLICES, answer) for f in answer.slices]


def test_a_system_that_judged_slices_has_one_stack_and_one_that_judged_the_whole_has_none() -> None:
    found = built()
    assert (found.kind, found.sop_class_uid) == ("stack", MultiFrameTrueColorSecondaryCaptureImageStorage)
    two = wanting_stacks(ct_record())  # bit-ct, cnncf-ct as a whole, their mean
    assert [dcmread(BytesIO(item.content)).SeriesDescription.split()[3] for item in build(two)] == ["bit-ct"]


def test_two_systems_have_two_stacks_in_two_series() -> None:
    headers = slice_headers()
    pair = series_outcome(headers, of_series(headers, "one"), of_series(headers, "two"))
    objects = [dcmread(BytesIO(item.content)) for item in build(wanting_stacks(ct_record(headers, series=(pair,))))]
    assert [ds.InstanceNumber for ds in objects] == [1, 2]
    assert len({ds.SeriesInstanceUID for ds in objects}) == 2 and len({ds.SOPInstanceUID for ds in objects}) == 2


def test_without_heat_there_is_no_stack() -> None:
    headers = slice_headers()
    answer = of_series(headers, "bit-ct")
    bare = tuple(dataclasses.replace(f, heat=None, key=False, lesions=()) for f in answer.slices)
    found = series_outcome(headers, dataclasses.replace(answer, slices=bare))
    assert build(wanting_stacks(ct_record(headers, series=(found,)))) == ()
    assert build(wanting_stacks(record())) == (), "a film has no stack"


def test_frames_are_the_slices_judged_from_the_feet_and_packed_without_loss() -> None:
    headers = slice_headers()
    ds = stack(headers)
    frames = ds.pixel_array
    assert ds.file_meta.TransferSyntaxUID == JPEGLSLossless and frames.shape == (len(JUDGED), SIZE, SIZE, 3)
    for frame, wanted in zip(frames, expected(headers), strict=True):
        assert np.array_equal(frame, wanted)


def test_the_slice_of_a_frame_is_found_by_its_number_and_by_its_place() -> None:
    """Item n of Source Image Sequence; and the position in the patient, which no two slices share."""
    headers = slice_headers()
    ds = stack(headers)
    assert [item.ReferencedSOPInstanceUID for item in ds.SourceImageSequence] == [
        headers[number].SOPInstanceUID for number in JUDGED
    ]
    places = [group.PlanePositionSequence[0].ImagePositionPatient for group in ds.PerFrameFunctionalGroupsSequence]
    assert places == [headers[number].ImagePositionPatient for number in JUDGED]
    assert ds.FrameOfReferenceUID == headers[0].FrameOfReferenceUID
    assert ds.FrameIncrementPointer == 0x00182005
    assert [float(v) for v in ds.SliceLocationVector] == [
        h.ImagePositionPatient[2] for h in (headers[n] for n in JUDGED)
    ]
    assert list(ds.PatientOrientation) == ["L", "P"]


def test_places_rise_from_the_feet_in_mirrored_images_too() -> None:
    """Columns that run to the patient's right turn the normal of rows and columns towards the feet."""
    headers = slice_headers()
    for ds in headers:
        ds.ImageOrientationPatient = [-1, 0, 0, 0, 1, 0]
    for made in (stack(), stack(headers)):
        places = [float(v) for v in made.SliceLocationVector]
        assert places == sorted(places) and len(set(places)) == len(places)


def test_a_key_slice_represents_the_stack() -> None:
    assert JUDGED[stack().RepresentativeFrameNumber - 1] in KEYS


def test_frames_of_an_enhanced_ct_are_named_by_their_numbers() -> None:
    headers = slice_headers()
    for number, header in enumerate(headers, start=1):
        header.SOPInstanceUID = headers[0].SOPInstanceUID
        header.add_new("ReferencedFrameNumber", "IS", number)
    ds = stack(headers)
    assert [item.ReferencedFrameNumber for item in ds.SourceImageSequence] == [number + 1 for number in JUDGED]
    (series,) = ds.ReferencedSeriesSequence
    assert len(series.ReferencedInstanceSequence) == 1, "the object is named once"


def test_only_frames_with_heat_have_colour() -> None:
    """Slice 1 has none, and says so; 2 and 3 have."""
    frames = stack().pixel_array
    assert [bool((frame[..., 0] != frame[..., 2]).any()) for frame in frames] == [False, True, True]


def test_each_frame_is_found_by_the_offset_table() -> None:
    ds = stack()
    assert len(parse_basic_offsets(ds.PixelData)) == len(JUDGED)
    for number in range(len(JUDGED)):
        assert get_frame(ds.PixelData, number)[:2] == b"\xff\xd8", "a JPEG-LS stream begins there"


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"PixelSpacing": None},
        {"PixelSpacing": [0.5, 1.0]},
        {"FrameOfReferenceUID": None},
        {"ImagePositionPatient": None},
        {"ImageOrientationPatient": None},
        {"ImageOrientationPatient": [1, 0, 0, 0, 0.96126, -0.27564]},
        {"BurnedInAnnotation": None},
        {"InstanceNumber": None},
    ],
    ids=lambda changes: "-".join(changes) or "usual",
)
def test_validators_find_no_error_and_the_bytes_repeat(changes: dict[str, object], tmp_path: Path) -> None:
    found = built(slice_headers(**changes))
    path = tmp_path / "stack.dcm"
    path.write_bytes(found.content)
    assert dciodvfy(path) == []
    assert built(slice_headers(**changes)) == found
    ds = dcmread(path)
    assert len(ds.SliceLocationVector) == ds.NumberOfFrames == len(JUDGED)
    placed = not {"PixelSpacing", "FrameOfReferenceUID", "ImagePositionPatient"} & {
        k for k, v in changes.items() if not v
    }
    assert ("PerFrameFunctionalGroupsSequence" in ds) == (
        placed and changes.get("ImageOrientationPatient", 1) is not None
    )


@pytest.mark.parametrize("said, wanted", [("NO", "NO"), ("YES", "YES"), (None, "YES")])
def test_burned_in_text_is_denied_only_where_every_slice_denies_it(said: str | None, wanted: str) -> None:
    headers = slice_headers(BurnedInAnnotation="NO")
    change(headers[2], BurnedInAnnotation=said)
    assert stack(headers).BurnedInAnnotation == wanted


def test_dcmtk_and_orthanc_show_our_pictures_in_our_order(orthanc: Orthanc, tmp_path: Path) -> None:
    headers = slice_headers()
    path = tmp_path / "stack.dcm"
    path.write_bytes(built(headers).content)
    assert dcmsend(orthanc.dicom_port, [path], "--decompress-never", called=orthanc.aet).code == 0
    (instance,) = [
        found["ID"] for found in orthanc.get("/instances?expand")
        if found["MainDicomTags"]["SOPInstanceUID"] == dcmread(path).SOPInstanceUID
    ]  # fmt: skip
    assert dcmread(BytesIO(orthanc.file(instance))) == dcmread(path)
    for number, wanted in enumerate(expected(headers)):
        shown = tmp_path / f"{number}.png"
        done = run([program("dcml2pnm"), "--write-png", "--frame", str(number + 1), path, shown])
        assert done.code == 0, done.text
        assert np.array_equal(np.asarray(Image.open(shown).convert("RGB")), wanted)
        sent = orthanc.request("GET", f"/instances/{instance}/frames/{number}/rendered")
        assert np.array_equal(np.asarray(Image.open(BytesIO(sent)).convert("RGB")), wanted)


def test_a_slice_keeps_to_what_its_flags_say() -> None:
    heat = np.zeros((4, 4), np.float32)
    with pytest.raises(ValueError, match="key slice without heat"):
        SliceFinding(0, "1", (1.0,), None, key=True)
    lesion = of_series(slice_headers(), "bit-ct").slices[KEYS[-1]].lesions
    with pytest.raises(ValueError, match="no key slice"):
        SliceFinding(0, "1", (1.0,), heat, lesion)
