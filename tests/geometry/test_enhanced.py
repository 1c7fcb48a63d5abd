"""A CT phantom as one Enhanced CT: every result names the right frame, and what is no single stack is refused.

The same is asked of an object that highdicom converts from slices (Legacy Converted Enhanced CT), which stands for a
writer that is not ours. Results are those of test_ct, read back in the same way, and valid to dciodvfy and dsrdump.
From the wire to the PACS: tests/e2e/test_enhanced.py. Not covered: objects in parts (concatenations), refused.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from highdicom.legacy import LegacyConvertedEnhancedCTImage
from pydicom import Dataset
from pydicom.uid import ExplicitVRBigEndian, JPEG2000Lossless, JPEGLSLossless, RLELossless

from node.core.errors import Refused
from node.pipeline.select import select_images
from node.pipeline.volume import LoadedSeries, load_series
from tests.films import uid
from tests.geometry.checks import assert_all_agree
from tests.geometry.multiframe import enhanced
from tests.geometry.phantoms import BALLS, PRONE, Scanner
from tests.geometry.ward import Analysed, images
from tests.peers import dciodvfy, dsrdump
from tests.pipeline.slices import change, stored

ORDINARY = Scanner("frames")
SMALL = Scanner("few", (64, 64), (6.0, 6.0))


def converted(scanner: Scanner) -> Dataset:
    """As highdicom converts slices."""
    slices = scanner.slices()
    ds: Dataset = LegacyConvertedEnhancedCTImage(
        slices, series_instance_uid=str(slices[0].SeriesInstanceUID), series_number=2,
        sop_instance_uid=uid("converted", scanner.seed), instance_number=1,
    )  # fmt: skip
    return ds


@pytest.mark.parametrize(
    "ds",
    [
        enhanced(ORDINARY.slices()),
        enhanced(ORDINARY.slices()[::-1], rescale_of_each=True),
        enhanced(Scanner("frames prone", (280, 360), (1.7, 1.3), PRONE).slices()),
        converted(Scanner("converted")),
    ],
    ids=["from the feet", "from the head, each with its rescale", "prone, oblong", "converted by highdicom"],
)
def test_every_result_is_at_the_ball_and_valid(ds: Dataset, tmp_path: Path) -> None:
    done = Analysed(tmp_path, [ds])
    assert not done.reasons
    assert_all_agree(done, images([ds]), BALLS)
    assert {place.frame for place in done.rows()} <= set(range(1, 12)) and len(done.rows()) == 3
    for path in done.files():
        assert dciodvfy(path) == [], path
    for kind in ("sr", "regions"):
        assert all(dsrdump(path).code == 0 for path in done.files(kind))
    (analysis,) = done.room.rows("SELECT instances_used, instances_left_out FROM analyses")
    assert analysis == {"instances_used": 1, "instances_left_out": 0}
    numbers = done.room.rows("SELECT frame FROM details WHERE name = 'slice.covid19' ORDER BY frame")
    assert [row["frame"] for row in numbers] == list(range(1, 12)), "what is said of a slice stands under its frame"


def test_the_phantom_is_valid_itself(tmp_path: Path) -> None:
    for ds in (enhanced(SMALL.slices()), enhanced(SMALL.slices(), rescale_of_each=True)):
        ds.save_as(tmp_path / "phantom.dcm", enforce_file_format=True)
        assert dciodvfy(tmp_path / "phantom.dcm") == []


def test_the_report_names_the_frames(tmp_path: Path) -> None:
    done = Analysed(tmp_path, [enhanced(SMALL.slices()[::-1])], ("summary",))
    (report,) = done.objects("sr")
    said = [str(item.get("TextValue")) for item in report.ContentSequence]
    assert any("judged 11 of 11 slices" in text and "slice 3, frame 9" in text for text in said)
    (study,) = report.CurrentRequestedProcedureEvidenceSequence
    (series,) = study.ReferencedSeriesSequence
    assert len(series.ReferencedSOPSequence) == 1, "one object, however many frames it has"


def loaded(data_sets: list[Dataset], folder: Path) -> LoadedSeries:
    (run,) = select_images([stored(ds, folder) for ds in data_sets]).series
    return load_series(run.instances)


@pytest.mark.parametrize("syntax", [ExplicitVRBigEndian, RLELossless, JPEG2000Lossless, JPEGLSLossless])
def test_frames_are_those_of_slices_in_every_syntax(syntax: str, tmp_path: Path) -> None:
    as_slices = loaded(SMALL.slices(), tmp_path).volume.voxels
    ds = enhanced(SMALL.slices())
    if syntax == ExplicitVRBigEndian:
        ds.PixelData = np.frombuffer(ds.PixelData, "<i2").astype(">i2").tobytes()
        ds.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    else:
        ds.compress(syntax, generate_instance_uid=False)
    np.testing.assert_array_equal(loaded([ds], tmp_path).volume.voxels, as_slices)


def test_frames_are_decoded_one_at_a_time(tmp_path: Path) -> None:
    """Besides the volume, no more than a few frames are in memory."""
    count, (rows, columns) = 64, (256, 256)
    ds = enhanced(Scanner("many", (rows, columns), (1.6, 1.6), places=tuple(float(n) for n in range(count))).slices())
    (run,) = select_images([stored(ds, tmp_path)]).series
    load_series(run.instances)  # what is imported at first use
    tracemalloc.start()
    volume = load_series(run.instances).volume
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < volume.voxels.nbytes + 12 * 4 * rows * columns


def said(data_sets: list[Dataset], folder: Path) -> str:
    """Why nothing of it is analysed."""
    selection = select_images([stored(ds, folder) for ds in data_sets])
    try:
        for run in selection.series:
            load_series(run.instances)
    except Refused as error:
        return str(error)
    (reason,) = {left.reason for left in selection.left_out}
    assert not selection.series
    return reason


def one_frame(keyword: str, number: int, **values: object) -> Dataset:
    ds = enhanced(SMALL.slices())
    group = ds.PerFrameFunctionalGroupsSequence[number - 1]
    if keyword not in group:
        setattr(group, keyword, [Dataset()])
    change(getattr(group, keyword)[0], **values)
    return ds


def same_place_twice() -> Dataset:
    slices, again = SMALL.slices(), SMALL.slices()[4]
    again.ImagePositionPatient = slices[3].ImagePositionPatient
    return enhanced([*slices[:4], again, *slices[4:]])


REFUSED: dict[str, tuple[Callable[[], Dataset], str]] = {
    "two stacks": (lambda: enhanced(SMALL.slices(), stacks=[1] * 6 + [2] * 5), "slice 7 of 11 from the feet (frame 7)"),
    "a gap": (lambda: enhanced(SMALL.slices()[:4] + SMALL.slices()[5:]), "slice 4 of 10 from the feet (frame 4)"),
    "another orientation": (
        lambda: one_frame("PlaneOrientationSequence", 3, ImageOrientationPatient=[1, 0, 0, 0, 0, -1]),
        "Slice 3 of 11 from the feet (frame 3) has another orientation",
    ),
    "another spacing": (
        lambda: one_frame("PixelMeasuresSequence", 8, PixelSpacing=[5.0, 5.0]),
        "Slice 8 of 11 from the feet (frame 8) has another pixel spacing",
    ),
    "no place": (lambda: one_frame("PlanePositionSequence", 5, ImagePositionPatient=None), "of 1 of its 11 images"),
    "a projection": (
        lambda: one_frame("CTImageFrameTypeSequence", 6, FrameType=["DERIVED", "PRIMARY", "VOLUME", "MAXIMUM"]),
        "Frame 6: It is a reformatted CT image (MAXIMUM)",
    ),
    "no Hounsfield units": (
        lambda: one_frame("PixelValueTransformationSequence", 2, RescaleSlope=1, RescaleIntercept=0, RescaleType="US"),
        "rescale type of the series is not HU",
    ),
    "one place twice": (same_place_twice, "(frame 5) lies where frame 4 does and shows something else"),
    "frames not described": (
        lambda: change(enhanced(SMALL.slices()), NumberOfFrames=12), "says 12 frames and describes 11",
    ),
    "a part": (lambda: change(enhanced(SMALL.slices()), InConcatenationNumber=1), "one part of a concatenation"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_single_stack_is_refused_with_the_frame_named(name: str, tmp_path: Path) -> None:
    make, words = REFUSED[name]
    assert words in said([make()], tmp_path)


def test_of_several_objects_the_best_is_analysed(tmp_path: Path) -> None:
    """Two phases of one series, an object each: they are never mixed."""
    short, whole = enhanced(SMALL.slices()[2:8]), enhanced(SMALL.slices())
    short.SOPInstanceUID = short.file_meta.MediaStorageSOPInstanceUID = uid("enhanced", "short")
    selection = select_images([stored(ds, tmp_path) for ds in (short, whole)])
    (run,) = selection.series
    assert [instance.sop_instance_uid for instance in run.instances] == [whole.SOPInstanceUID]
    assert [left.sop_instance_uid for left in selection.left_out] == [short.SOPInstanceUID]


def test_without_a_ct_system_it_is_left_out_as_ct(tmp_path: Path) -> None:
    (left,) = select_images([stored(enhanced(SMALL.slices()), tmp_path)], ct=False).left_out
    assert left.reason == "It is a CT image; no configured system analyses CT."
