"""What the pages lay over an image, and an image as values for a canvas: against the arrays that they were made of.

Records are drawn (tests/viewers/phantoms). Not covered: what a browser makes of it (``test_person``), colour images.
"""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some
from PIL import Image

from node.db import layers as rows
from node.db.layers import Layer
from node.db.session import Database
from node.pipeline import canvas, layers
from tests.bench import ledger
from tests.films import Film, drawn, wrap
from tests.viewers.phantoms import FILM_FOCI, KEY, ct_study, film_study


def decoded(layer: Layer) -> np.ndarray:
    with Image.open(io.BytesIO(layer.content)) as picture:
        return np.asarray(picture, float) / 255


def test_layers_of_a_film_are_its_heat_contours_and_outlines() -> None:
    _, record = film_study()
    found = {(one.system, one.kind): one for one in layers.of(record)}
    assert set(found) == {("unet-lung", "contours"), ("cxnet", "heat"), ("cxnet", "outlines")}
    heat = decoded(found["cxnet", "heat"])
    whole = record.images[0].predictions[0].heat
    assert whole is not None and max(heat.shape) == layers.HEAT_SIDE
    assert heat.shape[0] / heat.shape[1] == pytest.approx(whole.shape[0] / whole.shape[1], rel=0.01)
    for x, y, _ in FILM_FOCI:  # the middle of each bell
        at = int(y * heat.shape[0] / whole.shape[0]), int(x * heat.shape[1] / whole.shape[1])
        assert heat[at] == pytest.approx(whole[int(y), int(x)], abs=0.02)
    outlines = json.loads(found["cxnet", "outlines"].content)
    lesions = record.images[0].predictions[0].lesions
    assert {int(number): len(points) for number, points in outlines.items()} == {
        lesion.number: len(lesion.outline_px) for lesion in lesions
    }
    assert np.allclose(outlines["1"], lesions[0].outline_px, atol=0.051)


def test_layers_of_a_series_stand_under_their_slices_and_are_the_same_again() -> None:
    _, record = ct_study()
    found = list(layers.of(record))
    assert {one.sop_instance_uid for one in found} == {record.series[0].volume.slice_uids[KEY]}
    assert {one.kind for one in found} == {"heat", "outlines"}
    assert found == list(layers.of(record))


def test_layers_are_kept_with_their_analysis(any_database: Database) -> None:
    ledger.fill(any_database, 2 * ledger.EACH)
    mine = [
        Layer("1.2.3", 0, "a", "heat", b"\x00\xff"),
        Layer("1.2.3", 2, "a", "heat", b"2"),
        Layer("1.2", 0, "b", "contours", b"[]"),
    ]
    with any_database.write() as session:
        rows.add(session, 1, mine)
        rows.add(session, 2, [])
    with any_database.read() as session:
        assert rows.contents(session, 1, "1.2.3", 1) == mine[:1]
        assert rows.contents(session, 1, "1.2.3", 2) == mine[1:2]
        assert rows.contents(session, 2, "1.2.3", 1) == []
        assert [(one.sop_instance_uid, one.frame) for one in rows.of_analysis(session, 1)] == [
            (one.sop_instance_uid, one.frame) for one in mine
        ]


@given(slope=some.sampled_from([1.0, 2.0, 0.5, -1.0]), intercept=some.sampled_from([0.0, -1024.0, 0.25]))
def test_values_of_a_canvas_are_those_after_the_modality_lut(
    tmp_path_factory: pytest.TempPathFactory, slope: float, intercept: float
) -> None:
    picture = drawn(3, 96)
    ds = wrap(Film(picture, "canvas"))
    ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType = slope, intercept, "US"
    path = tmp_path_factory.mktemp("canvas") / "film.dcm"
    ds.save_as(path, enforce_file_format=True)
    made = canvas.values(path, 0)
    coded = np.frombuffer(made.content, "<u2").reshape(made.height, made.width)
    stored = np.frombuffer(ds.PixelData, "<u2")[: picture.size].reshape(picture.shape)
    assert np.allclose(made.slope * coded + made.intercept, stored * slope + intercept, atol=made.slope / 2)
    assert (made.width, made.height, made.across, made.down) == (96, 96, 1.0, 1.0)


def test_a_large_film_with_narrow_pixels_and_padding(tmp_path: Path) -> None:
    ds = wrap(Film(drawn(4, 2000), "large"))
    ds.PixelAspectRatio = [2, 1]  # twice as high as wide
    for keyword in ("PixelSpacing", "ImagerPixelSpacing"):
        ds.pop(keyword, None)
    values = np.frombuffer(ds.PixelData, "<u2").reshape(2000, 2000).copy()
    values[:, :200] = 4095
    ds.PixelData, ds.PixelPaddingValue = values.tobytes(), 4095
    path = tmp_path / "film.dcm"
    ds.save_as(path, enforce_file_format=True)
    made = canvas.values(path, 0)
    assert (made.width, made.height) == (canvas.LONGEST_SIDE // 2, canvas.LONGEST_SIDE)
    assert (made.across, made.down) == (0.4, 0.8)
    coded = np.frombuffer(made.content, "<u2").reshape(made.height, made.width)
    assert (coded[:, :79] == canvas.PADDING).all() and not (coded[:, 81:] == canvas.PADDING).any()
