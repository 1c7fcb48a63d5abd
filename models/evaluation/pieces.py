"""Which pieces of one film carry what a system says of it (LIME): a picture, and the numbers as JSON.

On request only, since the network is asked about as many pictures as samples are wanted. The weights are those of a
linear stand-in for the network near this film; ``fidelity`` says how much of its answers the stand-in explains, and
where that is low the pieces explain little. Coordinates are those of the film, as in ``models.api``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from models.api import RESEARCH_USE_ONLY, Card, ImageInput, LungField, Mask, ModelIdentity
from models.evaluation import pictures
from models.explain import lime
from models.explain.lime import Explained

OUTSIDE = -1


@runtime_checkable
class ExplainsByPieces(Protocol):
    """A film system that can tell which pieces of its picture speak for a class."""

    card: Card

    def superpixels(self, image: ImageInput, lungs: LungField | None, samples: int = lime.SAMPLES) -> Explained: ...


def write(system: ExplainsByPieces, image: ImageInput, lungs: LungField | None, out: Path, samples: int) -> str:
    """``OUT/UID.SYSTEM.lime.png`` and ``.json``; returns one line about them. RefusedInput as of the system."""
    found = system.superpixels(image, lungs, samples)
    labels, field = in_film(found, image.shape), lungs.mask if lungs is not None else None
    told = _about(system.card.identity, image.uid, found, samples) | {"pieces": described(found, labels, field)}
    stem = out / f"{image.uid}.{system.card.system}.lime"
    out.mkdir(parents=True, exist_ok=True)
    Path(f"{stem}.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    title = f"{system.card.name}: {found.class_name} p = {found.probability:.2f}, fidelity {found.pieces.fidelity:.2f}"
    masks = [(labels == number, float(found.pieces.weights[number])) for number in found.pieces.top]
    shown = [pictures.Piece(mask, weight) for mask, weight in masks if mask.any()]
    pictures.pieces(Path(f"{stem}.png"), title, image.pixels, field, shown)
    return f"{image.uid}  {title}  {stem}.png"


def _about(model: ModelIdentity, uid: str, found: Explained, samples: int) -> dict[str, object]:
    return {
        "note": RESEARCH_USE_ONLY,
        "image": uid,
        "model": {"system": model.system, "version": model.version, "weights_sha256": model.weights_sha256},
        "class": found.class_name,
        "probability": round(found.probability, 6),
        "fidelity": round(found.pieces.fidelity, 4),
        "samples": samples,
        "seed": lime.SEED,
    }


def in_film(found: Explained, shape: tuple[int, int]) -> NDArray[np.int64]:
    """(row, column) of the film: the number of each pixel's piece, ``OUTSIDE`` where the system does not look."""
    top, left, bottom, right = found.box
    small = found.pieces.labels
    rows = np.arange(bottom - top) * small.shape[0] // (bottom - top)
    columns = np.arange(right - left) * small.shape[1] // (right - left)
    labels = np.full(shape, OUTSIDE, np.int64)
    labels[top:bottom, left:right] = small[np.ix_(rows, columns)]
    return labels


def described(found: Explained, labels: NDArray[np.int64], lungs: Mask | None) -> list[dict[str, float]]:
    """Every piece that has a pixel in the film, the heaviest first. lung_share: of its pixels in the lung field."""
    told = []
    for number in np.argsort(-np.abs(found.pieces.weights), kind="stable").tolist():
        ys, xs = np.nonzero(labels == number)
        if not len(ys):
            continue
        piece = {
            "weight": round(float(found.pieces.weights[number]), 6),
            "x_px": round(float(xs.mean()), 1),
            "y_px": round(float(ys.mean()), 1),
            "area_px": len(ys),
        }
        if lungs is not None:
            piece["lung_share"] = round(float(lungs[ys, xs].mean()), 3)
        told.append(piece)
    return told
