"""Architectures of the later systems: parameter counts and shapes (N11 to N13)."""

from __future__ import annotations

import pytest
import torch
from monai.networks.nets.resnet import resnet18
from torch import nn

from models.nets.bit import BiTResNet50, standardised
from models.nets.cnnrf import CNNRF
from models.nets.fcdensenet import FCDenseNet103
from models.nets.twostep import TwoStepNet


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_totals() -> None:  # N11
    assert count(CNNRF()) == 5_907_525
    assert count(BiTResNet50(3)) == 23_506_499
    assert (count(TwoStepNet(2)), count(TwoStepNet(3)), count(TwoStepNet(4))) == (234_002, 234_131, 234_260)
    assert count(FCDenseNet103()) == 9_319_428
    assert count(FCDenseNet103(3, 11)) == 9_322_091
    net = resnet18(spatial_dims=2, n_input_channels=3, num_classes=4, conv1_t_stride=2, bias_downsample=False)
    assert count(net) == 11_178_564


def test_parts_of_bit() -> None:
    net = BiTResNet50()
    assert [count(block) for block in net.blocks] == [214_912, 1_218_048, 7_095_296, 14_958_592]
    assert count(net.root) == 9_408


def test_fc_densenet_has_103_convolutions() -> None:
    kinds = (nn.Conv2d, nn.ConvTranspose2d)
    assert sum(isinstance(module, kinds) for module in FCDenseNet103().modules()) == 103


def test_shapes() -> None:  # N12, at smaller sides
    with torch.inference_mode():
        bit = BiTResNet50().eval()
        x = bit.root(torch.rand(1, 3, 96, 96))
        assert x.shape == (1, 64, 24, 24)
        for block, side, width in zip(bit.blocks, (24, 12, 6, 3), (256, 512, 1024, 2048), strict=True):
            x = block(x)
            assert x.shape == (1, width, side, side)
        assert bit.features(torch.rand(2, 3, 96, 96)).shape == (2, 2048)
        assert FCDenseNet103().eval()(torch.rand(1, 1, 64, 96)).shape == (1, 4, 64, 96)
        two = TwoStepNet().eval()
        assert two.last_map(two.third(two.second(two.first(torch.rand(1, 3, 64, 64))))).shape == (1, 128, 16, 16)
        assert CNNRF().eval()(torch.rand(2, 3, 64, 64)).shape == (2, 5)


def test_standardised_filters_and_the_zero_head() -> None:  # N13
    weight = standardised(torch.randn(8, 3, 5, 5) * 7 + 3)
    assert weight.mean((1, 2, 3)).abs().max() < 1e-6
    assert (weight.std((1, 2, 3), correction=0) - 1).abs().max() < 1e-4
    p = BiTResNet50(3).eval()(torch.rand(2, 3, 64, 64)).softmax(1)
    assert torch.allclose(p, torch.full((2, 3), 1 / 3))


def test_cnnrf_gives_values_in_their_own_units() -> None:
    net = CNNRF()
    net.low.fill_(2.0)
    net.high.fill_(12.0)
    assert net.values(torch.tensor([[0.0, 0.5, 1.0, 1.5, -0.1]])).tolist() == [pytest.approx([2, 7, 12, 17, 1])]


@pytest.mark.parametrize("build", [CNNRF, BiTResNet50, TwoStepNet], ids=lambda kind: kind.__name__)
def test_two_films_at_once_are_as_each_alone(build: type[nn.Module]) -> None:  # N38
    torch.manual_seed(0)
    net = build().eval()
    x = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(torch.cat([net(x[:1]), net(x[1:])]), net(x), rtol=1e-4, atol=1e-5)
