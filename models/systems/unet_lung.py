"""The lung field by the U-Net of paper 004. Input as 7.2: local rank equalisation; mask where p >= 0.5.

Ours, not the paper's: only the two largest parts are kept and their holes filled, since a mask of scraps would send the
crop of the next system astray. A field of less than 2 % of the film is refused.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.measure import approximate_polygon, find_contours
from torch.nn import functional

from models.api import Card, FloatImage, ImageInput, LungField, Mask, RefusedInput
from models.images import geometry
from models.nets.unet import LungUNet
from models.systems import preparation
from models.systems.loading import load_state, ready

SMALLEST_SHARE = 0.02
POINTS_PER_SIDE = 256  # contours are simplified to about 1/256 of the film


class UNetLung:
    def __init__(self, card: Card, device: str) -> None:
        self.card = card
        self._side = int(card.settings["side"])
        self._device = torch.device(device)
        self._net = ready(load_state(LungUNet(), card), self._device)

    def segment(self, image: ImageInput) -> LungField:
        """The lung field in the source matrix; RefusedInput when there is none."""
        p = self.probability(image)
        mask = geometry.largest_parts(p >= 0.5, 2)
        if mask.mean() < SMALLEST_SHARE:
            raise RefusedInput("No lung field was found in the film.")
        return LungField(mask, contours(mask), self.card.identity)

    @torch.inference_mode()
    def probability(self, image: ImageInput) -> FloatImage:
        """(row, column) probability of lung."""
        picture = preparation.lung_input(preparation.film_u8(image), self._side)
        x = torch.from_numpy(preparation.as_tensor_array(picture))[None].to(self._device)
        p = self._net(x).sigmoid()
        return np.asarray(
            functional.interpolate(p, image.shape, mode="bilinear", align_corners=False)[0, 0].cpu().numpy()
        )


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
