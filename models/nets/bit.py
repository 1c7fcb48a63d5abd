"""BiT ResNet-50x1 v2 of paper 001 (specification 4.2): weight-standardised convolutions and group normalisation.

Input (N, 3, H, W) in -1..1, published 480 x 480; output (N, K) logits; 23,506,499 parameters for three classes. The
head starts at zero, so that a new network gives every class the same probability.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

UNITS, WIDTHS, GROUPS = (3, 4, 6, 3), (256, 512, 1024, 2048), 32
EPSILON = 1e-10  # of the standardisation


class WSConv2d(nn.Conv2d):
    """Each filter is standardised over its inputs and its area before it is used."""

    def forward(self, x: Tensor) -> Tensor:
        return functional.conv2d(x, standardised(self.weight), self.bias, self.stride, self.padding)


def standardised(weight: Tensor) -> Tensor:
    """(out, in, kh, kw) with mean 0 and standard deviation 1 in each filter."""
    variance, mean = torch.var_mean(weight, dim=(1, 2, 3), keepdim=True, correction=0)
    return (weight - mean) / torch.sqrt(variance + EPSILON)


class Unit(nn.Module):
    """Pre-activation bottleneck; the projection, in the first unit of a block, takes the activated input."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        middle = outputs // 4
        self.norm1 = nn.GroupNorm(GROUPS, inputs)
        self.conv1 = WSConv2d(inputs, middle, 1, bias=False)
        self.norm2 = nn.GroupNorm(GROUPS, middle)
        self.conv2 = WSConv2d(middle, middle, 3, stride, 1, bias=False)
        self.norm3 = nn.GroupNorm(GROUPS, middle)
        self.conv3 = WSConv2d(middle, outputs, 1, bias=False)
        changes = stride != 1 or inputs != outputs
        self.projection = WSConv2d(inputs, outputs, 1, stride, bias=False) if changes else None

    def forward(self, x: Tensor) -> Tensor:
        active = self.norm1(x).relu()
        kept = x if self.projection is None else self.projection(active)
        out: Tensor = self.conv1(active)
        out = self.conv2(self.norm2(out).relu())
        out = self.conv3(self.norm3(out).relu())
        return kept + out


class BiTResNet50(nn.Module):
    """Grad-CAM explains ``maps``."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.root = nn.Sequential(
            WSConv2d(3, 64, 7, 2, 3, bias=False), nn.ConstantPad2d(1, 0.0), nn.MaxPool2d(3, 2)
        )  # zeros, not the pooling's own padding, whose border is minus infinity
        sizes = (64, *WIDTHS)
        self.blocks = nn.ModuleList(
            nn.Sequential(*(Unit(a if n == 0 else b, b, (1 if i == 0 else 2) if n == 0 else 1) for n in range(units)))
            for i, (a, b, units) in enumerate(zip(sizes[:-1], sizes[1:], UNITS, strict=True))
        )
        self.norm = nn.GroupNorm(GROUPS, WIDTHS[-1])
        self.head = nn.Conv2d(WIDTHS[-1], classes, 1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]

    def maps(self, x: Tensor) -> Tensor:
        """(N, 2048, H/32, W/32), the output of the last block."""
        x = self.root(x)
        for block in self.blocks:
            x = block(x)
        return x

    def pooled(self, maps: Tensor) -> Tensor:
        """(N, 2048) of ``maps``: after the last activation, averaged."""
        out: Tensor = self.norm(maps).relu().mean(dim=(2, 3))
        return out

    def judge(self, maps: Tensor) -> Tensor:
        """(N, K) logits of ``maps``."""
        out: Tensor = self.head(self.pooled(maps)[:, :, None, None])
        return out.flatten(1)

    def features(self, x: Tensor) -> Tensor:
        """(N, 2048)"""
        return self.pooled(self.maps(x))

    def forward(self, x: Tensor) -> Tensor:
        return self.judge(self.maps(x))
