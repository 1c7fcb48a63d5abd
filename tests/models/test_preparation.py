"""Harmonised lungs: what a classifier sees depends on the lungs alone, and on the order of their grey values alone.

That this helps on other hospitals is measured by ``tests.bench.sources``, not here.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.api import ImageInput, LungField, ModelIdentity, RefusedInput
from models.images import geometry, intensity
from models.images.intensity import U8
from models.systems import preparation
from models.training import augment, harmonised
from models.training.cnncf import coloured
from models.training.losses import abnormal_first
from tests.models.made import two_lungs

SIDE = 48


def film(seed: int, side: int = 96) -> U8:
    return np.random.default_rng(seed).integers(20, 200, (side, side)).astype(np.uint8)


def roi_mask() -> NDArray[np.bool_]:
    mask = np.zeros((320, 320), bool)
    mask[60:250, 50:130] = mask[60:250, 190:270] = True
    return mask


def test_the_lung_region() -> None:  # N34
    wide = geometry.dilate(roi_mask())
    assert geometry.bounding_box(wide) == (54, 44, 256, 276)
    assert wide.sum() == 37_168
    assert geometry.lung_box(roi_mask()) == (54, 44, 256, 276)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.integers(0, 2**31))
def test_any_rising_change_of_the_grey_values_changes_nothing(seed: int, curve: int) -> None:
    """Window, exposure and gamma of a hospital are such changes (as long as no two grey values become one)."""
    before = film(seed)
    steps = np.random.default_rng(curve).permutation(np.arange(1, 256))[:180]
    table = np.zeros(256, np.uint8)
    table[20:200] = np.sort(steps)
    field = np.asarray(two_lungs(before.shape))
    assert np.array_equal(preparation.ranked(before, field)[field], preparation.ranked(table[before], field)[field])


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31))
def test_what_lies_outside_the_lungs_changes_nothing(seed: int) -> None:
    before = film(seed)
    lungs = np.asarray(two_lungs(before.shape))
    far = ~geometry.dilate(lungs, 4)  # resizing mixes neighbours, and the field is widened
    other = np.where(far, np.uint8(255), before)
    one, two = (preparation.harmonised(picture, lungs, SIDE) for picture in (before, other))
    assert np.array_equal(one.picture, two.picture) and one.box == two.box
    assert (one.picture[~one.field] == preparation.MIDDLE_GREY).all()


def test_ranks_rise_with_the_grey_values_and_fill_the_range() -> None:
    picture, mask = film(3), np.ones((96, 96), bool)
    ranks = preparation.ranked(picture, mask)
    order = np.argsort(picture.ravel(), kind="stable")
    assert (np.diff(ranks.ravel()[order].astype(int)) >= 0).all()
    assert ranks.min() == 0 and ranks.max() > 250
    again = preparation.ranked(ranks, mask)
    assert np.abs(again.astype(int) - ranks).max() <= 1  # idempotent but for rounding


def test_an_empty_field_is_an_error_and_a_refusal() -> None:
    empty = np.zeros((96, 96), bool)
    with pytest.raises(ValueError, match="empty"):
        preparation.harmonised(film(1), empty, SIDE)
    field = LungField(empty, (), ModelIdentity("x", "x", "1", ""))
    image = ImageInput(film(1).astype(np.float32), "1.2")
    for lungs in (None, field):
        with pytest.raises(RefusedInput, match="no lung field was found"):
            preparation.lungs_of(image, lungs, SIDE, "The system")


def test_lungs_without_a_picture_are_refused() -> None:
    """Saturated lungs, and fields too small or too thin to judge, must not become a finding."""
    lungs = np.asarray(two_lungs((96, 96)))
    model = ModelIdentity("x", "x", "1", "")
    flat = np.where(lungs, 0, film(1)).astype(np.float32)
    with pytest.raises(RefusedInput, match="one and the same grey value"):
        preparation.lungs_of(ImageInput(flat, "1"), LungField(lungs, (), model), SIDE, "The system")
    speck = np.zeros((96, 96), bool)
    speck[40, 40] = True
    with pytest.raises(RefusedInput, match="no lung field was found"):
        preparation.lungs_of(
            ImageInput(film(1).astype(np.float32), "1"), LungField(speck, (), model), SIDE, "The system"
        )


def test_channels_stay_middle_grey_outside() -> None:
    lungs = preparation.harmonised(film(2), np.asarray(two_lungs((96, 96))), SIDE)
    channels = preparation.cxnet_input(lungs)
    assert channels.shape == (SIDE, SIDE, 3)
    assert (channels[~lungs.field] == preparation.MIDDLE_GREY).all()
    assert np.array_equal(channels[..., 2], lungs.picture)


def batch(count: int = 10) -> torch.Tensor:
    random = torch.Generator().manual_seed(5)
    x = torch.rand((count, 1, SIDE, SIDE), generator=random)
    field = torch.zeros((count, 1, SIDE, SIDE))
    field[:, :, 10:40, 8:40] = 1
    return torch.cat((x, field), 1)


def test_augmented_lungs_stay_in_range_and_cut_off() -> None:
    x = harmonised.augmented(batch(), torch.Generator().manual_seed(1))
    again = harmonised.augmented(batch(), torch.Generator().manual_seed(1))
    assert torch.equal(x, again) and x.shape == (10, 1, SIDE, SIDE)
    assert x.min() >= 0 and x.max() <= 1
    assert ((x == harmonised.MIDDLE).float().mean((1, 2, 3)) > 0.2).all()
    plain = harmonised.plain(batch())
    assert torch.equal(plain[:, :, 10:40, 8:40], batch()[:, :1, 10:40, 8:40])
    assert (plain[:, :, :10] == harmonised.MIDDLE).all()


def test_colour_in_training_is_colour_at_inference() -> None:
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    field = torch.ones((1, 1, 16, 16))
    x = coloured(torch.cat((torch.from_numpy(grey)[None, None].float() / 255, field), 1))
    wanted = intensity.jet(grey).transpose(2, 0, 1) / 255
    assert np.abs(x[0].numpy() - wanted).max() <= 0.5 / 255 + 1e-6


@pytest.mark.parametrize("change", [augment.tone, augment.noise])
def test_tone_and_noise_stay_in_range(change: object) -> None:
    assert callable(change)
    x = batch()[:, :1]
    y = change(x, torch.Generator().manual_seed(2))
    assert y.shape == x.shape and y.min() >= 0 and y.max() <= 1 and not torch.equal(x, y)


def test_tone_keeps_the_order_of_grey_values() -> None:
    x = torch.linspace(0, 1, 64).reshape(1, 1, 8, 8)
    y = augment.tone(x, torch.Generator().manual_seed(3)).flatten()
    assert (y.diff() >= 0).all()


def test_the_loss_asks_first_whether_a_film_is_normal() -> None:
    target = torch.tensor([2])
    right = abnormal_first(torch.tensor([[-4.0, -4.0, 4.0]]), target)
    other_disease = abnormal_first(torch.tensor([[-4.0, 4.0, -4.0]]), target)
    normal = abnormal_first(torch.tensor([[4.0, -4.0, -4.0]]), target)
    assert right < other_disease < normal
    assert normal - other_disease > other_disease - right
