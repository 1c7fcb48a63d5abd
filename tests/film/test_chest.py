"""The look at the pixels: how often it is right on real films, and that it refuses what is nothing like a chest."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.api import ImageInput
from node.pipeline.chest import contrast, inverted, looks_negative, smoothness
from tests.film.rates import left_out, rates
from tests.films import drawn


def test_rates_on_real_films(data_folder: Path) -> None:
    """The whole test split (``python -m tests.film.rates``) gave 0.988, 0.123, 0.002, 0.945; here one film in four."""
    found = rates(data_folder, every=4)
    assert found["frontal films taken"] > 0.95
    assert found["films turned by 90 degrees taken"] < 0.25
    assert found["frontal films called negative"] < 0.02
    assert found["negatives called negative"] > 0.88


def test_no_rule_for_pixels_leaves_out_a_film_whose_header_is_sound(data_folder: Path) -> None:
    """None of the 2142 films (``python -m tests.film.rates``); here one in five of the test split."""
    assert left_out(data_folder, "test", every=5) == {}


def test_a_drawn_chest_is_taken_and_its_negative_found() -> None:
    image = ImageInput(drawn(1, 256).astype(np.float32), "1.2")
    assert contrast(image) > 0.03 and not looks_negative(image)
    assert looks_negative(inverted(image))
    assert np.allclose(inverted(inverted(image)).pixels, image.pixels)


@pytest.mark.parametrize("kind", ["noise", "ramp", "disk"])
def test_other_pictures_are_refused(kind: str) -> None:
    y, x = np.mgrid[-1:1:256j, -1:1:256j]
    pictures = {
        "noise": np.random.default_rng(0).random((256, 256)),
        "ramp": x,
        "disk": -(x**2 + y**2),
    }
    image = ImageInput(pictures[kind].astype(np.float32), "1.2")
    assert (smoothness(image) < 0.6) == (kind == "noise")
    assert kind != "ramp" or contrast(image) < 0.03  # a symmetric object with a bright middle passes: chest.py says so


def test_padding_keeps_the_minimum_when_inverted() -> None:
    pixels = drawn(1, 128).astype(np.float32)
    padding = np.zeros(pixels.shape, bool)
    padding[:, :9] = True
    pixels[padding] = pixels[~padding].min()
    turned = inverted(ImageInput(pixels, "1.2", None, padding))
    assert (turned.pixels[padding] == turned.pixels[~padding].min()).all()
