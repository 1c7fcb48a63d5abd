"""FC-DenseNet (Jegou et al. 2017), the segmentation network of paper 003 (specification 6.2), in two published sizes.

Input (N, 1, H, W) in 0..1, sides multiples of 32; output (N, 4, H, W) logits of background, heart, left lung, right
lung. ``FCDenseNet103`` is paper 003's (9,319,428 parameters, published side 256); ``FCDenseNet56`` is the small one of
the original paper (growth 12, four layers in every block), which two CPU cores can train.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

FIRST, DROPOUT = 48, 0.2


def layer(inputs: int, growth: int) -> nn.Sequential:
    return nn.Sequential(
        nn.BatchNorm2d(inputs), nn.ReLU(), nn.Conv2d(inputs, growth, 3, padding=1), nn.Dropout2d(DROPOUT)
    )


class DenseBlock(nn.Module):
    """Returns (everything, what the block added)."""

    def __init__(self, inputs: int, layers: int, growth: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layer(inputs + growth * n, growth) for n in range(layers))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        added: list[Tensor] = []
        for one in self.layers:
            added.append(one(torch.cat((x, *added), 1)))
        new = torch.cat(added, 1)
        return torch.cat((x, new), 1), new


def transition_down(width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, width, 1), nn.Dropout2d(DROPOUT), nn.MaxPool2d(2)
    )


class FCDenseNet(nn.Module):
    """``down`` and ``up``: layers of each dense block before and after the bottleneck, as many of either."""

    def __init__(
        self, inputs: int, classes: int, growth: int, down: Sequence[int], bottleneck: int, up: Sequence[int]
    ) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, FIRST, 3, padding=1)
        width, skips = FIRST, []
        self.down, self.shrink = nn.ModuleList(), nn.ModuleList()
        for layers in down:
            self.down.append(DenseBlock(width, layers, growth))
            width += growth * layers
            skips.append(width)
            self.shrink.append(transition_down(width))
        self.bottleneck = DenseBlock(width, bottleneck, growth)
        new = growth * bottleneck
        self.up, self.grow = nn.ModuleList(), nn.ModuleList()
        for layers, skip in zip(up, reversed(skips), strict=True):
            self.grow.append(nn.ConvTranspose2d(new, new, 3, 2))
            self.up.append(DenseBlock(new + skip, layers, growth))
            width, new = new + skip + growth * layers, growth * layers
        self.last = nn.Conv2d(width, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        skips: list[Tensor] = []
        for block, shrink in zip(self.down, self.shrink, strict=True):
            x, _ = block(x)
            skips.append(x)
            x = shrink(x)
        _, new = self.bottleneck(x)
        for grow, block in zip(self.grow, self.up, strict=True):
            skip = skips.pop()
            x, new = block(torch.cat((_centre(grow(new), skip), skip), 1))
        return cast(Tensor, self.last(x))


class FCDenseNet103(FCDenseNet):
    def __init__(self, inputs: int = 1, classes: int = 4) -> None:
        super().__init__(inputs, classes, 16, (4, 5, 7, 10, 12), 15, (12, 10, 7, 5, 4))


class FCDenseNet56(FCDenseNet):
    def __init__(self, inputs: int = 1, classes: int = 4) -> None:
        super().__init__(inputs, classes, 12, (4,) * 5, 4, (4,) * 5)


PROFILES: dict[int, type[FCDenseNet103] | type[FCDenseNet56]] = {103: FCDenseNet103, 56: FCDenseNet56}


def _centre(x: Tensor, like: Tensor) -> Tensor:
    """The transposed convolution gives one row and column too many: the middle of them."""
    rows, columns = like.shape[2:]
    top, left = (x.shape[2] - rows) // 2, (x.shape[3] - columns) // 2
    return x[:, :, top : top + rows, left : left + columns]
