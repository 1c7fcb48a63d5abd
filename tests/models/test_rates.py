"""The range test of the learning rate, and runs that go on from the weights of an earlier one.

Not here: that the rate it names is a good one for the real data; ``docs/training.md`` says what was measured.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models.nets.basemodel import BaseModel
from models.systems.twostep import TwoSteps
from models.training import rates, twostep, weights
from models.training.fit import BadRun, Order, Plan, fit
from models.training.rates import RangeTest, RateFound
from models.training.train import main
from tests.models import made


def drawn(losses: list[float]) -> RangeTest:
    return RangeTest(np.geomspace(rates.LOWEST, rates.HIGHEST, rates.STEPS)[: len(losses)], np.array(losses))


@pytest.mark.parametrize("at", [1e-5, 1e-4, 3e-3])
def test_the_steepest_fall_is_found_through_noise(at: float) -> None:
    grid = np.geomspace(rates.LOWEST, rates.HIGHEST, rates.STEPS)
    noise = 0.05 * np.random.default_rng(0).standard_normal(rates.STEPS)
    fallen = 1 / (1 + np.exp(4 * (np.log10(grid) - np.log10(at))))
    best = drawn((fallen + noise).tolist()).best
    assert best is not None and 0.5 < best / at < 2


def test_a_loss_that_never_falls_names_no_rate() -> None:
    assert drawn([1.0 + 0.01 * n for n in range(rates.STEPS)]).best is None
    assert drawn([1.0, 9.0]).best is None


def test_the_test_of_a_line_fit_names_a_rate_that_learns_and_ends_where_it_diverges() -> None:
    torch.manual_seed(0)
    x = torch.randn(256, 8)
    y = x @ torch.ones(8, 1)
    scale = 60.0  # largest curvature about 2 * scale: rates over 1 / scale diverge

    def step(batch: Tensor, random: torch.Generator) -> Tensor:
        loss: Tensor = scale * (net(x[batch]) - y[batch]).float().square().mean()
        return loss

    def plan(find: bool) -> Plan:
        return Plan(4, 32, 256, 1, Path("unused"), find_rate=find)

    net = nn.Linear(8, 1)
    with pytest.raises(RateFound) as found:
        fit(plan(True), net, torch.optim.SGD(net.parameters(), 1e-9), step, lambda epoch: "")
    test = found.value.test
    assert found.value.usual == 1e-9
    assert test.best is not None and 1e-5 < test.best < 1 / scale
    assert len(test.losses) < rates.STEPS and test.losses[-1] > rates.DIVERGED * test.losses[0]
    assert np.allclose(np.diff(np.log(test.rates)), np.log(1e6) / (rates.STEPS - 1))


def test_a_recipe_gives_a_rate_and_a_figure_and_trains_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rates, "STEPS", 18)
    monkeypatch.setattr(rates, "DECADE", 3)
    monkeypatch.setattr(twostep, "BATCH", 4)
    folder, out = made.film_folder(tmp_path / "data"), tmp_path / "run"
    assert main("two-step", folder, out, device="cpu", find_rate=True) in (0, 1)  # 18 steps may be too few to fall
    assert "two-step: the loss falls" in capsys.readouterr().out
    assert (out / "two-step.rates.png").read_bytes().startswith(b"\x89PNG")
    assert not list(out.glob("*.safetensors")) and not list(out.glob("*.checkpoint"))


def test_a_run_goes_on_from_weights_of_its_own_system_alone(tmp_path: Path) -> None:
    torch.manual_seed(0)
    before, after = TwoSteps(second=False), TwoSteps(second=False)
    weights.write(before, tmp_path / "two-step.safetensors", {})
    order = Order(start=tmp_path / "two-step.safetensors")
    assert order.begin(after) and not Order().begin(after)
    same = zip(before.state_dict().values(), after.state_dict().values(), strict=True)
    assert all(torch.allclose(one.float(), other.float(), atol=1e-3) for one, other in same)
    with pytest.raises(BadRun, match="does not hold weights of this system"):
        order.begin(BaseModel(1, 160))
    with pytest.raises(BadRun, match="does not hold weights"):
        Order(start=tmp_path / "missing.safetensors").begin(after)
