"""Losses of the papers (specification N16, N17). Logits in, scalar out."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def dice_and_bce(logits: Tensor, target: Tensor) -> Tensor:
    """1 - Dice (per film, +1 smoothing) + binary cross-entropy; both (N, 1, H, W)."""
    p = logits.sigmoid()
    dice = 1 - (2 * (p * target).sum((1, 2, 3)) + 1) / ((p + target).sum((1, 2, 3)) + 1)
    return dice.mean() + functional.binary_cross_entropy_with_logits(logits, target)


def balanced_weights(counts: Tensor) -> Tensor:
    """n / (K n_c): each class weighs the same in sum (paper 004)."""
    return counts.sum() / (len(counts) * counts.to(torch.float32))


def distillation(student: Tensor, teacher: Tensor, target: Tensor, alpha: float, temperature: float) -> Tensor:
    """a T^2 KL(teacher / T || student / T) + (1 - a) CE (paper 000)."""
    soft = functional.kl_div(
        (student / temperature).log_softmax(1), (teacher / temperature).softmax(1), reduction="batchmean"
    )
    return alpha * temperature**2 * soft + (1 - alpha) * functional.cross_entropy(student, target)
