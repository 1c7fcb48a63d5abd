"""A scripted system that finds what is bright in the pixels it is given, and says where, in their own frame.

It stands for the systems of ``models.api`` where the question is what becomes of a place on its way through the node.
It knows no phantom: what it says it has seen. ``given`` keeps what it was shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import find_contours

from models.api import (
    Card,
    ClassScore,
    Code,
    ImageInput,
    Lesion,
    LungField,
    LungPart,
    ModelIdentity,
    Prediction,
    SliceFinding,
    VolumeField,
    VolumeInput,
)

NORMAL, COVID = Code("17621005", "SCT", "Normal"), Code("840539006", "SCT", "COVID-19")
BRIGHT_HU, LUNG_HU = 400.0, (-950.0, -500.0)
BRIGHT_SHARE = 0.85  # of the range of a film
BOTH = np.ones((3, 3, 3), bool)


class Finder:
    """Segmenter, film system, CT system and volume segmenter in one."""

    def __init__(self, system: str, kind: str) -> None:
        self.card = Card(
            system, f"Finder {system}", "1", kind, "no paper", Path("none"), "e" * 64, "none", ("normal", "covid19"),
            (NORMAL, COVID), 0.5, {}, "",
        )  # fmt: skip
        self.given: list[ImageInput | VolumeInput] = []

    @property
    def identity(self) -> ModelIdentity:
        return self.card.identity

    def predict(self, given: ImageInput | VolumeInput, lungs: LungField | None = None) -> Prediction:
        self.given.append(given)
        return self._film(given) if isinstance(given, ImageInput) else self._series(given)

    def segment(self, given: ImageInput | VolumeInput) -> LungField | VolumeField:
        if isinstance(given, ImageInput):
            return LungField(np.zeros(given.shape, np.bool_), (), self.identity)
        lung = (given.voxels > LUNG_HU[0]) & (given.voxels < LUNG_HU[1])
        parts = np.where(lung, LungPart.RIGHT, 0).astype(np.uint8)
        parts[..., parts.shape[2] // 2 :][lung[..., parts.shape[2] // 2 :]] = LungPart.LEFT
        return VolumeField(parts, self.identity)

    def _scores(self, found: bool) -> tuple[ClassScore, ...]:
        return (
            ClassScore("normal", 1.0 - found, not found, 0.5, NORMAL),
            ClassScore("covid19", float(found), found, 0.5, COVID),
        )

    def _film(self, image: ImageInput) -> Prediction:
        low, high = float(image.pixels.min()), float(image.pixels.max())
        bright = image.pixels > low + BRIGHT_SHARE * (high - low)
        lesions = lesions_of(bright)
        return Prediction(
            self.identity, self._scores(bool(lesions)), "covid19" if lesions else "normal", "bright or not",
            heat_of(bright), "covid19", 1.0, lesions,
        )  # fmt: skip

    def _series(self, volume: VolumeInput) -> Prediction:
        """Each bright body is shown on the slice where it is widest."""
        bright = volume.voxels > BRIGHT_HU
        labels, count = ndimage.label(bright, BOTH)
        shown: dict[int, NDArray[np.bool_]] = {}
        for number in range(1, count + 1):
            areas = (labels == number).sum(axis=(1, 2))
            index = int(np.argmax(areas))
            shown[index] = shown.get(index, np.zeros(labels.shape[1:], bool)) | (labels[index] == number)
        slices = tuple(self._slice(volume, index, shown.get(index)) for index in range(len(volume.voxels)))
        return Prediction(
            self.identity, self._scores(bool(shown)), "covid19" if shown else "normal", "bright or not",
            heat_class="covid19", slices=slices,
        )  # fmt: skip

    def _slice(self, volume: VolumeInput, index: int, bright: NDArray[np.bool_] | None) -> SliceFinding:
        uid = volume.slice_uids[index]
        if bright is None:
            return SliceFinding(index, uid, (1.0, 0.0))
        return SliceFinding(index, uid, (0.0, 1.0), heat_of(bright), lesions_of(bright), key=True)


def lesions_of(bright: NDArray[np.bool_]) -> tuple[Lesion, ...]:
    """(row, column) -> one for each connected part, the largest first."""
    labels, count = ndimage.label(bright, np.ones((3, 3), bool))
    parts = sorted((labels == number for number in range(1, count + 1)), key=lambda part: -int(part.sum()))
    return tuple(_lesion(part, number) for number, part in enumerate(parts, start=1))


def _lesion(part: NDArray[np.bool_], number: int) -> Lesion:
    rows, columns = part.shape
    y, x = (float(value) for value in ndimage.center_of_mass(part))
    spread = np.cov(np.argwhere(part).T) if part.sum() > 1 else np.zeros((2, 2))
    sizes, axes = np.linalg.eigh(spread)
    lengths = 4 * np.sqrt(np.maximum(sizes, 0))
    outline = find_contours(np.pad(part, 1).astype(float), 0.5)[0] - 1
    return Lesion(
        number, (x, y), (x / (columns - 1), y / (rows - 1)), float(part.sum()), int(part.sum()),
        (float(lengths[1]), float(lengths[0])), _angle(axes[1, 1], axes[0, 1]), 1.0, True, 1.0,
        tuple((float(px), float(py)) for py, px in outline),
    )  # fmt: skip


def _angle(x: float, y: float) -> float:
    angle = float(np.degrees(np.arctan2(y, x)))
    return angle - 180 if angle > 90 else angle + 180 if angle <= -90 else angle


def heat_of(bright: NDArray[np.bool_]) -> NDArray[np.float32]:
    """1 on what is bright, 0 elsewhere."""
    return bright.astype(np.float32)


class Finders:
    """``models.api.Registry`` over finders."""

    def __init__(self) -> None:
        self.film, self.ct, self.lungs = Finder("finder", "film"), Finder("finder-ct", "ct"), Finder("lungs", "lungs")

    def cards(self) -> tuple[Card, ...]:
        return (self.film.card, self.ct.card, self.lungs.card)

    def verify(self) -> Mapping[str, str]:
        return {}

    def load_segmenter(self, system: str, device: str = "cpu") -> Finder:
        return self.lungs

    def volume_segmenter(self) -> Finder:
        return self.lungs

    def load_film_system(self, system: str, device: str = "cpu") -> Finder:
        return self.film

    def load_ct_system(self, system: str, device: str = "cpu") -> Finder:
        return self.ct

    def load_indicator_system(self, system: str, device: str = "cpu") -> Finder:
        raise LookupError(system)
