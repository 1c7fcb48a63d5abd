"""The four teachers of CNNCF (paper 000; specification 3.5): deeper plans of its fusion blocks, without a gate.

A plan (M, B1, N, B2) counts blocks: M of kind A and B1 of kind B in Stage I, N and B2 in Stage II; CNNCF itself is
(2, 1, 2, 1). Input (N, 3, S, S) in 0..1 of any S, output logits (N, K) from the average of the last map.

The text leaves open, and we chose: the blocks that CNNCF has keep stride 2, further ones stand at the end of their
group with stride 1; a bottleneck block narrows by 1x1, strides in its 3x3 and widens by 1x1 to four times the width,
beside the same pooled 1x1 path; kind B passes its rectified map on as both inputs of the next block; no predictor and
no control gate, since the released teachers are plain classifiers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from models.nets.cnncf import FusionBlock, xavier

WIDEN = 4  # outputs of a bottleneck block for each unit of its width
WIDTHS = (64, 128, 256, 512)  # of the groups M, B1, N, B2
STRIDE_TWO = (2, 1, 2, 1)  # blocks of each group that halve the side


@dataclass(frozen=True)
class TeacherPlan:
    blocks: tuple[int, int, int, int]  # M, B1, N, B2
    bottleneck: bool


PLANS = {
    "ts1": TeacherPlan((2, 1, 3, 1), bottleneck=False),
    "ts2": TeacherPlan((2, 2, 2, 1), bottleneck=False),
    "ts3": TeacherPlan((3, 1, 2, 1), bottleneck=True),
    "ts4": TeacherPlan((3, 2, 2, 1), bottleneck=True),
}


class BottleneckFusion(nn.Module):
    """FusionBlock with a bottleneck for its bottom path: ``outputs`` = 4 x width. Returns (fused, relu(fused))."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = WIDEN * width
        self.upper = nn.Sequential(
            nn.MaxPool2d(3, stride, padding=1), nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs)
        )
        self.bottom = nn.Sequential(
            nn.Conv2d(inputs, width, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )

    def forward(self, x1: Tensor, x2: Tensor) -> tuple[Tensor, Tensor]:
        fused = self.upper(x1) + self.bottom(x2)
        return fused, fused.relu()


class Group(nn.Module):
    """Blocks of one kind and width in a chain. Kind B (``rectified``) gives its rectified map as both outputs."""

    def __init__(self, blocks: Sequence[nn.Module], rectified: bool) -> None:
        super().__init__()
        self.blocks, self.rectified = nn.ModuleList(blocks), rectified

    def forward(self, x1: Tensor, x2: Tensor) -> tuple[Tensor, Tensor]:
        for block in self.blocks:
            x1, x2 = block(x1, x2)
            if self.rectified:
                x1 = x2
        return x1, x2


class Teacher(nn.Module):
    def __init__(self, plan: TeacherPlan, classes: int = 2) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True))
        self.groups = nn.ModuleList()
        inputs = 64
        for number, (count, width) in enumerate(zip(plan.blocks, WIDTHS, strict=True)):
            blocks = []
            for position in range(count):
                stride = 2 if position < STRIDE_TWO[number] else 1
                blocks.append(_block(inputs, width, stride, plan.bottleneck))
                inputs = width * (WIDEN if plan.bottleneck else 1)
            self.groups.append(Group(blocks, rectified=number % 2 == 1))
        self.head = nn.Linear(inputs, classes)
        self.apply(xavier)

    def maps(self, x: Tensor) -> Tensor:
        """(N, 512 or 2048, S/64, S/64)."""
        x1 = x2 = self.stem(x)
        for group in self.groups:
            x1, x2 = group(x1, x2)
        last: Tensor = x2
        return last

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.maps(x).mean(dim=(2, 3)))
        return out


def _block(inputs: int, width: int, stride: int, bottleneck: bool) -> nn.Module:
    return (BottleneckFusion if bottleneck else FusionBlock)(inputs, width, stride)
