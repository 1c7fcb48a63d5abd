"""CNNRF (paper 000): laboratory indicators predicted from lesion crops of one film, their mean over the lesions.

A crop is a square about a lesion's centre, as wide as the lesion but 16 to 64 pixels of a film whose short side is 512,
resized to 64 x 64, in the pseudo-colour of the whole film's grey values. Nothing here is a laboratory result.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from models.api import Card, ImageInput, Lesion, Measured, Quantity, RefusedInput
from models.images import geometry, intensity
from models.images.intensity import U8
from models.nets.cnnrf import CNNRF
from models.systems import preparation
from models.systems.loading import load_state, ready
from models.together import Outputs, Pass

SIDE = 64  # of the network's input
SMALLEST, LARGEST, FRAME = 16, 64, 512  # pixels of a lesion box, and the film side they are counted in


class CNNRFSystem:
    def __init__(self, card: Card, device: str) -> None:
        self.card = card
        self._device = torch.device(device)
        self._net = ready(load_state(CNNRF(len(card.quantities)), card), self._device)
        self.ask: Pass = self._pass

    def measure(self, image: ImageInput, lesions: tuple[Lesion, ...]) -> Measured:
        """The card's quantities in their order; RefusedInput when no lesion is marked."""
        if not lesions:
            raise RefusedInput("CNNRF reads the surroundings of lesion centres, and no lesion centre is marked.")
        crops = crop_all(preparation.film_u8(image), [(*lesion.centre_px, extent(lesion)) for lesion in lesions])
        x = torch.from_numpy(np.stack([preparation.as_tensor_array(crop) for crop in crops]))
        (each,) = self.ask(x.to(self._device, memory_format=torch.channels_last))
        scaled = each.float().mean(0)
        values = self._net.values(scaled).cpu().tolist()
        pairs = zip(self.card.quantities, values, strict=True)
        quantities = tuple(Quantity(kind, max(0.0, float(value))) for kind, value in pairs)
        return Measured(self.card.identity, quantities, self._notes(len(crops), scaled.cpu().tolist()))

    @torch.inference_mode()
    def _pass(self, x: Tensor) -> Outputs:
        """The scaled indicators (N, quantity) of (N, 3, 64, 64) in 0..1."""
        return (self._net(x),)

    def _notes(self, crops: int, scaled: Sequence[float]) -> tuple[str, ...]:
        notes = [
            f"Predicted from the image alone, not laboratory results. Mean over {crops} lesion "
            f"{'crop' if crops == 1 else 'crops'}."
        ]
        for kind, position in zip(self.card.quantities, scaled, strict=True):
            error, constant = (self.card.settings.get(f"{which}_{kind.name}") for which in ("error", "median_error"))
            if error is not None:
                notes.append(f"{kind.code.meaning}: {_error_sentence(error, constant, kind.unit)}")
            if not 0 <= position <= 1:
                notes.append(f"{kind.code.meaning}: outside the range of the training films.")
        return tuple(notes)


def _error_sentence(error: float, constant: float | None, unit: str) -> str:
    """``constant``: the error of always saying the training films' median."""
    told = f"mean absolute error in the test {error:.3g} {unit}"
    if constant is None:
        return f"{told}."
    beside = "better than" if error < constant else "no better than"
    return f"{told}, {beside} always saying the training median ({constant:.3g} {unit})."


def extent(lesion: Lesion) -> float:
    """The lesion's longer side in source pixels, along rows or columns; by its major axis where it has no outline."""
    if not lesion.outline_px:
        return lesion.axis_lengths_px[0]
    outline = np.asarray(lesion.outline_px)
    return float((outline.max(0) - outline.min(0)).max())


def crop_all(film: U8, squares: Iterable[tuple[float, float, float]]) -> list[U8]:
    """(64, 64, 3) of each square (x, y of its centre, side) in source pixels of the film (row, column)."""
    return [_crop(film, *square) for square in squares]


def _crop(film: U8, x: float, y: float, wanted: float) -> U8:
    """The square is moved inside the film, not padded: what lies beside a film is no tissue."""
    rows, columns = film.shape
    pixel = min(rows, columns) / FRAME
    side = max(2, round(float(np.clip(wanted, SMALLEST * pixel, LARGEST * pixel))))
    top = int(np.clip(round(y - (side - 1) / 2), 0, rows - side))
    left = int(np.clip(round(x - (side - 1) / 2), 0, columns - side))
    crop = geometry.resize_u8(film[top : top + side, left : left + side], SIDE, SIDE, cubic=False)
    return intensity.jet(crop)
