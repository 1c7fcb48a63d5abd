"""Architectures: parameter counts, shapes, gate and losses of the specification (N3, N10 to N12, N14, N15, N38).

Does not say whether the shipped weights are any good; docs/models.md does.
"""

import pytest
import torch
from torch import nn

from models.nets.cnncf import CNNCF, STRIDES_RELEASED, ControlGate, CTReduce, FusionBlock
from models.nets.cxnet import CXNet
from models.nets.unet import LungUNet


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("a", "b", "wanted"),
    [(64, 64, 78_208), (64, 128, 230_144), (128, 256, 919_040), (256, 256, 1_246_720), (256, 512, 3_673_088)],
)
def test_fusion_block_parameters(a: int, b: int, wanted: int) -> None:  # N10
    assert count(FusionBlock(a, b, 2)) == wanted


def test_fusion_block_outputs() -> None:  # N10
    block = FusionBlock(4, 8, 2).eval()
    out1, out2 = block(torch.randn(1, 4, 11, 11), torch.randn(1, 4, 11, 11))
    assert out1.shape == (1, 8, 6, 6) and (out1 < 0).any() and torch.equal(out2, out1.relu())


def test_totals() -> None:  # N11
    assert count(CNNCF()) == 7_276_868
    assert count(CNNCF(classes=3)) == 7_801_670
    assert count(CNNCF()) - count(CNNCF().predictor) == 6_228_290
    assert count(CNNCF(side=64).predictor) == 16_386
    assert count(CNNCF(strides=STRIDES_RELEASED)) == 23_005_508
    assert count(CTReduce()) == 303
    assert count(LungUNet()) == 7_759_521
    assert (count(CXNet(1)), count(CXNet(3))) == (6_964_117, 6_964_139)


def test_shapes() -> None:  # N12, at a quarter of the published side
    net = CNNCF(side=128).eval()
    with torch.inference_mode():
        one = net.stage_one(net.stem(torch.rand(1, 3, 128, 128)))
        assert one.shape == (1, 128, 16, 16) and net.stage_two(one).shape == (1, 512, 2, 2)
        cxnet = CXNet().eval()
        assert cxnet.last_map(cxnet.features(torch.rand(1, 3, 320, 320))).shape == (1, 1024, 10, 10)
        assert LungUNet().eval()(torch.rand(1, 1, 64, 96)).shape == (1, 1, 64, 96)


def test_ct_reduction_starts_as_the_mean_of_each_group() -> None:  # N3
    volume = torch.arange(300.0)[None, :, None, None].expand(1, 300, 2, 2)
    out = CTReduce()(volume)[0, :, 0, 0]
    torch.testing.assert_close(out, torch.tensor([49.5, 149.5, 249.5]), rtol=1e-5, atol=1e-4)


def test_gate_sequence() -> None:  # N15
    wanted_num, wanted_g, latched = [1, 2, 0, 1, 2, 3, 0], [0, 0, 0, 0, 0, 1, 0], [0, 0, 0, 0, 0, 1, 1]
    for latch, wanted in ((False, wanted_g), (True, latched)):
        gate = ControlGate(latch=latch)
        seen = [(gate.observe(s), int(gate.num)) for s in (0.95, 0.92, 0.85, 0.90, 0.95, 0.97, 0.80)]
        assert [int(g) for g, _ in seen] == wanted and [n for _, n in seen] == wanted_num


def test_gate_passes_only_open_and_not_empty() -> None:  # N15
    gate = ControlGate()
    assert not gate.passes(torch.ones(2))
    gate.is_open.fill_(True)
    assert gate.passes(torch.ones(2)) and not gate.passes(torch.zeros(2))


def test_xavier_bound() -> None:  # N14
    weight = CNNCF().head.weight
    assert weight.abs().max() <= 0.10804 + 1e-4 and weight.abs().max() > 0.10


@pytest.mark.parametrize("build", [lambda: CNNCF(side=64), lambda: CXNet(3), LungUNet])
def test_batch_equals_single_and_state_survives(build: type[nn.Module], tmp_path: object) -> None:  # N38
    torch.manual_seed(0)
    net, twin = build().eval(), build().eval()
    channels = 1 if isinstance(net, LungUNet) else 3
    x = torch.rand(2, channels, 64, 64)
    twin.load_state_dict(net.state_dict())
    with torch.inference_mode():
        whole, copy = net(x), twin(x)
        single = [net(x[i : i + 1]) for i in range(2)]
    outputs = (whole, copy, *single)
    whole, copy, first, second = (o[-1] if isinstance(o, tuple) else o for o in outputs)
    assert torch.equal(whole, copy)
    torch.testing.assert_close(torch.cat((first, second)), whole, rtol=1e-4, atol=1e-5)
