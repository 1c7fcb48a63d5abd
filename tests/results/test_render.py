"""Heat maps as a radiologist sees them: words that are legible and inside, a scale that is true, nothing hidden.

Small and large matrices, pixels that are not square, MONOCHROME1. Pictures are drawn by code, and every kind was looked
at by eye too. Not covered: whether the heat is right.
"""

from __future__ import annotations

import dataclasses
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread

from models.api import FloatImage, ImageInput, Lesion, Prediction
from node.pipeline.film import load_film
from node.results import lettering, render, sc
from tests.films import Film, drawn, wrap
from tests.results.drawn_text import inside, overlapping, watched
from tests.results.records import header, outcome, prediction, record
from tests.results.series import ct_record, of_series, slice_headers

SHAPES = [(96, 96), (128, 128), (256, 256), (512, 512), (400, 900), (900, 300), (2500, 2048)]
ON_SCREEN = 1080  # pixels that a picture is shown high or wide


def heated(shape: tuple[int, int], centre: tuple[float, float] | None = None) -> Prediction:
    """Heat that grows to the right, and one focus."""
    made = prediction()
    heat = np.tile(np.linspace(0, 1, shape[1], dtype=np.float32), (shape[0], 1))
    place = centre or (shape[1] / 2, shape[0] / 2)
    lesion: Lesion = dataclasses.replace(made.lesions[0], centre_px=place)
    return dataclasses.replace(made, heat=heat, lesions=(lesion,))


def flat(shape: tuple[int, int], grey: float) -> ImageInput:
    """A film of one grey, but for its black and white corners at the bottom right."""
    pixels: FloatImage = np.full(shape, grey, np.float32)
    pixels[-1, -1], pixels[-1, -2] = 0, 255
    return ImageInput(pixels, "1")


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("decided", [0.75, 0.2])
def test_words_lie_inside_and_not_over_each_other(shape: tuple[int, int], decided: float) -> None:
    answer = dataclasses.replace(heated(shape), scores=prediction(probability=decided).scores)
    answer = dataclasses.replace(answer, decided_class=prediction(probability=decided).decided_class, lesions=())
    with watched() as found:
        render.heat_map(flat(shape, 100), None, answer)
    corners = [one for one in found if one.text not in ("0", "1", "heat")]  # those stand at the scale
    assert all(inside(one) for one in corners)
    assert overlapping(corners) == []
    words = " ".join(one.text for one in found)
    assert answer.decided_class in words and "Research use only, not for diagnosis" in words


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if min(shape) >= 256], ids=str)
def test_words_are_legible_where_the_picture_fits_the_screen(shape: tuple[int, int]) -> None:
    with watched() as found:
        render.heat_map(flat(shape, 100), None, heated(shape))
    assert min(one.size for one in found) * ON_SCREEN / max(shape) >= 11
    assert len(found) >= 6, "model, class, limits, focus and the scale"


def test_the_scale_has_the_colours_of_the_heat_as_it_lies_over_lung() -> None:
    shape = (512, 512)
    picture = render.heat_map(flat(shape, render.UNDER_SCALE), None, dataclasses.replace(heated(shape), lesions=()))
    left, top = 512 - 20, (512 - 153) // 2
    bar = picture[top + 1 : top + 152, left + 4].astype(int)
    row = picture[400].astype(int)  # no words there
    for share in (0.1, 0.25, 0.5, 0.75, 0.9):
        there = bar[round((1 - share) * (len(bar) - 1))]
        assert np.abs(there - row[round(share * 511)]).max() <= 6, share


def test_what_lies_under_the_words_can_still_be_seen() -> None:
    """A white side marker on black, where the words are: a third of its contrast is left, and more than 80 greys."""
    pixels = np.zeros((512, 512), np.float32)
    pixels[6:60, 30:50] = 255
    picture = render.heat_map(
        ImageInput(pixels, "1"), None, dataclasses.replace(heated((512, 512)), heat=None, lesions=())
    )
    marker, beside = picture[8:56, 30:50], picture[8:56, 300:330]
    assert np.median(marker) - np.median(beside) > 80


@pytest.mark.parametrize("x", [1, 300, 510])
@pytest.mark.parametrize("y", [1, 300, 510])
def test_the_number_of_a_focus_lies_inside_and_the_cross_at_its_centre(x: float, y: float) -> None:
    answer = heated((512, 512), (x, y))
    with watched() as found:
        render.film(flat((512, 512), 100), None, answer)
    (number,) = found
    assert number.text == "1" and inside(number)
    assert abs(number.box[0] - x) < 30 and abs(number.box[1] - y) < 30


def test_the_cross_stands_open_around_its_centre() -> None:
    answer = dataclasses.replace(heated((512, 512), (200, 300)), heat=None)
    picture = np.asarray(render.film(flat((512, 512), 0), None, answer))
    white = np.argwhere((picture == 255).all(axis=2) & (np.indices((512, 512)).sum(0) < 1000))
    near = white[(np.abs(white - (300, 200)) <= 9).all(axis=1)]
    cross = near[(near[:, 0] == 300) | (near[:, 1] == 200)]
    assert cross.mean(axis=0) == pytest.approx((300, 200)) and len(cross) >= 24
    assert not (picture[298:303, 198:203] == 255).any()


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_air_is_dark_whatever_the_photometric_interpretation(photometric: str, tmp_path: Path) -> None:
    paths = []
    for kind in ("MONOCHROME2", photometric):
        paths.append(tmp_path / f"{kind}.dcm")
        wrap(Film(drawn(1, 256), "grey", photometric=kind)).save_as(paths[-1], enforce_file_format=True)
    one, two = (render.grey(load_film(path)[1]) for path in paths)
    assert np.abs(one.astype(int) - two.astype(int)).max() <= 1
    lung, heart = one[120, 75], one[170, 145]
    assert lung < heart


@pytest.mark.parametrize("spacing, ratio", [([0.4, 0.2], [2, 1]), ([0.2, 0.2], None), ([0.15, 0.2], [3, 4])], ids=str)
def test_pixels_keep_their_shape_and_the_picture_its_matrix(spacing: list[float], ratio: list[int] | None) -> None:
    source = header(ImagerPixelSpacing=spacing)
    (film,) = sc.heat_maps(record(source, images=(outcome(source),)))
    ct = next(iter(sc.heat_maps(ct_record(slice_headers(PixelSpacing=spacing)))))
    for found in (dcmread(BytesIO(item.content)) for item in (film, ct)):
        assert (found.get("PixelAspectRatio") or None) == ratio
        assert (found.Rows, found.Columns) == (96, 96)


def test_a_slice_of_a_stack_says_what_its_own_probability_is() -> None:
    headers = slice_headers()
    answer = of_series(headers, "bit-ct")
    voxels = np.full((512, 512), -800, np.float32)
    said = []
    for found in answer.slices[1:3]:
        heat = None if found.heat is None else np.zeros((512, 512), np.float32)
        with watched() as strings:
            render.stack_slice(voxels, dataclasses.replace(found, heat=heat, lesions=()), 5, answer)
        said.append(" ".join(one.text for one in strings))
    assert "covid19 p = 0.15 in this slice" in said[0] and "covid19 p = 0.30 in this slice" in said[1]
    assert all("series: covid19 p = 0.75" in line for line in said)
    assert "slice 2 of 5, from the feet no heat was made for this slice" in said[0]
    assert "slice 3 of 5, from the feet, key slice" in said[1] and "no heat" not in said[1]


@pytest.mark.parametrize(
    "text, wanted",
    [
        ("p ≥ 0.5, 3 µg/L × 10³", "p >= 0.5, 3 ug/L x 103"),
        ("Müller – Łódź, café", "Muller - Lodz, cafe"),
        ("王小東", "???"),
        ("two\nlines\tof  it", "two lines of it"),
        ("°·…±“”", "°·…±“”"),
    ],
)
def test_words_are_spelt_in_letters_of_the_font(text: str, wanted: str) -> None:
    assert lettering.drawable(text) == wanted


def test_long_words_are_broken_and_short_ones_are_not() -> None:
    lines = lettering.wrapped("a fairly long sentence about " + "W" * 80, 20, 200)
    assert all(lettering.length(line, 20) <= 200 for line in lines)
    assert "".join(lines).replace(" ", "") == "afairlylongsentenceabout" + "W" * 80
    assert lines[0] == "a fairly long sentence"
