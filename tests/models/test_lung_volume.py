"""The lungs of a CT by density: told from windpipe, bowel gas and air outside, right from left, whatever the matrix.

A chest drawn in Hounsfield units, where the truth is known, and the slices of one real COVID-19 CT. Not covered: how
far the borders are from those a reader would draw; there are no CTs with such borders here.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from models.api import FloatImage, LungPart, Mask, RefusedInput, VolumeInput
from models.images.lung_volume import NONE_FOUND, lung_parts
from models.registry import Registry

SIDE, SLICES, SPACING = 128, 40, (5.0, 2.5, 2.5)
RIGHT, LEFT = (64, 36), (64, 92)  # centres (row, column) of the lungs
Truth = dict[str, Mask]


def ball(centre: tuple[float, float, float], radii: tuple[float, float, float]) -> Mask:
    """(slice, row, column): an ellipsoid; places and radii in voxels."""
    axes = np.ogrid[:SLICES, :SIDE, :SIDE]
    shares = [((axis - at) / radius) ** 2 for axis, at, radius in zip(axes, centre, radii, strict=True)]
    return np.asarray(shares[0] + shares[1] + shares[2] <= 1)


def chest() -> tuple[FloatImage, Truth]:
    """An oval body with two lungs, a windpipe from the head down to between them, and gas in the bowel."""
    rows, columns = np.ogrid[:SIDE, :SIDE]
    body = np.broadcast_to(((rows - 64) / 42) ** 2 + ((columns - 64) / 58) ** 2 <= 1, (SLICES, SIDE, SIDE))
    right, left = (ball((20, *centre), (17, 26, 20)) for centre in (RIGHT, LEFT))
    pipe = np.broadcast_to((rows - 60) ** 2 + (columns - 64) ** 2 <= 9, body.shape).copy()
    pipe[:22] = False
    gas = ball((2, 50, 90), (4, 12, 14)) & ~ndimage.binary_dilation(left, iterations=2)  # a diaphragm between
    truth = {"right": right, "left": left, "pipe": pipe, "gas": gas, "body": body}
    voxels = np.full(body.shape, -1000, np.float32)
    for name, density in (("body", 40), ("gas", -1000), ("right", -850), ("left", -850), ("pipe", -1000)):
        voxels[truth[name]] = density
    return voxels, truth


def dice(one: Mask, other: Mask) -> float:
    return 2 * float((one & other).sum()) / float(one.sum() + other.sum())


def test_right_and_left_are_found_and_neither_windpipe_nor_bowel_gas() -> None:
    voxels, truth = chest()
    parts = lung_parts(voxels, SPACING)
    assert set(np.unique(parts)) == {0, LungPart.RIGHT, LungPart.LEFT}
    assert dice(parts == LungPart.RIGHT, truth["right"]) > 0.98 and dice(parts == LungPart.LEFT, truth["left"]) > 0.98
    assert not (parts > 0)[truth["pipe"]].any() and not (parts > 0)[truth["gas"]].any()
    assert not (parts > 0)[~truth["body"]].any()


def test_a_mirrored_chest_has_its_sides_where_they_lie() -> None:
    """The side is that of the picture, which runs to the patient's left; no organ decides it."""
    voxels, _ = chest()
    mirrored = lung_parts(np.ascontiguousarray(voxels[:, :, ::-1]), SPACING)[:, :, ::-1]
    assert dice(mirrored == LungPart.LEFT, lung_parts(voxels, SPACING) == LungPart.RIGHT) > 0.98


@pytest.mark.parametrize("in_two", [False, True])
def test_lungs_that_touch_are_told_apart(in_two: bool) -> None:
    """Also where a fissure leaves a lung in two pieces, of which one touches the other lung."""
    voxels, truth = chest()
    voxels[15:25, 50:54, 50:80] = -850  # in front of the heart
    if in_two:
        fissure = truth["right"].copy()
        fissure[:25], fissure[27:], fissure[:, 62:65, 34:38] = False, False, False
        voxels[fissure] = 30
    parts = lung_parts(voxels, SPACING)
    assert dice(parts == LungPart.RIGHT, truth["right"]) > 0.95 and dice(parts == LungPart.LEFT, truth["left"]) > 0.95


def test_one_lung_alone_has_no_side() -> None:
    """Its place does not tell it: the other lung may be white and the one may reach over the middle."""
    voxels, truth = chest()
    voxels[truth["left"]] = 40
    parts = lung_parts(voxels, SPACING)
    assert set(np.unique(parts)) == {0, LungPart.EITHER} and dice(parts > 0, truth["right"]) > 0.98


def test_vessels_and_small_nodules_are_filled_and_the_mediastinum_is_not() -> None:
    voxels, _ = chest()
    nodule = ball((20, 64, 36), (1.5, 2, 2))
    voxels[nodule] = 30
    mask = lung_parts(voxels, SPACING) > 0
    assert mask[nodule].all() and not mask[20, 64, 64]


@pytest.mark.parametrize("factor", [2, 4])
def test_a_larger_matrix_gives_the_same_lungs(factor: int) -> None:
    """Above 256 pixels a side the work is done on every n-th of them."""
    voxels, _ = chest()
    fine = np.repeat(np.repeat(voxels, factor, 1), factor, 2)
    spacing = (SPACING[0], SPACING[1] / factor, SPACING[2] / factor)
    small = np.repeat(np.repeat(lung_parts(voxels, SPACING), factor, 1), factor, 2)
    large = lung_parts(fine, spacing)
    assert large.shape == fine.shape and large.dtype == np.uint8
    assert all(dice(large == side, small == side) > 0.97 for side in (LungPart.RIGHT, LungPart.LEFT))


def test_noise_and_a_missing_spacing_change_little() -> None:
    voxels, truth = chest()
    noisy = voxels + np.random.default_rng(5).normal(0, 80, voxels.shape).astype(np.float32)
    assert dice(lung_parts(noisy, None) > 0, truth["right"] | truth["left"]) > 0.95


@pytest.mark.parametrize("density", [40, -1000])
def test_without_lung_there_is_a_sentence(density: float) -> None:
    with pytest.raises(RefusedInput, match=NONE_FOUND):
        lung_parts(np.full((5, 64, 64), density, np.float32), SPACING)


def test_a_throat_is_no_lung() -> None:
    voxels, truth = chest()
    voxels[truth["right"] | truth["left"]] = 40
    with pytest.raises(RefusedInput, match=NONE_FOUND):
        lung_parts(np.ascontiguousarray(voxels[22:]), SPACING)


def test_the_input_is_left_as_it_is() -> None:
    voxels, _ = chest()
    before = voxels.copy()
    lung_parts(voxels, SPACING)
    assert np.array_equal(voxels, before)


def test_the_registry_gives_it_without_a_card(tmp_path: Path) -> None:
    voxels, _ = chest()
    field = (
        Registry(tmp_path)
        .volume_segmenter()
        .segment(VolumeInput(voxels, tuple(map(str, range(SLICES))), "series", SPACING))
    )
    assert field.model.system == "ct-lungs" and field.model.weights_sha256 == ""
    assert np.array_equal(field.mask, field.parts > 0) and field.mask.any()


def real(folder: Path) -> NDArray[np.float32]:
    """From the feet; the names count from the head."""
    files = sorted((folder / "ct_volume_covid").glob("*.jpg"), reverse=True)
    grey = np.stack([np.asarray(Image.open(file).convert("L"), dtype=np.float32) for file in files])
    return grey / 255 * 1500 - 1350


def test_a_real_chest(data_folder: Path) -> None:
    """Volumes as an adult has them, the right lung larger; windpipe, stomach gas and the air outside left out."""
    voxels = real(data_folder)
    parts = lung_parts(voxels, (6.0, 0.7, 0.7))
    litres = {side: float((parts == side).sum()) * 6.0 * 0.49 / 1e6 for side in LungPart}
    assert 1.4 < litres[LungPart.LEFT] < litres[LungPart.RIGHT] < 2.2 and litres[LungPart.EITHER] == 0
    windpipe, stomach = parts[38, 255:265, 255:265], parts[2, 158:170, 290:306]
    assert not windpipe.any() and not stomach.any()
    assert (voxels[2, 158:170, 290:306] < -600).any() and (voxels[38, 255:265, 255:265] < -900).any()
    assert not parts[:, :40].any() and not parts[:, -40:].any()
    assert (parts[25, 250, 120], parts[25, 250, 400]) == (LungPart.RIGHT, LungPart.LEFT)
