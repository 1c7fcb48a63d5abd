"""Grad-CAM with MONAI's implementation: M = ReLU(sum_k w_k A_k), w_k the mean gradient of the class's logit.

MONAI's default post-processing turns the map upside down (its maximum becomes 0), so ours is always given: scaled to
0..1 by minimum and maximum, an all-zero map stays 0.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from monai.visualize.class_activation_maps import GradCAM
from numpy.typing import NDArray
from torch import Tensor, nn


def unit_range(maps: NDArray[np.generic] | Tensor) -> Tensor:
    """Each map of (N, 1, H, W) to 0..1; a constant map becomes 0."""
    values = torch.as_tensor(maps, dtype=torch.float32)
    low, high = values.amin((2, 3), keepdim=True), values.amax((2, 3), keepdim=True)
    return torch.where(high > low, (values - low) / (high - low).clamp_min(1e-12), torch.zeros_like(values))


class LogitView(nn.Module):
    """Gives Grad-CAM one tensor of class logits, whatever the network returns."""

    def __init__(self, net: nn.Module, logits: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.net, self._logits = net, logits
        self._explainers: dict[str, GradCAM] = {}
        self.eval()  # MONAI gives a module back in the mode of its outermost part: a view made for training would
        # switch the network to training, and every later prediction would differ

    def forward(self, x: Tensor) -> Tensor:
        return self._logits(self.net, x)

    def explainer(self, layer: str) -> GradCAM:
        """The one of this layer: MONAI's hooks cannot be taken off again, and each keeps what it saw last."""
        if layer not in self._explainers:
            self._explainers[layer] = GradCAM(nn_module=self, target_layers=layer, postprocessing=unit_range)
        return self._explainers[layer]


def heat(view: LogitView, layer: str, x: Tensor, class_index: int) -> NDArray[np.float32]:
    """(H, W) in 0..1 at the size of the input ``x`` (1, C, H, W) for the logit ``class_index``."""
    explain = view.explainer(layer)
    with torch.enable_grad():
        found = torch.as_tensor(explain(x.clone().requires_grad_(True), class_idx=class_index))
    small = np.array(found[0, 0].detach().cpu().numpy(), dtype=np.float32)
    explain.nn_module.activations.clear()
    explain.nn_module.gradients.clear()
    return small
