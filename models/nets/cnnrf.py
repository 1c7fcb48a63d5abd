"""CNNRF of paper 000 (specification 3.6): five laboratory values from one lesion crop (N, 3, 64, 64) in 0..1.

Output (N, 5), each indicator scaled to 0..1 by its range in training, which is kept beside the weights together with
the mark of those scaled as log(1 + value). 5,907,525 parameters. The paper has white cells, neutrophil and lymphocyte
percentages, procalcitonin and CRP; which five these are here stands in the card, in the order of the outputs.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.nets.cnncf import Stage

OUTPUTS = 5


class CNNRF(nn.Module):
    def __init__(self, outputs: int = OUTPUTS) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True))
        self.stage = Stage(64, (256, 256, 512), (2, 2, 2))
        self.narrow = nn.Sequential(nn.Linear(512, 256), nn.Linear(256, 128))
        self.skip = nn.Sequential(nn.Conv2d(512, 128, 1, bias=False), nn.BatchNorm2d(128), nn.ReLU(inplace=True))
        self.out = nn.Linear(128, outputs)
        self.register_buffer("low", torch.zeros(outputs))
        self.register_buffer("high", torch.ones(outputs))
        self.register_buffer("logarithmic", torch.zeros(outputs, dtype=torch.bool))

    low: Tensor
    high: Tensor
    logarithmic: Tensor

    def forward(self, x: Tensor) -> Tensor:
        v = self.stage(self.stem(x)).mean(dim=(2, 3), keepdim=True)  # (N, 512, 1, 1)
        h = self.narrow(v.flatten(1)) + self.skip(v).flatten(1)
        out: Tensor = self.out(h)
        return out

    def scaled(self, values: Tensor) -> Tensor:
        """Values (N, outputs) in their own units to the scale of the outputs; NaN stays NaN."""
        return (torch.where(self.logarithmic, values.log1p(), values) - self.low) / (self.high - self.low)

    def values(self, scaled: Tensor) -> Tensor:
        """Scaled outputs in their own units; not clamped to the training range."""
        spread = self.low + scaled * (self.high - self.low)
        return torch.where(self.logarithmic, spread.expm1(), spread)
