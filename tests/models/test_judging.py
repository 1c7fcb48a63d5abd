"""Explanation, figures of merit and losses against the numeric facts N16, N17, N20, N21, N24, N25, N27 and N28."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from monai.visualize.class_activation_maps import GradCAM
from torch import nn

from models.api import LungField, ModelIdentity
from models.evaluation import metrics
from models.evaluation.bootstrap import interval
from models.explain import gradcam
from models.explain.lesions import clusters, find_lesions, heat_share
from models.nets.basemodel import BaseModel
from models.nets.cnncf import CNNCF
from models.nets.cxnet import CXNet
from models.nets.twostep import TwoStepNet
from models.training import losses
from tests.models import made


class Toy(nn.Module):
    """N24: 1 x 1 convolution with weights 1 and -1, global average, [[0, 1], [2, 0]] of the specification's layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 1, bias=False)
        self.fc = nn.Linear(2, 2, bias=False)
        with torch.no_grad():
            self.conv.weight[:] = torch.tensor([1.0, -1.0]).view(2, 1, 1, 1)
            self.fc.weight[:] = torch.tensor([[1.0, 0.0], [0.0, 2.0]])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.conv(x).mean((2, 3)))  # type: ignore[no-any-return]


X = torch.tensor([[[[0.0, 1.0], [2.0, -3.0]]]])


def toy_heat_of(net: Toy, class_index: int) -> np.ndarray:
    with torch.inference_mode():
        maps = net.conv(X)
    return gradcam.heat(lambda here: net.fc(here.mean((2, 3))), maps, class_index, side=2)


def test_grad_cam_of_the_toy() -> None:
    """N24: class 0 highest at the 2, class 1 only at the -3."""
    assert np.allclose(toy_heat_of(Toy(), 0), [[0, 0.5], [1, 0]])
    assert np.allclose(toy_heat_of(Toy(), 1), [[0, 0], [0, 1]])


def test_monais_default_would_turn_the_map_upside_down() -> None:
    """The trap of N24 is still there: this fails when MONAI changes its default, and ours can go."""
    found = GradCAM(nn_module=Toy(), target_layers="conv")(X.clone().requires_grad_(True), class_idx=0)
    assert np.allclose(np.asarray(found)[0, 0], [[1, 0.5], [0, 1]])


class Head(nn.Module):
    """What comes after a map, with all that a hook or a mode could change."""

    def __init__(self) -> None:
        super().__init__()
        self.rest = nn.Sequential(nn.BatchNorm2d(4), nn.Dropout(0.5), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.last = nn.Linear(4, 2)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        return self.last(self.rest(maps))  # type: ignore[no-any-return]


def test_explaining_leaves_the_network_as_it_was() -> None:
    """A worker explains films for months: no hook, no map and no gradient stays with the network, and MONAI, which puts
    a module back into its outermost mode, does not wake it up in training."""
    net = Head().eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    for _ in range(3):
        gradcam.heat(net, torch.rand(1, 4, 8, 8), 0, 16)
    assert not any(module.training for module in net.modules())
    assert not any(module._forward_hooks or module._backward_hooks for module in net.modules())
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())


def test_films_are_explained_by_one_network_at_the_same_time() -> None:
    """As the lanes of a worker do: each gets the heat of its own film."""
    net, maps = Head().eval().requires_grad_(False), [torch.rand(1, 4, 8, 8) for _ in range(8)]
    alone = [gradcam.heat(net, one, 1, 16) for one in maps]
    with ThreadPoolExecutor(4) as threads:
        for _ in range(10):
            found = list(threads.map(lambda one: gradcam.heat(net, one, 1, 16), maps))
            assert all(np.array_equal(a, b) for a, b in zip(found, alone, strict=True))


class OneStage(nn.Module):
    """The logits of Stage II of CNNCF, or of Stage I, as one tensor."""

    def __init__(self, second: bool) -> None:
        super().__init__()
        self.net, self.second = CNNCF(2, 64), second

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x)[int(self.second)]  # type: ignore[no-any-return]

    def maps(self, x: torch.Tensor) -> torch.Tensor:
        return self.net.maps(x)[int(self.second)]

    def judge(self, maps: torch.Tensor) -> torch.Tensor:
        return self.net.judge_two(maps) if self.second else self.net.judge_one(maps)


@pytest.mark.parametrize(
    "build, layer",
    [
        (lambda: CXNet(3), "last_map"),
        (lambda: TwoStepNet(3), "last_map"),
        (lambda: BaseModel(2, 64), "features.9"),
        (lambda: OneStage(second=True), "net.stage_two"),
        (lambda: OneStage(second=False), "net.stage_one"),
    ],
    ids=["cxnet", "two-step", "base", "stage-two", "stage-one"],
)
def test_heat_from_the_maps_is_that_through_the_whole_network(build: Callable[[], Any], layer: str) -> None:
    """MONAI's, with its hooks in the network and the gradient through all of it."""
    torch.manual_seed(3)
    net, x = build().eval().requires_grad_(False), torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        maps = net.maps(x)
        assert torch.equal(net.judge(maps), net(x))
    for number in (0, 1):
        found = gradcam.heat(net.judge, maps, number, 64)
        assert np.allclose(found, made.monais_heat(net, layer, x, number), atol=1e-4)


def test_a_map_without_heat_stays_empty() -> None:
    assert not gradcam.unit_range(np.zeros((1, 1, 4, 4))).any()


def toy_heat() -> np.ndarray:
    heat = np.zeros((64, 64), np.float32)
    heat[10:15, 20:25], heat[40:47, 48:53], heat[30, 30], heat[5:8, 50:53] = 1.0, 0.9, 0.8, 0.3
    return heat


def test_lesion_clusters() -> None:
    """N21: two clusters of 25 and 35 points, the single hot point is noise."""
    found = clusters(toy_heat())
    assert [len(cluster.points) for cluster in found] == [25, 35]
    centres = np.array([cluster.centre for cluster in found]) / 63
    assert np.allclose(centres, [(0.349206, 0.190476), (0.793651, 0.682540)], atol=1e-6)


def field(mask: np.ndarray) -> LungField:
    return LungField(mask, (), ModelIdentity("unet-lung", "U-Net", "1", "0" * 64, ""))


def test_lesions_lie_where_the_heat_lies_in_the_source_matrix() -> None:
    """A map of 640 x 1280 whose 64 x 64 grid is the toy: centres scale with the matrix, half a pixel included."""
    heat = np.kron(toy_heat(), np.ones((10, 20), np.float32))
    found = find_lesions(heat, None)
    assert [lesion.dbscan_size for lesion in found] == [25, 35]
    x, y = found[0].centre_px
    assert (x, y) == pytest.approx((22.5 * 20 - 0.5, 12.5 * 10 - 0.5))
    assert found[0].area_px == pytest.approx(25 * 200)
    assert found[0].number == 1 and found[0].peak_heat == pytest.approx(1)


def test_axes_of_a_long_cluster() -> None:
    heat = np.zeros((64, 64), np.float32)
    heat[30:33, 10:40] = 1
    (lesion,) = find_lesions(heat, None)
    major, minor = lesion.axis_lengths_px
    assert major > 5 * minor
    assert lesion.angle_deg == pytest.approx(0, abs=1e-6)


def test_only_heat_in_the_lung_field_makes_lesions() -> None:
    mask = np.zeros((64, 64), bool)
    mask[:, :32] = True
    found = find_lesions(toy_heat(), mask)
    assert [lesion.dbscan_size for lesion in found] == [25]
    assert found[0].inside_lung and found[0].lung_share == 1
    assert find_lesions(np.zeros((64, 64), np.float32), mask) == ()


def test_lesions_may_reach_out_of_the_lung_and_say_so() -> None:
    mask = np.zeros((64, 64), bool)
    mask[:, :22] = True
    inside, outside = find_lesions(toy_heat(), mask, inside_alone=False)
    assert 0 < inside.lung_share < 1
    assert outside.lung_share == 0 and not outside.inside_lung


def test_share_of_heat_in_the_lung_field() -> None:
    mask = np.zeros((64, 64), bool)
    mask[:, :32] = True
    heat = toy_heat()
    assert heat_share(heat, field(mask)) == pytest.approx(heat[:, :32].sum() / heat.sum())
    assert heat_share(np.zeros((64, 64), np.float32), field(mask)) is None


@pytest.mark.parametrize(
    "counts, expected",
    [
        ((59, 3, 1, 149), {"sensitivity": 0.951613, "specificity": 0.993333, "precision": 0.983333, "f1": 0.967213,
                           "accuracy": 0.981132, "kappa": 0.953973}),
        ((76, 4, 5, 598), {"f1": 0.944099, "kappa": 0.936631}),
        ((78, 3, 4, 641), {"accuracy": 0.990358, "f1": 0.957055}),
        ((19, 1, 1, 19), {"kappa": 0.90}),
    ],
)  # fmt: skip
def test_confusions(counts: tuple[int, int, int, int], expected: dict[str, float]) -> None:
    """N25."""
    found = metrics.Confusion(*counts)
    assert {name: getattr(found, name) for name in expected} == pytest.approx(expected, abs=1e-6)


def test_a_ratio_without_cases_is_no_number() -> None:
    assert np.isnan(metrics.Confusion(0, 0, 3, 4).sensitivity)
    assert np.isnan(metrics.auroc([1, 1], [0.1, 0.2]))


def test_bootstrap_interval() -> None:
    """N27: the first confusion of N25, 150 negatives (the last called positive), then 62 positives (three missed)."""
    truth = np.repeat([0, 1], [150, 62])
    said = truth.copy()
    said[149], said[150:153] = 1, 0
    for name, low, high in (("f1", 0.93128, 0.99291), ("specificity", 0.97945, 1.0), ("sensitivity", 0.89394, 1.0)):
        found = interval(lambda n, name=name: getattr(metrics.confusion(truth[n], said[n]), name), 212)  # type: ignore[misc]
        assert found == pytest.approx((low, high), abs=1e-5), name


def test_roc() -> None:
    """N28."""
    y, s = [0, 0, 1, 1, 0, 1], [0.1, 0.4, 0.35, 0.8, 0.5, 0.9]
    assert metrics.auroc(y, s) == pytest.approx(0.777778, abs=1e-6)
    assert metrics.average_precision(y, s) == pytest.approx(0.866667, abs=1e-6)
    grid = metrics.roc_on_grid(y, s)
    assert grid.shape == (201, 2)
    assert abs(np.trapezoid(grid[::-1, 1], grid[::-1, 0])) == pytest.approx(0.777778, abs=1e-6)
    assert metrics.roc_on_grid([1, 0], [0.35, 0.0])[70, 1] == 1  # 70/200, not 70 * 0.005


def test_jaccard() -> None:
    """N20."""
    a, b = np.zeros((12, 12), bool), np.zeros((12, 12), bool)
    a[2:8, 2:8], b[4:10, 2:8] = True, True
    assert metrics.jaccard(a, b) == 0.5
    assert metrics.jaccard(~a & a, ~b & b) == 1


@pytest.mark.parametrize("alpha, temperature, expected", [
    (0.5, 4.5, 0.390024), (0.95, 6, 0.472515), (0, 3, 0.313262), (1, 4, 0.458525),
])  # fmt: skip
def test_distillation(alpha: float, temperature: float, expected: float) -> None:
    """N16."""
    student, teacher = torch.tensor([[1.0, 0.0]]), torch.tensor([[2.0, -1.0]])
    assert float(losses.distillation(student, teacher, torch.tensor([0]), alpha, temperature)) == pytest.approx(
        expected, abs=1e-6
    )


@pytest.mark.parametrize("counts, expected", [
    ((3200, 428), (0.566875, 4.238318)), ((4850, 150), (0.515464, 16.666667)),
    ((3674, 3500, 1326), (0.7711849, 0.8095238, 2.1367521)),
])  # fmt: skip
def test_balanced_weights(counts: tuple[int, ...], expected: tuple[float, ...]) -> None:
    """N17."""
    assert losses.balanced_weights(torch.tensor(counts)).tolist() == pytest.approx(expected, rel=1e-6)


def test_dice_and_cross_entropy_of_a_perfect_and_a_wrong_mask() -> None:
    target = torch.zeros(1, 1, 8, 8)
    target[..., :4] = 1
    sure = (target * 2 - 1) * 30
    assert float(losses.dice_and_bce(sure, target)) == pytest.approx(0, abs=1e-5)
    assert float(losses.dice_and_bce(-sure, target)) > 20


def test_a_figure_knows_its_cases() -> None:
    assert dataclasses.asdict(metrics.Figure(0.5, 0.4, 0.6, 12)) == {"value": 0.5, "low": 0.4, "high": 0.6, "cases": 12}
