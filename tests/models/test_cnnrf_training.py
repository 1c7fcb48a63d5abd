"""The recipe of CNNRF: which laboratory values are taken, loss, schedule (N14), weights of crops, figures, a short run.

The run is on drawn crops; how well the real one predicts stands in the card.
"""

from __future__ import annotations

import csv
import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from models.api import LungField, ModelIdentity
from models.cards import read_card
from models.images import intensity
from models.registry import Registry
from models.systems.cnnrf import CNNRFSystem
from models.training import cards, cnnrf
from models.training.cnnrf import IndicatorCase, indicator_cases, masked_mse, rate
from models.training.fit import Order
from tests.films import drawn
from tests.models.test_cnnrf import WEIGHTS, film, lesion


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_missing_values_have_no_part_in_the_loss() -> None:
    nan = float("nan")
    scaled = torch.tensor([[1.0, 5.0], [0.0, 3.0]], requires_grad=True)
    loss = masked_mse(scaled, torch.tensor([[0.0, nan], [0.0, 1.0]]))
    assert loss.item() == pytest.approx((1 + 0 + 4) / 3)
    loss.backward()
    assert scaled.grad is not None and scaled.grad[0, 1] == 0 and scaled.grad.isfinite().all()
    assert float(masked_mse(scaled.detach(), torch.full((2, 2), nan))) == 0


def test_the_published_schedule() -> None:
    """N14: 200 epochs, tenths at 50, 100 and 150; the first epoch rises from a tenth."""
    factor = rate(200)
    assert factor(0) == pytest.approx(0.1) and factor(0.5 / 200) == pytest.approx(0.55)
    for begin, end, wanted in ((1, 49, 0.01), (50, 99, 0.001), (100, 149, 1e-4), (150, 199, 1e-5)):
        for epoch in (begin, end):
            assert cnnrf.RATE * factor(epoch / 200) == pytest.approx(wanted), epoch


def test_films_weigh_alike_whatever_their_crops() -> None:
    found = cnnrf.crop_weights(["a", "a", "a", "b", "b", "b", "b"], np.array([0, 0, 0, 1, 2, 3, 4]))
    assert float(found[:3].sum()) == pytest.approx(1)
    assert float(found[3:].sum()) == pytest.approx(2)  # four films of one patient count as two


def test_middles_of_both_lungs() -> None:
    mask = np.zeros((512, 600), bool)
    mask[100:300, 50:150], mask[120:320, 400:520] = True, True
    field = LungField(mask, (), ModelIdentity("unet-lung", "U-Net", "1", "0" * 64))
    assert cnnrf.lung_middles(mask.shape, field) == [
        pytest.approx((99.5, 199.5, 64)),
        pytest.approx((459.5, 219.5, 64)),
    ]
    assert cnnrf.lung_middles((1024, 1024), None) == [
        pytest.approx((255.5, 511.5, 128)),
        pytest.approx((767.5, 511.5, 128)),
    ]


TABLE = (
    # image, crp value and offset, d-dimer value and offset
    ("one", "12.0", "0.0", "1.5", "-2.0"),
    ("two", "-inf", "0.0", "2.5", "1.0"),
    ("three", "40.0", "3.0", "", ""),  # too late
    ("four", "", "", "inf", "0.0"),  # above the limit
    ("five", "0.0", "2.0", "9.0", "-3.0"),
)


def data_of(folder: Path) -> Path:
    """Five drawn films, of which two have no value of use."""
    (folder / "clinical").mkdir(parents=True)
    (folder / "cxr").mkdir()
    columns = [f"{name}_{part}" for name in cnnrf.INDICATORS.values() for part in ("val", "offset")]
    with (folder / "clinical" / "hannover.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, ["image_id", *columns], restval="")
        table.writeheader()
        for image, *values in TABLE:
            table.writerow(
                dict(zip(("image_id", "crp_val", "crp_offset", "d-dimer_val", "d-dimer_offset"), (image, *values)))  # noqa: B905
            )
    with (folder / "cxr" / "labels.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, ["file", "source", "patient", "split", "original"])
        table.writeheader()
        for number, (image, *_) in enumerate(TABLE):
            Image.fromarray(drawn(number, 128)).save(folder / "cxr" / f"{image}.png")
            row = {"file": f"{image}.png", "source": "hannover", "patient": f"mhh-{number}"}
            table.writerow(row | {"split": "train", "original": f"{image}.png"})
        table.writerow(
            {"file": "x.png", "source": "nih-cxr14", "patient": "1", "split": "train", "original": "one.png"}
        )
    return folder


def test_which_laboratory_values_are_taken(tmp_path: Path) -> None:
    nan = float("nan")
    cases = indicator_cases(data_of(tmp_path))
    assert [case.path.stem for case in cases] == ["one", "two", "five"]
    expected = [(12.0, nan, nan, nan, 1.5), (nan, nan, nan, nan, 2.5), (0.0, nan, nan, nan, nan)]
    assert np.array_equal([case.values for case in cases], expected, equal_nan=True)


def test_values_of_the_real_films(data_folder: Path) -> None:
    cases = indicator_cases(data_folder)
    assert len(cases) == 166 and all(case.path.is_file() for case in cases)
    known = {
        split: np.sum([~np.isnan(case.values) for case in cases if case.split == split], axis=0).tolist()
        for split in ("train", "val", "test")
    }
    assert known == {"train": [111, 59, 59, 80, 60], "val": [15, 2, 2, 5, 5], "test": [40, 8, 8, 32, 8]}
    patients = {split: {case.patient for case in cases if case.split == split} for split in known}
    assert not patients["train"] & patients["test"] and not patients["train"] & patients["val"]


def made_up_case(number: int) -> IndicatorCase:
    grey = float(number % 5)
    split = ("train", "train", "train", "val", "test")[number // 5 % 5]
    values = (40 * grey, 0.5 + grey / 2, 2 + grey, 200 + 100 * grey, float("nan") if number % 2 else 1 + grey)
    return IndicatorCase(Path(f"{number}.png"), f"p{number // 2}", split, values)


def test_a_run_learns_and_its_card_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Crops whose grey is the value, in place of those of real films."""
    cases = [made_up_case(number) for number in range(25)]
    grey = np.repeat([[[number % 5 * 50]] for number in range(25)], 2, axis=0) * np.ones((1, 64, 64))
    arrays = {"crops": intensity.jet(grey.astype(np.uint8)), "film_of": np.repeat(np.arange(25), 2)}
    monkeypatch.setattr(cnnrf, "indicator_cases", lambda folder: cases)
    monkeypatch.setattr(cnnrf, "_prepare", lambda given, registry: arrays)
    cnnrf.train(tmp_path, tmp_path / "out", Order("cpu", 6, seed=1, resume=False))
    found = tomllib.loads((tmp_path / "out" / "cnnrf.figures.toml").read_text())
    assert found["r_crp"]["value"] > 0.5 and found["r_crp"]["cases"] == 5
    assert found["mae_d_dimer"]["cases"] < found["mae_crp"]["cases"]
    shutil.copyfile(WEIGHTS / "cnnrf.toml", tmp_path / "cnnrf.toml")
    cards.install("cnnrf", tmp_path / "out", tmp_path)
    card = read_card(tmp_path / "cnnrf.toml")
    assert card.settings["window_days"] == 2 and card.settings["error_crp"] == pytest.approx(
        found["mae_crp"]["value"], abs=1e-3
    )
    assert len(CNNRFSystem(card, "cpu").measure(film(), (lesion(150, 250, 40),)).quantities) == 5


def test_figures_of_known_numbers() -> None:
    """Truth 10, 20, 30 of which one is missing for the second indicator; the training films' mean 20, median 15."""
    nan = float("nan")
    truth = np.array([[10.0, 1.0], [20.0, nan], [30.0, 3.0], [40.0, 4.0]])
    said = np.array([[12.0, 1.0], [18.0, 9.0], [33.0, 3.0], [37.0, 4.0]])
    trained = np.array([[10.0, 2.0], [15.0, nan], [35.0, 4.0]])
    found = cnnrf.figures(
        np.pad(said, ((0, 0), (0, 3))),
        np.pad(truth, ((0, 0), (0, 3)), constant_values=nan),
        ["a", "a", "b", "c"],
        np.pad(trained, ((0, 0), (0, 3))),
    )
    assert found["mae_crp"].value == pytest.approx(2.5) and found["mae_crp"].cases == 4
    assert found["r2_crp"].value == pytest.approx(1 - 26 / 500)
    assert found["r_crp"].value == pytest.approx(np.corrcoef(said[:, 0], truth[:, 0])[0, 1])
    assert found["mean_mae_crp"].value == pytest.approx((10 + 0 + 10 + 20) / 4)
    assert found["median_mae_crp"].value == pytest.approx((5 + 5 + 15 + 25) / 4)
    assert found["mae_lymphocytes"].value == 0 and found["mae_lymphocytes"].cases == 3
    assert found["mae_ldh"].cases == 0 and np.isnan(found["mae_ldh"].value)


def test_the_interval_is_of_patients() -> None:
    """Twenty equal films of one patient and one of another say no more than two patients."""
    values = np.array([0.0] * 20 + [10.0])
    found = cnnrf.patient_figure(lambda n: float(values[n].mean()), ["a"] * 20 + ["b"])
    assert found.value == pytest.approx(10 / 21) and found.cases == 21
    assert (found.low, found.high) == (0.0, 10.0)


def test_no_correlation_of_what_does_not_vary() -> None:
    flat, rising = np.full(3, 2.0), np.arange(3.0)
    assert np.isnan(cnnrf.correlation(flat, rising)) and np.isnan(cnnrf.determination(rising, flat))
    y, p = np.array([0.1, 0.4, 0.35, 0.8]), np.array([0.12, 0.35, 0.4, 0.7])  # N29
    assert cnnrf.correlation(p, y) == pytest.approx(0.985713, abs=1e-6)
    assert cnnrf.determination(p, y) == pytest.approx(0.938859, abs=1e-6)
    assert cnnrf.absolute_error(p, y) == pytest.approx(0.055)


def test_crops_of_other_weights_are_others(tmp_path: Path) -> None:
    shutil.copyfile(WEIGHTS / "cxnet.toml", tmp_path / "cxnet.toml")
    shutil.copyfile(WEIGHTS / "unet-lung.toml", tmp_path / "unet-lung.toml")
    before = cnnrf.cache_file(tmp_path, Registry(tmp_path))
    text = (tmp_path / "cxnet.toml").read_text(encoding="utf-8")
    digest = read_card(tmp_path / "cxnet.toml").weights_sha256
    (tmp_path / "cxnet.toml").write_text(text.replace(digest, "f" * 64), encoding="utf-8")
    assert cnnrf.cache_file(tmp_path, Registry(tmp_path)) != before
