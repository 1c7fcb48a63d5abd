"""The further forms of paper 004: base model, binary output (N11, N12, and of N16 label smoothing).

They are not trained or installed by default; what is said here holds for any weights.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from models.explain import gradcam
from models.nets.basemodel import BaseModel, two_classes
from models.nets.cxnet import CXNet


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("first", "total", "sides"), [(3, 63_939, [159, 79, 39, 19, 9]), (5, 60_035, [158, 78, 38, 18, 8])]
)
def test_both_base_models(first: int, total: int, sides: list[int]) -> None:  # N11, N12
    net = BaseModel(first=first).eval()
    assert count(net) == total
    x, seen = torch.rand(2, 3, 320, 320), []
    with torch.inference_mode():
        for layer in net.features:
            x = layer(x)
            if isinstance(layer, nn.Conv2d):
                seen.append(x.shape[-1])
                assert x.shape[1] == 32
        assert seen == sides
        assert net(torch.rand(2, 3, 320, 320)).shape == (2, 1)


def test_a_smaller_film_and_more_classes() -> None:
    with torch.inference_mode():
        assert BaseModel(outputs=3, side=160).eval()(torch.rand(1, 3, 160, 160)).shape == (1, 3)


def test_the_base_model_learns() -> None:
    torch.manual_seed(0)
    net = BaseModel(side=64)
    x = torch.rand(16, 3, 64, 64, generator=torch.Generator().manual_seed(1)) * 0.2
    y = (torch.arange(16) % 2).float()[:, None]
    x += y[..., None, None] * torch.linspace(0, 0.8, 64)
    optimiser = torch.optim.Adam(net.parameters(), 3e-3)
    losses = []
    for _ in range(20):
        loss = functional.binary_cross_entropy_with_logits(net(x), y)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("build", [lambda: BaseModel(side=96), lambda: CXNet(1)], ids=["base", "cxnet"])
def test_the_binary_form_exposes_both_probabilities(build: type[nn.Module]) -> None:  # 7.8
    torch.manual_seed(0)
    net = build().eval()
    with torch.inference_mode():
        logit = net(torch.rand(3, 3, 96, 96))
        p = logit.sigmoid()
        torch.testing.assert_close(two_classes(logit).softmax(1), torch.cat((1 - p, p), 1))


def test_label_smoothing() -> None:
    """N16: binary, logit 2, truth 1, target 0.95; three classes [2, 0, -1], truth 0."""
    logit, one = torch.tensor([[2.0]]), torch.tensor([1])
    smooth = functional.binary_cross_entropy_with_logits(logit, torch.tensor([[0.95]]))
    assert float(smooth) == pytest.approx(0.226928, abs=1e-6)
    assert float(functional.cross_entropy(two_classes(logit), one, label_smoothing=0.1)) == pytest.approx(
        0.226928, abs=1e-6
    )
    assert float(functional.cross_entropy(two_classes(logit), one)) == pytest.approx(0.126928, abs=1e-6)
    three = torch.tensor([[2.0, 0.0, -1.0]])
    for smoothing, expected in ((0.1, 0.336513), (0.0, 0.169846)):
        loss = functional.cross_entropy(three, torch.tensor([0]), label_smoothing=smoothing)
        assert float(loss) == pytest.approx(expected, abs=1e-6)


def test_heat_for_normal_is_that_of_the_negated_logit() -> None:
    """A form [0, z] would give none at all."""
    torch.manual_seed(1)
    head = nn.Sequential(nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 1)).eval()
    maps = nn.Conv2d(3, 6, 5)(torch.rand(1, 3, 24, 24))
    found = gradcam.heat(lambda here: two_classes(head(here)), maps, 0, 24)
    assert found.any()
    assert np.allclose(found, gradcam.heat(lambda here: -head(here), maps, 0, 24), atol=1e-5)
    assert not np.allclose(found, gradcam.heat(lambda here: two_classes(head(here)), maps, 1, 24), atol=1e-2)
