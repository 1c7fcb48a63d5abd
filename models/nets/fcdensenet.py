"""FC-DenseNet103 of paper 003 (specification 6.2): dense blocks down, a bottleneck, dense blocks up over skips.

Input (N, 1, H, W) in 0..1, sides multiples of 32, published 256; output (N, 4, H, W) logits of background, heart, left
lung, right lung. 9,319,428 parameters.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

GROWTH, FIRST, DOWN, BOTTLENECK, UP = 16, 48, (4, 5, 7, 10, 12), 15, (12, 10, 7, 5, 4)
DROPOUT = 0.2


def layer(inputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.BatchNorm2d(inputs), nn.ReLU(), nn.Conv2d(inputs, GROWTH, 3, padding=1), nn.Dropout2d(DROPOUT)
    )


class DenseBlock(nn.Module):
    """Returns (everything, what the block added)."""

    def __init__(self, inputs: int, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layer(inputs + GROWTH * n) for n in range(layers))

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


class FCDenseNet103(nn.Module):
    def __init__(self, inputs: int = 1, classes: int = 4, down: Sequence[int] = DOWN, up: Sequence[int] = UP) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, FIRST, 3, padding=1)
        width, skips = FIRST, []
        self.down, self.shrink = nn.ModuleList(), nn.ModuleList()
        for layers in down:
            self.down.append(DenseBlock(width, layers))
            width += GROWTH * layers
            skips.append(width)
            self.shrink.append(transition_down(width))
        self.bottleneck = DenseBlock(width, BOTTLENECK)
        new = GROWTH * BOTTLENECK
        self.up, self.grow = nn.ModuleList(), nn.ModuleList()
        for layers, skip in zip(up, reversed(skips), strict=True):
            self.grow.append(nn.ConvTranspose2d(new, new, 3, 2))
            self.up.append(DenseBlock(new + skip, layers))
            width, new = new + skip + GROWTH * layers, GROWTH * layers
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


def _centre(x: Tensor, like: Tensor) -> Tensor:
    """The transposed convolution gives one row and column too many: the middle of them."""
    rows, columns = like.shape[2:]
    top, left = (x.shape[2] - rows) // 2, (x.shape[3] - columns) // 2
    return x[:, :, top : top + rows, left : left + columns]
