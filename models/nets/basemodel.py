"""The base model of paper 004 (specification 7.7) and the binary form of its networks.

Input (N, 3, S, S) in 0..1: BEASF, CLAHE and original film; S = 320 as published. Output logits (N, 1): p(COVID-19) is
their sigmoid. 63,939 parameters with a first filter of 3 x 3 (the text), 60,035 with 5 x 5 (the released code).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

FILTERS, HIDDEN, CONVOLUTIONS = 32, 10, 5


class BaseModel(nn.Module):
    """Five convolutions with stride 2 and no padding, two layers of ten units, one output."""

    def __init__(self, outputs: int = 1, side: int = 320, first: int = 3) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 3
        for number in range(CONVOLUTIONS):
            kernel = first if number == 0 else 3
            layers += [nn.Conv2d(inputs, FILTERS, kernel, stride=2), nn.ReLU(inplace=True)]
            inputs, side = FILTERS, (side - kernel) // 2 + 1
        self.features = nn.Sequential(*layers)
        self.dense = nn.Sequential(
            nn.Linear(FILTERS * side**2, HIDDEN),
            nn.ReLU(inplace=True),
            nn.Linear(HIDDEN, HIDDEN),
            nn.ReLU(inplace=True),
            nn.Linear(HIDDEN, outputs),
        )

    def maps(self, x: Tensor) -> Tensor:
        """The ReLU of the fifth convolution; (N, 32, 9, 9) at side 320, 4 x 4 at 160."""
        out: Tensor = self.features(x)
        return out

    def judge(self, maps: Tensor) -> Tensor:
        """Logits of ``maps``."""
        out: Tensor = self.dense(maps.flatten(1))
        return out

    def forward(self, x: Tensor) -> Tensor:
        return self.judge(self.maps(x))


def two_classes(logit: Tensor) -> Tensor:
    """(N, 1) of a binary form to (N, 2) whose softmax is [1 - p, p], so that all that is made for classes takes it.

    Half of it on each side, so that heat for "normal" is that of the negated logit and not empty.
    """
    return torch.cat((-logit, logit), dim=1) / 2
