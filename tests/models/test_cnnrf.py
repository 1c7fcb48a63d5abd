"""CNNRF: crops, what it gives and refuses; its recipe is in ``test_cnnrf_training.py``.

The network of these tests has made-up weights; how well a trained one predicts stands in its card.
"""

from __future__ import annotations

import dataclasses
import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from models.api import Card, ImageInput, Lesion, RefusedInput, WeightsMismatch
from models.cards import read_card
from models.images import intensity
from models.nets.cnncf import Stage
from models.nets.cnnrf import CNNRF
from models.registry import Registry
from models.systems.cnnrf import CNNRFSystem, crop_all, extent
from models.training import cards, cnnrf, weights
from node.results.codes import PRIVATE
from tests.films import drawn

WEIGHTS = Path(__file__).parents[2] / "models" / "weights"
NAMES = ("crp", "lymphocytes", "neutrophils", "ldh", "d_dimer")


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def lesion(x: float, y: float, width: float, height: float | None = None, number: int = 1) -> Lesion:
    """With an outline of width x height about (x, y)."""
    a, b = width / 2, (height or width) / 2
    ring = ((x - a, y - b), (x + a, y - b), (x + a, y + b), (x - a, y + b), (x - a, y - b))
    return Lesion(number, (x, y), (0.5, 0.5), 25.0, 9, (width, width), 0.0, 1.0, True, 1.0, ring)


def made_up(seed: int = 0) -> CNNRF:
    torch.manual_seed(seed)
    return cnnrf.build(np.array([[0.0, 0.5, 1.0, 150.0, 0.2], [300.0, 3.0, 17.0, 1500.0, 30.0]]))


@pytest.fixture(scope="module")
def card(tmp_path_factory: pytest.TempPathFactory) -> Card:
    """The shipped card with the digest of a made-up network, put there as a real run is."""
    folder = tmp_path_factory.mktemp("weights")
    settings = {"error_crp": 60.0, "median_error_crp": 55.0, "error_ldh": 100.0, "median_error_ldh": 120.0}
    weights.write(made_up(), folder / "out" / "cnnrf.safetensors", {}, settings)
    shutil.copyfile(WEIGHTS / "cnnrf.toml", folder / "cnnrf.toml")
    cards.install("cnnrf", folder / "out", folder)
    return read_card(folder / "cnnrf.toml")


@pytest.fixture(scope="module")
def system(card: Card) -> CNNRFSystem:
    return CNNRFSystem(card, "cpu")


def film(side: int = 512) -> ImageInput:
    return ImageInput(drawn(7, side).astype(np.float32), "1.2.3")


def test_the_card_names_predictions_and_no_laboratory_test() -> None:
    shipped = read_card(WEIGHTS / "cnnrf.toml")
    assert shipped.kind == "indicators" and shipped.classes == ()
    assert tuple(kind.name for kind in shipped.quantities) == NAMES == tuple(cnnrf.INDICATORS)
    assert [kind.unit for kind in shipped.quantities] == ["mg/L", "10*3/uL", "10*3/uL", "U/L", "mg/L"]
    for kind in shipped.quantities:
        assert kind.code.scheme == PRIVATE and len(kind.code.value) <= 16  # SH: CodeValue, not LongCodeValue
        assert kind.code.meaning.startswith("Predicted ") and kind.code.meaning.endswith("(image-derived)")
        assert len(kind.code.meaning) <= 64  # LO
    assert "RESEARCH USE ONLY" in shipped.text


def test_a_measurement_is_complete_and_repeats_itself(system: CNNRFSystem, card: Card) -> None:
    lesions = (lesion(150, 250, 40), lesion(360, 240, 90, number=2))
    found = system.measure(film(), lesions)
    assert found.model.system == "cnnrf" and found.model.weights_sha256 == card.weights_sha256
    assert tuple(quantity.kind for quantity in found.quantities) == card.quantities
    assert found.quantities == system.measure(film(), lesions).quantities
    assert "not laboratory results" in found.notes[0] and "2 lesion crops" in found.notes[0]
    spoken = " ".join(found.notes)
    assert "mean absolute error in the test 60 mg/L, no better than always saying the training median" in spoken
    assert "mean absolute error in the test 100 U/L, better than always saying the training median (120" in spoken


def test_the_case_is_the_mean_over_its_lesions(system: CNNRFSystem) -> None:
    """Of the scaled outputs, before the logarithm is undone: log(1 + case) is the mean of log(1 + lesion)."""
    lesions = (lesion(150, 250, 40), lesion(360, 240, 90, number=2), lesion(200, 100, 16, number=3))
    both = np.array([q.value for q in system.measure(film(), lesions).quantities])
    each = np.array([[q.value for q in system.measure(film(), (one,)).quantities] for one in lesions])
    free = (each > 0).all(axis=0) & (both > 0)  # no amount is below zero: there the mean is cut off
    assert free.sum() >= 3
    assert np.log1p(both[free]) == pytest.approx(np.log1p(each[:, free]).mean(0), abs=1e-4)
    assert not np.allclose(each[0], each[1], rtol=1e-3)


def test_values_beyond_the_training_films_are_told_and_not_clamped(card: Card, tmp_path: Path) -> None:
    net = made_up()
    with torch.no_grad():
        net.out.weight.zero_()
        net.out.bias.copy_(torch.tensor([1.5, 0.5, 0.5, 0.5, 0.0]))
    weights.write(net, tmp_path / "cnnrf.safetensors", {})
    shutil.copyfile(WEIGHTS / "cnnrf.toml", tmp_path / "cnnrf.toml")
    shutil.copyfile(tmp_path / "cnnrf.safetensors", tmp_path / "w")
    told = tomllib.loads((tmp_path / "cnnrf.figures.toml").read_text())
    other = dataclasses.replace(
        card, weights=tmp_path / "w", weights_sha256=told["weights_sha256"], settings={"window_days": 2.0}
    )
    found = CNNRFSystem(other, "cpu").measure(film(), (lesion(150, 250, 40),))
    values = {quantity.kind.name: quantity.value for quantity in found.quantities}
    assert values["crp"] == pytest.approx(301**1.5 - 1, rel=0.01)
    assert values["lymphocytes"] == pytest.approx((1.5 * 4) ** 0.5 - 1, rel=0.01)
    assert values["d_dimer"] == pytest.approx(0.2, rel=0.01)
    beyond = [note for note in found.notes if "outside the range" in note]
    assert beyond == ["Predicted C-reactive protein (image-derived): outside the range of the training films."]


def test_without_a_lesion_it_says_nothing(system: CNNRFSystem) -> None:
    with pytest.raises(RefusedInput, match="no lesion centre is marked") as refused:
        system.measure(film(), ())
    assert str(refused.value).endswith(".")


def test_films_that_cannot_be_judged_are_refused(system: CNNRFSystem) -> None:
    holed = film().pixels.copy()
    holed[5, 5] = np.inf
    tiny = np.random.default_rng(0).random((20, 300), np.float32)
    for pixels in (holed, tiny, np.full((200, 200), 7, np.float32)):
        with pytest.raises(RefusedInput):
            system.measure(ImageInput(pixels, "1"), (lesion(10, 10, 40),))


def test_without_its_weights_it_is_not_loaded(tmp_path: Path) -> None:
    lines = (WEIGHTS / "cnnrf.toml").read_text(encoding="utf-8").splitlines()
    kept = ['weights_sha256 = ""' if line.startswith("weights_sha256") else line for line in lines]
    (tmp_path / "cnnrf.toml").write_text("\n".join(kept), encoding="utf-8")
    with pytest.raises(WeightsMismatch, match="No weights of cnnrf ship"):
        Registry(tmp_path).load_indicator_system("cnnrf")


def test_the_registry_loads_it(card: Card) -> None:
    measured = Registry(card.weights.parent).load_indicator_system("cnnrf").measure(film(), (lesion(150, 250, 40),))
    assert len(measured.quantities) == 5


@pytest.mark.parametrize(("wanted", "taken"), [(5, 16), (16, 16), (40, 40), (64, 64), (300, 64)])
@pytest.mark.parametrize("times", [1, 3])
def test_a_crop_is_as_wide_as_the_lesion_within_bounds(wanted: int, taken: int, times: int) -> None:
    """A square of ``taken`` pixels of a 512 film is white; the crop of the film must be white, and no larger one is."""
    for size, all_white in ((taken, True), (taken - 2, False)):
        picture = np.zeros((512 * times, 700 * times), np.uint8)
        half = size * times // 2
        picture[256 * times - half : 256 * times + half, 300 * times - half : 300 * times + half] = 255
        (crop,) = crop_all(picture, [(300 * times - 0.5, 256 * times - 0.5, wanted * times)])
        assert crop.shape == (64, 64, 3)
        assert (crop == intensity.jet(np.full((64, 64), 255, np.uint8))).all() == all_white


def test_a_crop_at_the_border_lies_inside_the_film() -> None:
    picture = np.full((512, 512), 255, np.uint8)
    white = intensity.jet(np.full((64, 64), 255, np.uint8))
    for x, y in ((0.0, 0.0), (511.0, 3.0), (200.0, 511.0)):
        (crop,) = crop_all(picture, [(x, y, 64.0)])
        assert np.array_equal(crop, white)
    assert crop_all(np.full((64, 64), 9, np.uint8), [(0.0, 63.0, 1.0)])[0].shape == (64, 64, 3)


def test_extent_of_a_lesion() -> None:
    assert extent(lesion(50, 60, 20, 31)) == pytest.approx(31)
    assert extent(dataclasses.replace(lesion(50, 60, 20), outline_px=(), axis_lengths_px=(17.0, 3.0))) == 17


def test_the_scale_and_its_inverse() -> None:
    net = made_up()
    values = torch.tensor([[0.0, 0.5, 1.0, 150.0, 0.2], [300.0, 3.0, 17.0, 1500.0, 30.0], [40.0, 1.0, 5.0, 400.0, 2.0]])
    scaled = net.scaled(values)
    torch.testing.assert_close(scaled[:2], torch.tensor([[0.0] * 5, [1.0] * 5]))
    torch.testing.assert_close(net.values(scaled), values, rtol=1e-4, atol=1e-4)
    assert net.scaled(torch.full((1, 5), float("nan"))).isnan().all()


def test_the_three_blocks() -> None:  # N10, N11
    counts = [sum(p.numel() for p in block.parameters()) for block in Stage(64, (256, 256, 512), (2, 2, 2)).blocks]
    assert counts == [755_200, 1_246_720, 3_673_088]
