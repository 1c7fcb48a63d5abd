"""A CT phantom, acquired in every way, through the node: the foci lie in every result where the balls lie in the body.

Rows, both reports, presentation states, pictures, segmentations and parametric maps are read back by pydicom alone and
held against the truth in pixels of the slice named and in the patient's millimetres. What is no single axial stack is
refused with the slice named. Not covered: Enhanced CT (test_enhanced), what a viewer draws (tests/viewers), and whether
a system is right about what it sees.
"""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset

from node.core.errors import Refused
from node.pipeline.select import select_images
from node.pipeline.volume import TURNED, load_series
from tests.films import uid
from tests.geometry.checks import assert_all_agree, assert_at_balls
from tests.geometry.phantoms import (
    AXIAL,
    BALLS,
    CORONAL,
    LEFT_DOWN,
    MIRRORED,
    PRONE,
    RIGHT_DOWN,
    SAGITTAL,
    UPSIDE_DOWN,
    Ball,
    Scanner,
)
from tests.geometry.ward import Analysed, Place, images
from tests.pipeline.slices import stored

ORDINARY = Scanner("ordinary")
SMALL = Scanner("small", (64, 64), (6.0, 6.0))
PLACES = ORDINARY.places


def turned(degrees: float) -> tuple[float, ...]:
    """Rows and columns of an axial slice turned about the long axis, as of a head that is not held straight."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return (c, s, 0, -s, c, 0)


def repeated(scanner: Scanner, numbers: list[int]) -> list[Dataset]:
    """The slices, and some of them once more as instances of their own."""
    again = [ds for number, ds in enumerate(scanner.slices()) if number in numbers]
    for ds in again:
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = uid("again", str(ds.SOPInstanceUID))
    return [*scanner.slices(), *again]


@pytest.mark.parametrize(
    "scanner",
    [
        ORDINARY,
        Scanner("from the head", places=PLACES[::-1]),
        Scanner("in no order", places=tuple(random.Random(666).sample(PLACES, len(PLACES)))),
        Scanner("prone", orientation=PRONE),
        Scanner("feet first, mirrored", orientation=MIRRORED),
        Scanner("prone, mirrored", orientation=UPSIDE_DOWN),
        Scanner("on the left side", orientation=LEFT_DOWN, matrix=(340, 260), spacing=(1.3, 1.8)),
        Scanner("on the right side", orientation=RIGHT_DOWN),
        Scanner("turned by 12 degrees", orientation=turned(12)),
        Scanner("tilted", tilt=8.0),
        Scanner("tilted, prone", tilt=-9.0, orientation=PRONE),
        Scanner("oblong pixels", matrix=(280, 380), spacing=(1.9, 1.2)),
        Scanner("uneven", places=(-60, -50, -37, -24, -13, 0, 12.5, 24, 36, 49, 60)),
    ],
    ids=lambda scanner: scanner.seed,
)
def test_every_result_is_at_the_ball(scanner: Scanner, tmp_path: Path) -> None:
    slices = scanner.slices()
    done = Analysed(tmp_path, slices)
    assert not done.reasons
    assert_all_agree(done, images(slices), BALLS)


@pytest.mark.parametrize("orientation", [PRONE, MIRRORED, UPSIDE_DOWN, LEFT_DOWN, RIGHT_DOWN])
def test_systems_see_the_same_thorax_however_it_is_stored(orientation: tuple[int, ...], tmp_path: Path) -> None:
    """Rows to the back, columns to the left; the report says that the images were turned."""
    slices = Scanner("stored otherwise", matrix=(150, 150), spacing=(2.4, 2.4), orientation=orientation).slices()
    done = Analysed(tmp_path, slices, ("summary",))
    usual = np.stack([Scanner("", (150, 150), (2.4, 2.4), AXIAL).hounsfield(place) for place in PLACES])
    (given,) = done.systems.ct.given
    np.testing.assert_allclose(given.voxels, usual, atol=1)  # type: ignore[union-attr]
    assert given.spacing_mm == (12.0, 2.4, 2.4)
    (report,) = done.objects("sr")
    assert TURNED in [item.get("TextValue") for item in report.ContentSequence]


@pytest.mark.parametrize("side", [64, 1024])
def test_small_and_large_matrices(side: int, tmp_path: Path) -> None:
    """Pictures of 64 pixels have no room for words beside the heat, so numbers alone are compared."""
    data_sets = Scanner(f"side {side}", (side, side), (400 / side, 400 / side), places=(-36, -12, 12, 36, 60)).slices()
    done = Analysed(tmp_path, data_sets, ("summary", "regions"))
    for places in (done.rows(), done.points("sr"), done.points("regions")):
        assert_at_balls(places, images(data_sets), BALLS)


def test_the_same_slice_sent_twice_is_used_once(tmp_path: Path) -> None:
    slices = repeated(SMALL, [2, 6, 8])
    done = Analysed(tmp_path, slices, ("summary",))
    assert done.reasons == {"It is the same as another image of the series, at the same place."}
    for places in (done.rows(), done.points("sr")):
        assert_at_balls(places, images(slices), BALLS)


def changed(number: int, **values: object) -> list[Dataset]:
    slices = SMALL.slices()
    for keyword, value in values.items():
        setattr(slices[number], keyword, value)
    return slices


def without(*numbers: int) -> list[Dataset]:
    return [ds for number, ds in enumerate(SMALL.slices()) if number not in numbers]


def moved(mm_for_each: float) -> list[Dataset]:
    """Axial by their orientation, but each slice shifted to the back against the last."""
    slices = SMALL.slices()
    for number, ds in enumerate(slices):
        ds.ImagePositionPatient[1] += number * mm_for_each
    return slices


def two_scans() -> list[Dataset]:
    """A second acquisition half a step above the first, both in one series."""
    both = dataclasses.replace(SMALL, places=tuple(sorted([*PLACES, *(place + 6 for place in PLACES)]))).slices()
    for number, ds in enumerate(both):
        ds.AcquisitionNumber = 1 + number % 2
    return both


def overlapping() -> list[Dataset]:
    """Two scans that overlap in the middle by two slices, a third of a step apart."""
    return dataclasses.replace(SMALL, places=(-60, -48, -36, -24, -12, -8, 0, 4, 16, 28, 40, 52)).slices()


def other_pixels() -> list[Dataset]:
    slices = repeated(SMALL, [6])
    pixels = slices[-1].pixel_array.copy()
    pixels[30, 30] += 1
    slices[-1].PixelData, slices[-1].InstanceNumber = pixels.tobytes(), 40
    return slices


REFUSED = {
    "sagittal": (dataclasses.replace(SMALL, orientation=SAGITTAL).slices, ["sagittal, not axial"]),
    "coronal": (dataclasses.replace(SMALL, orientation=CORONAL).slices, ["coronal, not axial"]),
    "tilted by 20": (dataclasses.replace(SMALL, tilt=20.0).slices, ["tilted by 20 degrees"]),
    "sheared": (lambda: moved(4.0), ["shifted against each other by 18 degrees"]),
    "turned by 40": (dataclasses.replace(SMALL, orientation=turned(40)).slices, ["rows of the images run 40 degrees"]),
    "one missing": (
        lambda: without(4),
        ["after slice 4 of 10 from the feet (image number 4)", "(image number 6) comes after 24 mm", "12 mm are usual"],
    ),
    "several missing": (lambda: without(2, 7, 8), ["after slice 2 of 8 from the feet (image number 2)", "24 mm"]),
    "two scans": (two_scans, ["two stacks in one series: slice 3 of 22 from the feet (image number 3)"]),
    "overlapping": (overlapping, ["two stacks", "slice 5 of 12 from the feet (image number 5)", "(image number 6)"]),
    "other pixels": (other_pixels, ["Slice 8 of 12 from the feet (image number 40) lies where image number 7 does"]),
    "one orientation": (
        lambda: changed(3, ImageOrientationPatient=[1, 0, 0, 0, 0, -1]),
        ["Slice 4 of 11 from the feet (image number 4) has another orientation"],
    ),
    "beside": (
        lambda: changed(5, ImagePositionPatient=[-150.0, -204.0, 0.0]),
        ["Slice 6 of 11 from the feet (image number 6) lies", "beside the line of the others"],
    ),
    "matrix": (
        lambda: changed(7, Rows=32, PixelData=SMALL.slices()[7].PixelData[: 2 * 32 * 64]),
        ["Slice 8 of 11 from the feet (image number 8) has another number of rows"],
    ),
    "frame of reference": (lambda: changed(1, FrameOfReferenceUID="1.2.3"), ["(image number 2) lies in another frame"]),
}  # fmt: skip


def looked_at(data_sets: list[Dataset], folder: Path) -> set[str]:
    """Why images are not analysed: what selection says, else what the loader says."""
    selection = select_images([stored(ds, folder) for ds in data_sets])
    try:
        for run in selection.series:
            load_series(run.instances)
    except Refused as error:
        return {str(error)}
    return {left.reason for left in selection.left_out}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_single_axial_stack_is_refused_with_the_slice_named(name: str, tmp_path: Path) -> None:
    make, words = REFUSED[name]
    (reason,) = looked_at(make(), tmp_path)
    assert all(word in reason for word in words), reason


@pytest.mark.parametrize("make", [lambda: without(4), other_pixels], ids=["by its headers", "by its pixels"])
def test_a_refusal_is_a_result_that_says_why(make: Callable[[], list[Dataset]], tmp_path: Path) -> None:
    done = Analysed(tmp_path, make())
    (reason,) = done.reasons
    assert not done.rows() and not done.systems.ct.given
    assert done.room.rows("SELECT outcome, reason FROM analyses") == [{"outcome": "refused", "reason": reason}]
    assert [row["kind"] for row in done.room.rows("SELECT kind FROM outputs")][:1] == ["sr"]
    (report,) = done.objects("sr")
    assert any(reason in str(item.get("TextValue")) for item in report.ContentSequence)


def test_a_slice_of_another_spacing_is_a_stranger_and_leaves_a_gap(tmp_path: Path) -> None:
    done = Analysed(tmp_path, changed(4, PixelSpacing=[1.7, 1.7]), ("summary",))
    assert not done.rows()
    stranger, gap = sorted(done.reasons, key=len)
    assert stranger == "It has another kernel or pixel spacing than the other images of its series (image number 5)."
    assert "after slice 4 of 10 from the feet (image number 4) the next one (image number 6)" in gap


def test_a_broken_series_does_not_stand_before_a_sound_one(tmp_path: Path) -> None:
    """The longer series has a gap; the shorter one of the same study is analysed."""
    sound = Scanner("sound", (100, 100), (4.0, 4.0), places=PLACES[::2]).slices()
    broken = without(5)
    for ds in sound:
        ds.StudyInstanceUID = broken[0].StudyInstanceUID
    done = Analysed(tmp_path, [*broken, *sound], ("summary",))
    (reason,) = done.reasons
    assert reason.startswith("A slice is missing")
    assert {place.sop_uid for place in done.rows()} <= {str(ds.SOPInstanceUID) for ds in sound}


@pytest.mark.parametrize("x, y, slices", [(0.5, 0, 0), (0, -0.5, 0), (0, 0, 1)])
def test_a_lie_of_half_a_pixel_or_of_one_slice_is_seen(x: float, y: float, slices: int) -> None:
    """These tests can fail: what they compare with is nearer than the mistakes that are made most."""
    shown = images(SMALL.slices())

    def told(ball: Ball, half: float, step: int) -> Place:
        nearest = min(range(len(shown)), key=lambda n: abs(shown[n].pixels(np.array(ball.centre))[2]))
        at = shown[nearest].pixels(np.array(ball.centre))
        return Place(shown[nearest + step].sop_uid, 0, at[0] + half * x, at[1] + half * y)

    assert_at_balls([told(ball, 0, 0) for ball in BALLS], shown, BALLS)
    with pytest.raises(AssertionError):
        assert_at_balls([told(ball, 1, slices) for ball in BALLS], shown, BALLS)
