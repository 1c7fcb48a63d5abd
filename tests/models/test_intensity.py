"""Intensity operations against the specification's numeric facts (N1, N2, N4 to N9) and as properties.

Does not compare with OpenCV itself, which the project does not use; the facts come from it.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from models.images import intensity

Y, X = np.mgrid[0:8, 0:8]
T1 = (np.floor((8 * Y + X) ** 2 * 200 / 3969) + 20).astype(np.uint8)
V, U = np.mgrid[0:320, 0:320]
DISC = (U - 160) ** 2 + (V - 160) ** 2 < 6400
C = np.round(96 + 60 * np.sin(2 * np.pi * U / 64) * np.cos(2 * np.pi * V / 80) + 40 * DISC).astype(np.uint8)
RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)
SMALL = arrays(np.uint8, st.tuples(st.integers(8, 24), st.integers(8, 24)))


def test_the_test_images_are_those_of_the_specification() -> None:
    assert T1.mean() == 86.75
    assert abs(int(C.astype(int).sum()) - 10_633_160) <= 50 and (C.min(), C.max()) == (36, 196)


def test_window_600_2000() -> None:  # N1
    hounsfield = np.array([-3000, -1600, -1350, -1100, -1000, -600, -100, 0, 40, 150, 400, 1000])
    wanted = [0, 0, 31.875, 63.75, 76.5, 127.5, 191.25, 204, 209.1, 223.125, 255, 255]
    np.testing.assert_allclose(intensity.window(hounsfield, -600, 2000), wanted)


def test_window_600_1500_truncated() -> None:  # N2
    hounsfield = np.array([-1350, -1100, -1000, -600, -100, 0, 40, 150])
    wanted = [0, 42, 59, 127, 212, 229, 236, 255]
    assert intensity.window(hounsfield, -600, 1500).astype(np.uint8).tolist() == wanted


def test_histogram_equalisation_and_gamma() -> None:  # N4, N5
    equal = intensity.equalise_histogram(T1)
    np.testing.assert_allclose(equal[0], [0, 0, 0, 0, 0, 8.6441, 8.6441, 12.9661], atol=1e-4)
    np.testing.assert_allclose([equal.mean(), intensity.gamma(equal).mean()], [119.59878, 158.82078], atol=1e-4)
    twelve = intensity.equalise_histogram(np.array([[0, 1000], [2000, 4095]], np.uint16))
    np.testing.assert_allclose(twelve, [[0, 85], [170, 255]])
    np.testing.assert_allclose(intensity.gamma(twelve), [[0, 147.2243], [208.2066, 255]], atol=1e-4)
    equal_c = intensity.equalise_histogram(C)
    np.testing.assert_allclose([equal_c.mean(), equal_c[160, 160]], [128.44335, 207.81237], atol=2e-3)
    np.testing.assert_allclose(
        intensity.gamma(np.array([0, 1, 64, 127.5, 255])), [0, 15.96872, 127.74976, 180.31223, 255], atol=1e-5
    )


def test_beasf_clean() -> None:  # N6, N7
    out = intensity.beasf(T1)
    assert out[0].tolist() == [14, 14, 14, 14, 14, 16, 16, 17]
    assert out[3].tolist() == [65, 68, 71, 74, 76, 79, 80, 82]
    assert out[7].tolist() == [222, 228, 234, 238, 242, 245, 248, 250]
    ramp = intensity.beasf(RAMP).ravel()
    places = [32, 64, 96, 127, 128, 160, 192, 224]
    assert ramp[places].tolist() == [15, 64, 113, 127, 128, 143, 193, 241]
    assert int(ramp.astype(int).sum()) == 32_638
    on_c = intensity.beasf(C)
    assert (int(on_c.astype(int).sum()), on_c[160, 160], on_c[0, 16]) == (10_998_535, 173, 213)


def test_beasf_released() -> None:  # N6, N7
    out = intensity.beasf(T1, mode="released")
    assert out[0].tolist() == [36, 36, 36, 36, 36, 37, 37, 40]
    assert out[7].tolist() == [202, 210, 219, 226, 232, 238, 242, 245]
    assert int(intensity.beasf(RAMP, mode="released").astype(int).sum()) == 32_458
    on_c = intensity.beasf(C, mode="released")
    assert (int(on_c.astype(int).sum()), on_c[160, 160], on_c[0, 16]) == (10_622_095, 146, 186)


def test_clahe() -> None:  # N8
    out = intensity.clahe(C)
    places = [(0, 0), (0, 16), (40, 40), (100, 200), (160, 160), (200, 48), (319, 319)]
    assert [int(out[place]) for place in places] == [123, 235, 208, 166, 138, 236, 111]
    assert abs(int(out.astype(int).sum()) - 12_931_885) < 0.01 * out.size
    assert (out.min(), out.max()) == (8, 249)
    ramp = intensity.clahe(RAMP)
    assert ramp[0, :6].tolist() == [64, 128, 96, 128, 96, 128] and ramp[1, :4].tolist() == [191, 255, 223, 255]
    assert set(np.unique(intensity.clahe(np.full((64, 64), 100, np.uint8)))) == {108}


def test_jet() -> None:  # N9
    levels = np.array([[0, 32, 64, 96, 128, 160, 192, 224, 255]], np.uint8)
    wanted = [(0, 0, 128), (0, 0, 255), (0, 128, 255), (1, 255, 254), (130, 255, 126), (255, 252, 0), (255, 125, 0),
              (252, 0, 0), (128, 0, 0)]  # fmt: skip
    assert np.abs(intensity.jet(levels)[0].astype(int) - np.array(wanted)).max() <= 1


@settings(max_examples=50, deadline=None)
@given(SMALL)
def test_beasf_keeps_order_and_the_side_of_the_mean(image: np.ndarray) -> None:
    out, mean = intensity.beasf(image).astype(int), int(np.floor(image.mean()))
    order = np.argsort(image.ravel(), kind="stable")
    assert (np.diff(out.ravel()[order]) >= 0).all()
    assert ((image <= mean) == (out <= mean)).all()


@settings(max_examples=50, deadline=None)
@given(SMALL)
def test_range_and_shape_survive(image: np.ndarray) -> None:
    for operation in (intensity.to_u8, intensity.clahe, intensity.beasf):
        assert operation(image).shape == image.shape
    assert np.array_equal(intensity.to_u8(intensity.to_u8(image)), intensity.to_u8(image))
    if image.max() > image.min():
        assert (intensity.to_u8(image).min(), intensity.to_u8(image).max()) == (0, 255)


@pytest.mark.parametrize("value", [0, 7, 255])
def test_constant_images_stay_finite(value: int) -> None:
    flat = np.full((64, 64), value, np.uint8)
    assert not intensity.to_u8(flat).any()
    for operation in (intensity.beasf, intensity.clahe, intensity.equalise_histogram):
        assert np.isfinite(operation(flat)).all()
    assert np.isfinite(intensity.beasf(flat, mode="released")).all()
