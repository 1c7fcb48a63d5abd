"""From the outline of a focus to its pixels: nothing shifted or lost at the border, the centre where the report has it.

Not covered: outlines that cross themselves, which the convex hulls of the systems never do.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from numpy.typing import NDArray

from models.api import Lesion
from models.explain.lesions import find_lesions
from node.results.segments import filled
from tests.results.records import prediction


def bell(shape: tuple[int, int], x: float, y: float, radius: float) -> NDArray[np.float32]:
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    return np.exp2(-((rows - y) ** 2 + (columns - x) ** 2) / radius**2).astype(np.float32)


@pytest.mark.parametrize("shape, x, y", [((512, 512), 141.0, 300.5), ((640, 520), 400.25, 77.0), ((90, 130), 60, 41)])
def test_the_centre_of_mass_is_the_centre_of_the_report(shape: tuple[int, int], x: float, y: float) -> None:
    """A convex focus, from the heat to its pixels, told in the pixels that the report counts in."""
    (lesion_,) = find_lesions(bell(shape, x, y, min(shape) / 8), None)
    frame = filled(lesion_, shape)
    row, column = np.argwhere(frame).mean(axis=0)
    assert np.hypot(column - lesion_.centre_px[0], row - lesion_.centre_px[1]) < 1
    assert frame.sum() == pytest.approx(lesion_.area_px, rel=0.2)


def lesion(*corners: tuple[float, float]) -> Lesion:
    return dataclasses.replace(prediction().lesions[0], outline_px=(*corners, corners[0]), centre_px=corners[0])


def test_the_outline_goes_through_pixel_centres_and_they_count() -> None:
    square = filled(lesion((2, 3), (5, 3), (5, 7), (2, 7)), (10, 12))
    expected = np.zeros((10, 12), bool)
    expected[3:8, 2:6] = True
    assert np.array_equal(square, expected)
    triangle = filled(lesion((0, 0), (8, 0), (0, 8)), (10, 12))
    assert np.array_equal(triangle, np.add.outer(np.arange(10), np.arange(12)) <= 8)


@pytest.mark.parametrize("turn", range(4))
def test_a_focus_is_filled_alike_in_every_turn(turn: int) -> None:
    corners = [(2.3, 3.1), (14.7, 5.2), (17.4, 16.6), (4.2, 12.9)]
    side = 21
    turned = corners
    for _ in range(turn):
        turned = [(y, side - 1 - x) for x, y in turned]  # as np.rot90
    expected = np.rot90(filled(lesion(*corners), (side, side)), turn)
    assert np.array_equal(filled(lesion(*turned), (side, side)), expected)


def test_a_focus_between_pixels_is_one_pixel_and_one_beyond_the_image_ends_there() -> None:
    small = filled(lesion((4.2, 4.2), (4.4, 4.2), (4.4, 4.4)), (10, 10))
    assert np.argwhere(small).tolist() == [[4, 4]]
    beyond = filled(lesion((-5, -5), (30, -5), (30, 30), (-5, 30)), (10, 12))
    assert beyond.all()
