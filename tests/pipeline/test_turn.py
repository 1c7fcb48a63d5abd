"""Turning a volume for the systems and what they find back: each of the eight turns is undone.

That places survive on their way into every result is in tests/geometry.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from models.api import Lesion, Prediction, SliceFinding, VolumeInput
from node.pipeline.turn import Turn, turn_of
from tests.pipeline.fakes import Fake

EIGHT = [Turn(*flags) for flags in itertools.product((False, True), repeat=3)]
STORED = np.random.default_rng(666).normal(size=(3, 5, 8)).astype(np.float32)
CORNER, ALONG = (6.0, 1.0), (2.0, 3.0)  # x, y in the stored image: a line of 153 degrees, which is -26.6


def seen(turn: Turn) -> tuple[VolumeInput, dict[tuple[float, float], tuple[float, float]]]:
    """(what systems are given, stored -> given pixel) by looking each value up."""
    given = turn.volume(VolumeInput(STORED, ("a", "b", "c"), "series", (4.0, 1.0, 2.0)))
    moved = {}
    for y, x in np.ndindex(STORED.shape[1:]):
        ((row, column),) = np.argwhere(given.voxels[0] == STORED[0, y, x])
        moved[float(x), float(y)] = (float(column), float(row))
    return given, moved


@pytest.mark.parametrize("turn", EIGHT)
def test_what_is_found_in_the_given_volume_is_told_of_the_stored_one(turn: Turn) -> None:
    given, moved = seen(turn)
    assert given.voxels.flags.c_contiguous
    assert given.spacing_mm == ((4.0, 2.0, 1.0) if turn.exchanged else (4.0, 1.0, 2.0))
    (x0, y0), (x1, y1) = moved[CORNER], moved[ALONG]
    rows, columns = given.voxels.shape[1:]
    lesion = Lesion(
        1, (x0, y0), (x0 / (columns - 1), y0 / (rows - 1)), 4.0, 4, (3.0, 1.0),
        math.degrees(math.atan((y1 - y0) / (x1 - x0))), 1.0, True, 1.0, ((x0, y0), (x1, y1), (x0, y0)),
    )  # fmt: skip
    found = SliceFinding(1, "b", (0.0, 1.0), given.voxels[1], (lesion,), key=True)
    fake = Fake("one", "ct")
    said = Prediction(fake.card.identity, fake._scores(), "covid19", "made up", slices=(found,))
    (back,) = turn.back(said, (5, 8)).slices
    np.testing.assert_array_equal(back.heat, STORED[1])
    (told,) = back.lesions
    assert told.centre_px == CORNER and told.outline_px == (CORNER, ALONG, CORNER)
    assert told.centre_unit == pytest.approx((6 / 7, 1 / 4))
    assert told.angle_deg == pytest.approx(math.degrees(math.atan(2 / -4)))


def test_nothing_is_copied_where_nothing_is_turned() -> None:
    volume = VolumeInput(STORED, ("a", "b", "c"), "series")
    assert Turn().volume(volume) is volume


@pytest.mark.parametrize("turn", EIGHT)
def test_the_turn_is_read_from_the_orientation(turn: Turn) -> None:
    """Rows of the given volume run to the back (+y), columns to the left (+x), whatever was stored."""
    left, back = np.array([1.0, 0, 0]), np.array([0.0, 1, 0])
    along_columns, along_rows = (-left if turn.columns else left), (-back if turn.rows else back)
    if turn.exchanged:
        along_columns, along_rows = along_rows, along_columns
    assert turn_of(np.concatenate([along_columns, along_rows])) == turn
