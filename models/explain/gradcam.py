"""Grad-CAM with MONAI's implementation: M = ReLU(sum_k w_k A_k), w_k the mean gradient of the class's logit.

It is asked about what comes after the map alone, with the map that the prediction left: that costs no second pass
through the network, and MONAI's hooks, which cannot be taken off again, lie on a module that ends with the question; so
several lanes may have films explained by one network. MONAI's default post-processing turns the map upside down (its
maximum becomes 0), so ours is always given: scaled to 0..1 by minimum and maximum, an all-zero map stays 0.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from monai.visualize.class_activation_maps import GradCAM
from monai.visualize.visualizer import default_upsampler
from numpy.typing import NDArray
from torch import Tensor, nn

Judge = Callable[[Tensor], Tensor]  # maps (N, C, h, w) -> logits (N, K)


def unit_range(maps: NDArray[np.generic] | Tensor) -> Tensor:
    """Each map of (N, 1, H, W) to 0..1; a constant map becomes 0."""
    values = torch.as_tensor(maps, dtype=torch.float32)
    low, high = values.amin((2, 3), keepdim=True), values.amax((2, 3), keepdim=True)
    return torch.where(high > low, (values - low) / (high - low).clamp_min(1e-12), torch.zeros_like(values))


class _FromMaps(nn.Module):
    """What of a network comes after ``maps``. It registers nothing of the network as its own: what MONAI does to the
    module that it is given happens to no more than this."""

    def __init__(self, judge: Judge) -> None:
        super().__init__()
        self.maps = nn.Identity()
        self._judge: Judge = lambda maps: judge(maps)  # which may be a module, and is not to become a part of this one
        self.eval()

    def forward(self, maps: Tensor) -> Tensor:
        return self._judge(self.maps(maps))


def heat(judge: Judge, maps: Tensor, class_index: int, side: int) -> NDArray[np.float32]:
    """(side, side) in 0..1, the size of the network's input, for the logit ``class_index`` of ``maps`` (1, C, h, w)."""
    explain = GradCAM(
        nn_module=_FromMaps(judge),
        target_layers="maps",
        upsampler=lambda _: default_upsampler((side, side)),
        postprocessing=unit_range,
    )
    with torch.inference_mode(False), torch.enable_grad():
        found = torch.as_tensor(explain(maps.detach().clone().requires_grad_(True), class_idx=class_index))
    return np.array(found[0, 0].detach().cpu().numpy(), dtype=np.float32)
