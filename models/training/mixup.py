"""Mixup (paper 001, eq. 1): one share for the whole batch, drawn from Beta(0.1, 0.1); most batches stay nearly pure."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

ALPHA = 0.1


def draw_share(random: torch.Generator, alpha: float = ALPHA) -> float:
    """Beta(alpha, alpha), 0..1. Torch's own Beta takes no generator; this one is seeded from it."""
    seed = int(torch.randint(2**62, (), generator=random))
    return float(np.random.default_rng(seed).beta(alpha, alpha))


def mixed(x: Tensor, order: Tensor, share: float) -> Tensor:
    """share x + (1 - share) x[order], along the first axis."""
    return share * x + (1 - share) * x[order]


def mixed_cross_entropy(logits: Tensor, target: Tensor, order: Tensor, share: float) -> Tensor:
    """share CE(target) + (1 - share) CE(target[order])."""
    return share * functional.cross_entropy(logits, target) + (1 - share) * functional.cross_entropy(
        logits, target[order]
    )
