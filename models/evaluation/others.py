"""Systems that are no film classifiers: lung segmentation, CT slices, laboratory values from lesions.

Each function gives plain numbers for the report. What a system cannot be asked with the data at hand is said in a
sentence, never guessed.
"""

from __future__ import annotations

import csv
import importlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.api import CTSystem, ImageInput, IndicatorSystem, Lesion, LungField, Mask, RefusedInput, Segmenter
from models.evaluation import curves, metrics, statistics
from models.evaluation.bootstrap import resampled
from models.evaluation.classifier import as_json
from models.images.intensity import U8
from models.training import data, train
from models.training.data import LungCase

HEART = (3,)  # grey level of the heart in the JSRT masks
Track = Callable[[Iterable[Any], int, str], Iterable[Any]]  # shows how far a loop is


@dataclass(frozen=True)
class FoundMask:
    """One film of known lung field."""

    case: LungCase
    jaccard: float
    heart: float | None
    refusal: str = ""


class OffersSlices(Protocol):
    """A CT system that judges 8-bit slices: (n, row, column) u8 -> (n, class) probabilities."""

    def predict_slices(self, pictures: U8) -> NDArray[np.floating[Any]]: ...


def masks(segmenter: Segmenter, folder: Path, limit: int | None, track: Track) -> list[FoundMask]:
    """Every held-out film with a mask; ``limit``: that many, from both origins in turn."""
    cases = [case for case in data.lung_cases(folder) if case.split == "test"]
    if limit is not None:
        place = {id(case): number for o in _origins(cases) for number, case in enumerate(_of(cases, o))}
        cases = sorted(cases, key=lambda case: place[id(case)])[:limit]
    return [_compare(segmenter, case) for case in track(cases, len(cases), "films")]


def _origins(cases: Sequence[LungCase]) -> list[str]:
    return sorted({case.origin for case in cases})


def _of(cases: Sequence[LungCase], origin: str) -> list[LungCase]:
    return [case for case in cases if case.origin == origin]


def _compare(segmenter: Segmenter, case: LungCase) -> FoundMask:
    truth = data.read_mask(case)
    try:
        found = segmenter.segment(ImageInput(data.read_film(case.film).astype(np.float32), case.film.stem))
    except RefusedInput as refused:
        return FoundMask(case, 0.0, None, str(refused))
    return FoundMask(case, metrics.jaccard(found.mask, truth), _heart(found, case))


def _heart(found: LungField, case: LungCase) -> float | None:
    if found.heart is None or case.origin != "jsrt":
        return None
    truth: Mask = data.read_mask(replace(case, labels=HEART))
    return metrics.jaccard(found.heart, truth)


def segmentation(found: Sequence[FoundMask]) -> dict[str, Any]:
    """Jaccard by origin: mean, standard deviation, quartiles, the worst five films. A refused film counts as 0."""
    report: dict[str, Any] = {"origins": {}, "refused": sum(bool(one.refusal) for one in found)}
    for origin in sorted({one.case.origin for one in found}):
        here = [one for one in found if one.case.origin == origin]
        parts = {"lung": here, "heart": [one for one in here if one.heart is not None]}
        values = {"lung": [one.jaccard for one in here], "heart": [one.heart for one in here if one.heart is not None]}
        report["origins"][origin] = {
            name: _spread(np.array(values[name]), parts[name]) for name in parts if values[name]
        }
    return report


def _spread(values: NDArray[np.float64], found: Sequence[FoundMask]) -> dict[str, Any]:
    worst = np.argsort(values, kind="stable")[:5]
    return {
        **as_json(resampled(lambda k: float(values[k].mean()), len(values))),
        "sd": float(values.std()),
        "quartiles": [float(v) for v in np.percentile(values, (0, 25, 50, 75, 100))],
        "worst": [{"film": found[n].case.film.stem, "jaccard": float(values[n])} for n in worst],
        "values": [float(value) for value in values],
    }


def slices(system: CTSystem, folder: Path, limit: int | None) -> dict[str, Any]:
    """The test split of ``ct_slices``: COVID-19 against not. A sentence where the system takes no single slices."""
    if not hasattr(system, "predict_slices"):
        return {"cannot": f"{system.card.system} judges whole series, and the data holds single slices alone."}
    rows = _slice_rows(folder / "ct_slices", limit)
    pictures = np.stack([_grey(folder / "ct_slices" / row["file"]) for row in rows])
    offered: OffersSlices = system  # type: ignore[assignment]
    p = np.asarray(offered.predict_slices(pictures), dtype=float)
    names = system.card.classes
    number = names.index("covid19") if "covid19" in names else len(names) - 1
    ill, score, called = np.array([row["label"] == "covid19" for row in rows]), p[:, number], p.argmax(1) == number
    names_of = ("sensitivity", "specificity", "precision", "f1", "accuracy", "kappa")
    found = {
        f"AUROC {names[number]}": resampled(lambda k: metrics.auroc(ill[k], score[k]), len(ill)),
        **{n: resampled(_counted(ill, called, n), len(ill)) for n in names_of},
    }
    return {
        "slices": len(rows),
        "figures": {name: as_json(value) for name, value in found.items()},
        "roc_area_grid": curves.roc_area(curves.roc(ill, score)),
        "scores": [[int(y), float(s)] for y, s in zip(ill, score, strict=True)],
        "note": "The patients of these slices are unknown: slices of one may stand on both sides of the split.",
    }


def _counted(ill: NDArray[np.bool_], called: NDArray[np.bool_], name: str) -> Callable[[NDArray[np.int64]], float]:
    return lambda k: float(getattr(metrics.confusion(ill[k], called[k]), name))


def _slice_rows(folder: Path, limit: int | None) -> list[dict[str, str]]:
    with (folder / "labels.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "test"]
    if limit is None:
        return rows
    labels = sorted({row["label"] for row in rows})
    each = [[row for row in rows if row["label"] == label] for label in labels]
    return [row for turn in zip(*each, strict=False) for row in turn][:limit]


def _grey(path: Path) -> U8:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("L"))


def indicators(system: IndicatorSystem, folder: Path, limit: int | None, track: Track) -> dict[str, Any]:
    """Predicted against measured values, for each quantity.

    The recipe offers ``held_out(folder)``: a list of (ImageInput, lesions, {quantity name: measured value}).
    """
    recipe = importlib.import_module(f"models.training.{train.RECIPES[system.card.system].partition(':')[0]}")
    if not hasattr(recipe, "held_out"):
        needs = " and ".join(recipe.NEEDS)
        return {"cannot": f"The recipe of {system.card.system} offers no held-out films; it was trained on {needs}."}
    cases: list[tuple[ImageInput, tuple[Lesion, ...], Mapping[str, float]]] = recipe.held_out(folder)[:limit]
    known: dict[str, list[tuple[float, float]]] = {}
    refused = 0
    for image, lesions, truth in track(cases, len(cases), "films"):
        try:
            said = system.measure(image, lesions)
        except RefusedInput:
            refused += 1
            continue
        for quantity in said.quantities:
            if quantity.kind.name in truth:
                known.setdefault(quantity.kind.name, []).append((truth[quantity.kind.name], quantity.value))
    return {"refused": refused, "quantities": {name: _agreement(pairs) for name, pairs in sorted(known.items())}}


def _agreement(pairs: Sequence[tuple[float, float]]) -> dict[str, Any]:
    y, p = np.array(pairs).T
    critical = statistics.critical_r(len(y) - 2, 0.05) if len(y) > 2 else float("nan")
    return {**asdict(statistics.regression(y, p)), "critical_r_05": critical, "pairs": [list(pair) for pair in pairs]}
