"""FC-DenseNet (paper 003): both lungs and the heart of one film, and the biomarkers that follow from them.

Ours, not the paper's: probabilities are brought to the film's matrix before the most probable class is taken, of each
lung and of the heart only the largest part is kept, and a lung field of less than 2 % of the film is refused.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from models.api import Card, ImageInput, LungField, Mask, Quantity, RefusedInput
from models.images import biomarkers, geometry, patching
from models.images.intensity import U8
from models.nets.fcdensenet import PROFILES
from models.systems import preparation
from models.systems.loading import load_state, ready
from models.systems.unet_lung import SMALLEST_SHARE, contours
from models.together import Outputs, Pass

BACKGROUND, HEART, LEFT, RIGHT = range(4)  # the network's classes; left is the patient's, at the film's right
ONE_LUNG = "Only one lung was found; the diameters and the cardiothoracic ratio are not given."
SMALLEST_HEART, PLAUSIBLE_RATIO = 0.12, (0.3, 0.9)  # share of the lung field, cardiothoracic ratio
POOR_HEART = "The heart was found only in part; its diameter and the cardiothoracic ratio are not given."
NO_HEART = "No heart was found; the cardiothoracic ratio is not given."


@dataclass(frozen=True)
class Regions:
    """Masks (row, column) in the film's matrix; no pixel belongs to two."""

    left: Mask
    right: Mask
    heart: Mask

    @property
    def lungs(self) -> Mask:
        return self.left | self.right


def picture(film: U8, side: int) -> U8:
    """(side, side) grey values of the whole film: equalised, gamma 0.5, resized (6.1)."""
    return geometry.resize_u8(patching.equalised_u8(film), side, side)


def regions(logits: Tensor, shape: tuple[int, int]) -> Regions:
    """The most probable class of every pixel of the film, from (1, 4, side, side) logits."""
    p = functional.interpolate(logits.float().softmax(1), shape, mode="bilinear", align_corners=False)
    labels = p[0].argmax(0).cpu().numpy()
    left, right = (geometry.largest_parts(labels == number, 1) for number in (LEFT, RIGHT))
    right = right & ~left  # filling a hole may have taken a pixel of the other
    heart = geometry.largest_parts(labels == HEART, 1) & ~(left | right)
    return Regions(left, right, heart)


class FCDenseNetSegmenter:
    def __init__(self, card: Card, device: str) -> None:
        self.card = card
        self._side = int(card.settings["side"])
        self._device = torch.device(device)
        self._net = ready(load_state(PROFILES[int(card.settings["layers"])](), card), self._device)
        self.ask: Pass = self._pass

    def segment(self, image: ImageInput) -> LungField:
        """Lungs, heart and biomarkers in the source matrix; RefusedInput when there is no lung field."""
        film = preparation.film_u8(image)
        x = torch.from_numpy(preparation.as_tensor_array(picture(film, self._side)))[None]
        (logits,) = self.ask(x.to(self._device, memory_format=torch.channels_last))
        found = regions(logits, image.shape)
        lungs = found.lungs
        if lungs.mean() < SMALLEST_SHARE:
            raise RefusedInput("No lung field was found in the film.")
        heart = found.heart if found.heart.any() else None
        quantities, notes = self._quantities(image, film, found)
        is_whole = POOR_HEART not in notes
        return LungField(lungs, contours(lungs), self.card.identity, notes, heart, quantities, is_whole)

    @torch.inference_mode()
    def _pass(self, x: Tensor) -> Outputs:
        """Logits (N, 4, side, side) of (N, 1, side, side) in 0..1."""
        return (self._net(x),)

    def _quantities(self, image: ImageInput, film: U8, found: Regions) -> tuple[tuple[Quantity, ...], tuple[str, ...]]:
        spacing = image.spacing_mm[1] if image.spacing_mm is not None else None
        values = biomarkers.measure(patching.equalised(film), found.lungs, found.heart, spacing)
        notes = () if found.heart.any() else (NO_HEART,)
        if not (found.left.any() and found.right.any()):
            values = {name: value for name, value in values.items() if name.startswith("lung_")}
            notes = (ONE_LUNG,)
        elif _is_poor(values, found):
            values = {n: v for n, v in values.items() if not n.startswith(("cardiac_", "cardiothoracic_"))}
            notes = (POOR_HEART,)
        kinds = self.card.quantities
        return tuple(Quantity(kind, values[kind.name]) for kind in kinds if kind.name in values), notes


def _is_poor(values: dict[str, float], found: Regions) -> bool:
    """Whether the heart is a scrap: on films with consolidated lungs the network often misses most of it."""
    ratio = values.get("cardiothoracic_ratio")
    if ratio is None:
        return False
    low, high = PLAUSIBLE_RATIO
    return bool(found.heart.sum() < SMALLEST_HEART * found.lungs.sum()) or not low <= ratio <= high
