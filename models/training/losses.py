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


def abnormal_first(logits: Tensor, target: Tensor, smoothing: float = 0.1, fine: float = 0.3) -> Tensor:
    """Cross-entropy of normal (class 0) against the rest, plus ``fine`` times that of all classes.

    Pneumonia films come from the source of the normal ones, COVID-19 films from others: telling normal from abnormal
    cannot be learnt by telling the source, so it weighs most.
    """
    abnormal = torch.logsumexp(logits[:, 1:], 1) - logits[:, 0]
    wanted = (target > 0).to(logits.dtype) * (1 - smoothing) + smoothing / 2
    coarse = functional.binary_cross_entropy_with_logits(abnormal, wanted)
    return coarse + fine * functional.cross_entropy(logits, target, label_smoothing=smoothing)
