"""CNNCF of paper 000 (Liang et al. 2021; specification 3.2 to 3.4): two stages of fusion blocks and a control gate.

Input (N, 3, S, S) in 0..1, S a multiple of 8. The published profile (stride 2 in every block, S = 512) has 7,276,868
parameters for two classes. A smaller S changes only the gate's predictor, whose size is the side of Stage I's map.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

STRIDES_PAPER = (2, 2, 2, 2, 2, 2)
STRIDES_RELEASED = (1, 1, 2, 2, 1, 2)
WIDTHS = (64, 64, 128, 256, 256, 512)  # Stage I: A, A, B; Stage II: A, A, B


class FusionBlock(nn.Module):
    """ResBlock-A (Fig. 6a): pooled 1x1 path + two 3x3 convolutions; 10ab + 9b^2 + 6b parameters.

    Returns (fused, relu(fused)): the two inputs of the next block.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.upper = nn.Sequential(
            nn.MaxPool2d(3, stride, padding=1), nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs)
        )
        self.bottom = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
        )

    def forward(self, x1: Tensor, x2: Tensor) -> tuple[Tensor, Tensor]:
        fused = self.upper(x1) + self.bottom(x2)
        return fused, fused.relu()


class Stage(nn.Module):
    """Blocks A, A, B in a chain; block B gives its rectified map alone."""

    def __init__(self, inputs: int, widths: Sequence[int], strides: Sequence[int]) -> None:
        super().__init__()
        sizes = (inputs, *widths)
        self.blocks = nn.ModuleList(
            FusionBlock(a, b, s) for a, b, s in zip(sizes[:-1], sizes[1:], strides, strict=True)
        )

    def forward(self, x: Tensor) -> Tensor:
        x1 = x2 = x
        for block in self.blocks:
            x1, x2 = block(x1, x2)
        return x2


class ControlGate(nn.Module):
    """The training controller of Fig. 6b. Its state is stored; at inference no label is needed.

    observe: sensitivity of Stage I on the validation cases -> n; num counts passes in a row; the synapse g opens at
    ``th_num``. With ``latch`` an open gate stays open; without, the rule is literal.
    """

    is_open: Tensor
    num: Tensor

    def __init__(self, th_sens: float = 0.90, th_num: int = 3, latch: bool = True) -> None:
        super().__init__()
        self.th_sens, self.th_num, self.latch = th_sens, th_num, latch
        self.register_buffer("is_open", torch.tensor(False))
        self.register_buffer("num", torch.tensor(0))

    def observe(self, sensitivity: float) -> bool:
        """Feed one epoch's sensitivity; returns whether the gate is open now."""
        number = int(self.num) + 1 if sensitivity >= self.th_sens else 0
        self.num.fill_(number)
        self.is_open.fill_(number >= self.th_num or (self.latch and bool(self.is_open)))
        return bool(self.is_open)

    def passes(self, stage_one: Tensor) -> bool:
        """Discriminator: sum(S1 * g) != 0."""
        return bool(self.is_open) and bool(stage_one.detach().sum() != 0)


class StageLogits(NamedTuple):
    one: Tensor  # (N, K)
    two: Tensor  # (N, K)


class CNNCF(nn.Module):
    """Both stages' logits. Which one decides is the caller's: Stage II when ``gate.is_open``, else Stage I."""

    def __init__(self, classes: int = 2, side: int = 512, strides: Sequence[int] = STRIDES_PAPER) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True))
        self.stage_one = Stage(64, WIDTHS[:3], strides[:3])
        self.gate = ControlGate()
        shrink = strides[0] * strides[1] * strides[2]
        self.predictor = nn.Linear(WIDTHS[2] * (side // shrink) ** 2, classes)
        self.stage_two = Stage(WIDTHS[2], WIDTHS[3:], strides[3:])
        self.head = nn.Linear(WIDTHS[5], classes)
        self.apply(xavier)

    def maps(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 128, S/8, S/8) of Stage I and (N, 512, S/64, S/64) of Stage II."""
        one: Tensor = self.stage_one(self.stem(x))
        two: Tensor = self.stage_two(one)
        return one, two

    def judge_one(self, maps: Tensor) -> Tensor:
        """Logits of the map of Stage I."""
        out: Tensor = self.predictor(maps.flatten(1))
        return out

    def judge_two(self, maps: Tensor) -> Tensor:
        """Logits of the map of Stage II."""
        out: Tensor = self.head(maps.mean(dim=(2, 3)))
        return out

    def forward(self, x: Tensor) -> StageLogits:
        one, two = self.maps(x)
        return StageLogits(self.judge_one(one), self.judge_two(two))

    def forward_stage_one(self, x: Tensor) -> Tensor:
        """Phase 1 of training: the predictor alone, (N, K)."""
        return self.judge_one(self.stage_one(self.stem(x)))


class CTReduce(nn.Module):
    """(N, 300, H, W) -> (N, 3, H, W): one 1x1 kernel per group of 100 slices, started as their mean (303 weights)."""

    def __init__(self, slices: int = 300, groups: int = 3) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(slices, 3, 1, groups=groups)
        nn.init.constant_(self.reduce.weight, groups / slices)
        nn.init.zeros_(self.reduce.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.reduce(x)
        return out


def xavier(module: nn.Module) -> None:
    """Xavier-uniform weights for convolutions and linear layers (paper 000)."""
    if isinstance(module, (nn.Conv2d, nn.Linear)):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
