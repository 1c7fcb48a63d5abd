"""The features of the judged films: which they are, what they tell of label and source, their pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from models.evaluation import features, pictures
from models.evaluation.classifier import Judged
from models.evaluation.features import Features
from models.images.geometry import resize_u8
from models.training import data

SMALL, SIDE, FEWEST = 32, 128, 6  # side of a film as its own features, of the eigenvectors; films of an origin


def study(one: Judged, folder: Path) -> dict[str, Any]:
    """Probes of the features, and their scatter; ``folder`` gets the picture."""
    if len(one.films) < 12:
        return {"cannot": "There are too few films to look for their source in the features."}
    what, x = _features(one)
    flat, bent = features.on_a_plane(x)
    pictures.scatter(folder / "features.png", flat, bent, [film.origin for film in one.films], what)
    return {"features": what, "width": x.shape[1], "probes": _probes(one, x)}


def _features(one: Judged) -> tuple[str, Features]:
    chosen = features.choose([dict(answer.heard) for answer in one.answers])
    if chosen is not None:
        return chosen
    films = [resize_u8(data.read_film(film.path), SMALL, SMALL).ravel() for film in one.films]
    return f"the film itself, {SMALL} x {SMALL}", np.stack(films).astype(float)


def _probes(one: Judged, x: Features) -> dict[str, Any]:
    """What -> figures, or None where a class has too few films. The source is asked within one diagnosis too."""
    label = np.array([film.label for film in one.films])
    source = np.array([film.source for film in one.films])
    patient = np.array([f"{film.source} {film.patient}" for film in one.films])
    questions = {
        "source, all films": (np.full(len(label), True), source),
        "source, COVID-19 films alone": (label == "covid19", source),
        "source, normal films alone": (label == "normal", source),
        "label, all sources": (np.full(len(label), True), label),
        "label, nih-cxr14 alone": (source == "nih-cxr14", label),
    }
    found = {name: features.probe(x[n], answer[n], patient[n]) for name, (n, answer) in questions.items()}
    return {name: asdict(one) if one else None for name, one in found.items()}


def eigenpictures(one: Judged, path: Path) -> bool:
    """Mean film and eigenvectors of every origin with enough films; False when there is none."""
    groups = {name: _axes(one, numbers.tolist()) for name, numbers in one.origins().items() if len(numbers) >= FEWEST}
    if groups:
        pictures.eigenpictures(path, groups)
    return bool(groups)


def _axes(one: Judged, numbers: Sequence[int]) -> features.Axes:
    films = [resize_u8(data.read_film(one.films[number].path), SIDE, SIDE) for number in numbers]
    return features.principal_axes(np.stack(films).astype(float) / 255)
