"""Saliency of a patch classifier (paper 003, specification 6.5): Grad-CAM of every patch, put together over the film.

S = sum_k a_k CAM_k / (sum_k 1_k + 1e-7); a_k is 1 ("mean") or the patch's probability of the class ("probabilistic");
what no patch covered is 0. The gradient is taken from the map to the logits only, so it costs no second pass.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from models.explain.gradcam import unit_range

Mode = Literal["mean", "probabilistic"]


def grad_cams(head: Callable[[Tensor], Tensor], maps: Tensor, class_index: int, side: int) -> NDArray[np.float32]:
    """(N, side, side) in 0..1: Grad-CAM of each patch for the logit ``class_index``; ``head``: maps -> logits.

    Each equals ``gradcam.heat`` of that patch alone: patches do not meet in an evaluated network.
    """
    with torch.inference_mode(False), torch.enable_grad():
        leaf = maps.detach().clone().requires_grad_(True)
        (gradient,) = torch.autograd.grad(head(leaf)[:, class_index].sum(), leaf)
    found = (gradient.mean((2, 3), keepdim=True) * maps).sum(1, keepdim=True).relu()
    large = functional.interpolate(found, (side, side), mode="bilinear", align_corners=False)
    return np.asarray(unit_range(large)[:, 0].cpu().numpy(), dtype=np.float32)


def saliency(
    shape: tuple[int, int],
    corners: NDArray[np.int64],
    cams: NDArray[np.float32],
    p: NDArray[np.float64] | None = None,
    mode: Mode = "mean",
) -> NDArray[np.float32]:
    """(row, column) in 0..1. ``corners``: (n, 2) row and column of each patch's first pixel, which may lie outside.

    ``p``: (n) probability of the class in each patch, needed by "probabilistic" alone.
    """
    if mode == "probabilistic" and p is None:
        raise ValueError("probabilistic saliency weighs by probabilities")
    weights = np.ones(len(cams)) if mode == "mean" or p is None else p
    rows, columns = cams.shape[1:]
    total = np.zeros((shape[0] + 2 * rows, shape[1] + 2 * columns))  # a frame of one patch holds what sticks out
    covered = np.zeros_like(total)
    for (row, column), cam, weight in zip(corners.tolist(), cams, weights, strict=True):
        here = np.s_[row + rows : row + 2 * rows, column + columns : column + 2 * columns]
        total[here] += weight * cam
        covered[here] += 1
    inner = np.s_[rows : rows + shape[0], columns : columns + shape[1]]
    return np.asarray(total[inner] / (covered[inner] + 1e-7), dtype=np.float32)
