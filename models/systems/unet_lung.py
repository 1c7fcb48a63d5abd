"""The lung field by the U-Net of paper 004. Input as 7.2: local rank equalisation; mask where p >= 0.5.

Ours, not the paper's: only the two largest parts are kept and their holes filled, since a mask of scraps would send the
crop of the next system astray; where the card says ``mirrored``, p is the mean of the film's and of its mirror image's.
A field of less than 2 % of the film is refused.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.measure import approximate_polygon, find_contours
from torch import Tensor
from torch.nn import functional

from models.api import Card, FloatImage, ImageInput, LungField, Mask, RefusedInput
from models.images import geometry
from models.nets.unet import LungUNet
from models.systems import preparation
from models.systems.loading import load_state, ready
from models.together import Outputs, Pass

SMALLEST_SHARE = 0.02
POINTS_PER_SIDE = 256  # contours are simplified to about 1/256 of the film


class UNetLung:
    def __init__(self, card: Card, device: str) -> None:
        self.card = card
        self._side = int(card.settings["side"])
        self._mirrored = bool(card.settings.get("mirrored", 0))
        self._device = torch.device(device)
        self._net = ready(load_state(LungUNet(), card), self._device)
        self.ask: Pass = self._pass

    def segment(self, image: ImageInput) -> LungField:
        """The lung field in the source matrix; RefusedInput when there is none."""
        p = self.probability(image)
        mask = mask_of(p)
        if mask.mean() < SMALLEST_SHARE:
            raise RefusedInput("No lung field was found in the film.")
        return LungField(mask, contours(mask), self.card.identity)

    def probability(self, image: ImageInput) -> FloatImage:
        """(row, column) probability of lung."""
        picture = preparation.lung_input(preparation.film_u8(image), self._side)
        x = torch.from_numpy(preparation.as_tensor_array(picture))[None].to(self._device)
        return lung_probability(lambda films: self.ask(films)[0], x, image.shape, self._mirrored)

    @torch.inference_mode()
    def _pass(self, x: Tensor) -> Outputs:
        """Logits (N, 1, side, side) of (N, 1, side, side) in 0..1."""
        return (self._net(x),)


@torch.inference_mode()
def lung_probability(net: Callable[[Tensor], Tensor], x: Tensor, shape: tuple[int, int], mirrored: bool) -> FloatImage:
    """(row, column) of ``shape``: probability of lung in the film (1, 1, side, side), or the mean with its mirror
    image's."""
    p = net(x).sigmoid()
    if mirrored:
        p = (p + net(x.flip(-1)).sigmoid().flip(-1)) / 2
    return np.asarray(functional.interpolate(p, shape, mode="bilinear", align_corners=False)[0, 0].cpu().numpy())


def mask_of(p: FloatImage) -> Mask:
    """The two largest parts, filled."""
    return geometry.largest_parts(p >= 0.5, 2)


def contours(mask: Mask) -> tuple[NDArray[np.float32], ...]:
    """Closed outlines (n, 2) of x, y in the source matrix, kept inside it."""
    rows, columns = mask.shape
    padded = np.pad(mask, 1).astype(np.float32)
    tolerance = max(rows, columns) / POINTS_PER_SIDE / 2
    lines = []
    for line in find_contours(padded, 0.5):
        ring = approximate_polygon(line, tolerance) - 1.0
        if len(ring) >= 4:
            lines.append(np.clip(ring[:, ::-1], 0, (columns - 1, rows - 1)).astype(np.float32))
    return tuple(lines)
