"""The lung U-Net of COVID-CXNet (models.md 7.2; Haghanifar et al. 2020): 7,759,521 parameters.

Input (N, 1, H, W) in 0..1, H and W multiples of 16; output (N, 1, H, W) logits.
"""

from __future__ import annotations

from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn

WIDTHS = (32, 64, 128, 256, 512)


def _double(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(outputs, outputs, 3, padding=1),
        nn.ReLU(inplace=True),
    )


class LungUNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down = nn.ModuleList(_double(a, b) for a, b in zip((1, *WIDTHS[:-1]), WIDTHS, strict=True))
        falling = WIDTHS[::-1]
        self.up = nn.ModuleList(nn.ConvTranspose2d(a, b, 2, stride=2) for a, b in pairwise(falling))
        self.merge = nn.ModuleList(_double(2 * b, b) for b in falling[1:])
        self.last = nn.Conv2d(WIDTHS[0], 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        skips: list[Tensor] = []
        for level in self.down:
            x = level(x if not skips else nn.functional.max_pool2d(x, 2))
            skips.append(x)
        for up, merge, skip in zip(self.up, self.merge, skips[-2::-1], strict=True):
            x = merge(torch.cat((up(x), skip), dim=1))
        return cast(Tensor, self.last(x))
