"""COVID-CXNet (paper 004; specification 7.5): DenseNet-121 backbone, 10-unit layer, dropout, classes.

Input (N, 3, H, W) in 0..1: BEASF, CLAHE and original film. Output logits: (N, 1) for the binary form (6,964,117
parameters) or (N, 3) for normal, pneumonia, COVID-19 (6,964,139). The ReLU after the 10 units is the released code's.
"""

from __future__ import annotations

from typing import cast

from monai.networks.nets.densenet import DenseNet121
from torch import Tensor, nn


class CXNet(nn.Module):
    """``last_map`` is the ReLU whose output (N, 1024, H/32, W/32) Grad-CAM explains."""

    def __init__(self, outputs: int = 3) -> None:
        super().__init__()
        self.features = cast(nn.Module, DenseNet121(spatial_dims=2, in_channels=3, out_channels=1).features)
        self.last_map = nn.ReLU()
        self.hidden = nn.Linear(1024, 10)
        self.dropout = nn.Dropout(0.2)
        self.classes = nn.Linear(10, outputs)

    def maps(self, x: Tensor) -> Tensor:
        """(N, 1024, H/32, W/32)"""
        return cast(Tensor, self.last_map(self.features(x)))

    def judge(self, maps: Tensor) -> Tensor:
        """Logits of ``maps``."""
        pooled = maps.mean(dim=(2, 3))  # (N, 1024)
        return cast(Tensor, self.classes(self.dropout(self.hidden(pooled).relu())))

    def forward(self, x: Tensor) -> Tensor:
        return self.judge(self.maps(x))
