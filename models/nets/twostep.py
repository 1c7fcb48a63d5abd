"""The small network of paper 002 (specification 5.2): three convolutions, four dense layers, (N, 3, 64, 64) in 0..1.

Output (N, K) logits; 234,131 parameters for the three classes of either step. ``last_map`` is the rectified third
convolution (N, 128, 16, 16), before its pooling, which the paper's activation map weighs.
"""

from __future__ import annotations

from torch import Tensor, nn


class TwoStepNet(nn.Module):
    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2))
        self.second = nn.Sequential(nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2))
        self.third = nn.Conv2d(64, 128, 3, padding=1)
        self.last_map = nn.ReLU()
        self.pool = nn.MaxPool2d(2)
        self.dense = nn.Sequential(
            nn.Dropout(0.5),
            nn.Linear(8192, 16),
            nn.ReLU(inplace=True),
            nn.Linear(16, 64),
            nn.ReLU(inplace=True),
            nn.Linear(64, 128),
            nn.ReLU(inplace=True),
            nn.Linear(128, classes),
        )

    def maps(self, x: Tensor) -> Tensor:
        out: Tensor = self.last_map(self.third(self.second(self.first(x))))
        return out

    def judge(self, maps: Tensor) -> Tensor:
        """Logits of ``maps``."""
        out: Tensor = self.dense(self.pool(maps).flatten(1))
        return out

    def forward(self, x: Tensor) -> Tensor:
        return self.judge(self.maps(x))
