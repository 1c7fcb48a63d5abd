"""Training: short runs on made-up pictures learn, a resumed run equals one that was never stopped, cards are filled.

The real runs are not repeated here (`make soak` does one epoch of each on the real data).
"""

from __future__ import annotations

import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from models.evaluation.metrics import Figure
from models.nets.cnncf import CNNCF
from models.nets.cxnet import CXNet
from models.nets.unet import LungUNet
from models.training import augment, cards, classify, data, weights
from models.training.fit import BadRun, Order, Plan, fit
from models.training.train import RECIPES, main
from tests.models import made


def two_classes(count: int = 16, side: int = 64) -> tuple[torch.Tensor, torch.Tensor]:
    """Bright disks against bright frames, with noise."""
    random = torch.Generator().manual_seed(0)
    y, x = torch.meshgrid(torch.linspace(-1, 1, side), torch.linspace(-1, 1, side), indexing="ij")
    inside = (x**2 + y**2 < 0.4).float()
    labels = torch.arange(count) % 2
    pictures = torch.stack([inside if label else 1 - inside for label in labels])[:, None]
    return (pictures + 0.1 * torch.randn(pictures.shape, generator=random)).expand(-1, 3, -1, -1), labels


@pytest.mark.parametrize("build", [lambda: CXNet(2), lambda: CNNCF(2, 64)], ids=["cxnet", "cnncf"])
def test_a_few_steps_lower_the_loss(build: object) -> None:
    """N38."""
    torch.manual_seed(0)
    net: nn.Module = build()  # type: ignore[operator]
    x, y = two_classes()
    optimiser = torch.optim.Adam(net.parameters(), 1e-3)
    losses = []
    for _ in range(8):
        out = net(x)
        logits = out[1] if isinstance(out, tuple) else out
        loss = nn.functional.cross_entropy(logits, y)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert min(losses[-3:]) < 0.8 * losses[0]


def small_run(folder: Path, epochs: int, resume: bool, stop_after: int | None = None) -> tuple[nn.Module, list[float]]:
    torch.manual_seed(3)
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64 * 64, 4), nn.ReLU(), nn.Dropout(0.3), nn.Linear(4, 2))
    x, y = two_classes(24)

    def step(batch: torch.Tensor, random: torch.Generator) -> torch.Tensor:
        pictures = augment.brightness_contrast(x[batch].clamp(0, 1), random, 0.2, 0.1)
        return nn.functional.cross_entropy(net(pictures).float(), y[batch])

    class Stopped(Exception):
        pass

    def after(epoch: int) -> str:
        if stop_after is not None and epoch > stop_after:
            raise Stopped
        return ""

    plan = Plan(epochs, 8, 24, 11, folder / "run.checkpoint", resume, lambda progress: 1 - progress / 2)
    try:
        return net, fit(plan, net, torch.optim.Adam(net.parameters(), 1e-3), step, after)
    except Stopped:
        return net, []


def test_a_resumed_run_equals_one_that_was_never_stopped(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    whole, losses = small_run(tmp_path / "a", 4, resume=False)
    small_run(tmp_path / "b", 4, resume=False, stop_after=1)
    again, resumed = small_run(tmp_path / "b", 4, resume=True)
    assert resumed == losses
    assert all(torch.equal(a, b) for a, b in zip(whole.state_dict().values(), again.state_dict().values(), strict=True))


@pytest.mark.parametrize(
    ("order", "epochs"), [(Order(), 9), (Order(epochs=4), 4), (Order(steps=7), 3), (Order(steps=1), 1)]
)
def test_the_length_of_a_run_in_epochs_or_in_steps(order: Order, epochs: int, tmp_path: Path) -> None:
    plan = order.plan(9, 8, 27, tmp_path / "run.checkpoint", lambda progress: 1.0, torch.device("cpu"))
    assert (plan.epochs, plan.seed, plan.resume) == (epochs, 666, False)


def test_the_gate_opens_by_sensitivity_and_is_saved(tmp_path: Path) -> None:
    net = CNNCF(2, 64)
    assert [net.gate.observe(value) for value in (0.95, 0.92, 0.85, 0.90, 0.95, 0.97, 0.80)] == [False] * 5 + [True] * 2
    digest = weights.write(net, tmp_path / "w.safetensors", {"x": Figure(0.5, 0.4, 0.6, 7)}, {"side": 64})
    state = load_file(tmp_path / "w.safetensors")
    assert bool(state["gate.is_open"]) and state["predictor.weight"].dtype == torch.float16
    told = tomllib.loads((tmp_path / "w.figures.toml").read_text())
    assert told == {"weights_sha256": digest, "side": 64, "x": {"value": 0.5, "low": 0.4, "high": 0.6, "cases": 7}}


def test_a_card_is_filled_from_a_run(tmp_path: Path) -> None:
    out, folder = tmp_path / "out", tmp_path / "weights"
    folder.mkdir()
    weights.write(LungUNet(), out / "toy.safetensors", {"jaccard": Figure(0.9, 0.8, 0.95, 5)}, {"side": 192})
    card = (
        'system = "toy"',
        'weights_sha256 = "old"',
        "",
        "[settings]  # a remark",
        "side = 1",
        "",
        "[figures]",
        "x = 1",
    )
    (folder / "toy.toml").write_text("\n".join((*card, "", "[limits]", 'text = "t"', "")))
    cards.install("toy", out, folder)
    tree = tomllib.loads((folder / "toy.toml").read_text())
    assert tree["settings"] == {"side": 192} and tree["limits"] == {"text": "t"}
    assert tree["figures"] == {"jaccard": {"value": 0.9, "low": 0.8, "high": 0.95, "cases": 5}}
    assert len(tree["weights_sha256"]) == 64 and (folder / "toy.safetensors").is_file()


def test_augmentation_keeps_shape_and_range_and_is_seeded() -> None:
    x = torch.rand(4, 3, 32, 32)

    def twice(seed: int) -> torch.Tensor:
        random = torch.Generator().manual_seed(seed)
        y = augment.affine(x, random, degrees=10, zoom=(0.9, 1.2), shift=0.06, mirror=True)
        return augment.brightness_contrast(augment.resolution(y, random), random, 0.3, 0.1)

    assert torch.equal(twice(1), twice(1)) and not torch.equal(twice(1), twice(2))
    assert twice(1).shape == x.shape and twice(1).min() >= 0 and twice(1).max() <= 1


def test_no_film_is_turned_upside_down() -> None:
    x = torch.zeros(64, 1, 32, 32)
    x[:, :, :8] = 1
    y = augment.affine(x, torch.Generator().manual_seed(0), degrees=15, zoom=(0.8, 1.3), shift=0.1, mirror=True)
    assert (y[:, :, :16].sum((1, 2, 3)) > y[:, :, 16:].sum((1, 2, 3))).all()


def test_sampling_weighs_classes_alike() -> None:
    cases = [data.FilmCase(Path("x"), "normal", "a", str(n), "train") for n in range(9)]
    cases += [data.FilmCase(Path("x"), "covid19", "b", str(n), "train") for n in range(4)]
    cases += [data.FilmCase(Path("x"), "covid19", "c", str(n), "train") for n in range(1)]
    found = classify.sampling_weights(cases)
    assert float(found[:9].sum()) == pytest.approx(1) and float(found[9:].sum()) == pytest.approx(1)
    assert float(found[9:13].sum() / found[13]) == pytest.approx(2)  # root of 4 against root of 1


def test_temperature_that_calibrates() -> None:
    random = np.random.default_rng(0)
    truth = torch.tensor(random.integers(0, 2, 4000))
    logits = torch.zeros(4000, 2)
    sure = torch.tensor(random.random(4000) < 0.8)
    logits[torch.arange(4000), torch.where(sure, truth, 1 - truth)] = 4 * float(np.log(4))
    assert classify.fit_temperature(logits, truth) == pytest.approx(4, rel=0.1)


def test_splits_are_by_patient(data_folder: Path) -> None:
    seen: dict[str, str] = {}
    for case in data.film_cases(data_folder):
        if case.patient:
            assert seen.setdefault(f"{case.source} {case.patient}", case.split) == case.split
    assert {case.split for case in data.film_cases(data_folder)} == {"train", "val", "test"}


def test_lung_cases_have_masks_and_a_held_out_part(data_folder: Path) -> None:
    cases = data.lung_cases(data_folder)
    assert sum(case.split == "test" and case.origin == "jsrt" for case in cases) == 50
    assert sum(case.split == "test" and case.origin == "covid_lungs" for case in cases) == 20


def test_what_cannot_be_trained_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main("nothing", tmp_path, tmp_path) == 2
    assert "no recipe" in capsys.readouterr().err
    assert main("cxnet", tmp_path, tmp_path) == 2
    assert "not the training data" in capsys.readouterr().err


def test_a_source_that_is_misspelt_or_cannot_be_missed_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = made.film_folder(tmp_path / "data")
    assert main("cxnet", folder, tmp_path, without=("jrst",)) == 2
    assert "no film comes from jrst" in capsys.readouterr().err
    assert main("cxnet", folder, tmp_path, without=("nih-cxr14", "jsrt")) == 2
    assert "no normal" in capsys.readouterr().err
    assert main("unet-lung", folder, tmp_path, without=("jsrt",)) == 2


def test_a_checkpoint_of_other_films_is_not_gone_on_with(tmp_path: Path) -> None:
    def plan(films: tuple[str, ...], resume: bool, cases: int = 4) -> Plan:
        return Plan(1, 2, cases, 1, tmp_path / "run.checkpoint", resume, films=films)

    net = nn.Linear(2, 1)
    optimiser = torch.optim.SGD(net.parameters(), 0.1)

    def step(batch: Tensor, random: torch.Generator) -> Tensor:
        loss: Tensor = net(torch.ones(len(batch), 2)).pow(2).mean()
        return loss

    fit(plan(("a", "b"), False), net, optimiser, step, lambda epoch: "")
    fit(plan(("a", "b"), True), net, optimiser, step, lambda epoch: "")
    with pytest.raises(BadRun, match="another run"):
        fit(plan(("a", "c"), True), net, optimiser, step, lambda epoch: "")
    with pytest.raises(BadRun, match="fewer than one batch"):
        fit(plan(("a", "b"), False, cases=1), net, optimiser, step, lambda epoch: "")


@pytest.mark.slow
@pytest.mark.parametrize("system", [system for system in RECIPES if system != "cnncf-ct"])  # no volumes are at hand
def test_one_epoch_of_each_recipe_on_the_real_data(system: str, data_folder: Path, tmp_path: Path) -> None:
    assert main(system, data_folder, tmp_path, epochs=1) == 0
    assert (tmp_path / f"{system}.safetensors").is_file() and (tmp_path / f"{system}.figures.toml").is_file()
