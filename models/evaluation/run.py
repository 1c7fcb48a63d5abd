"""The door to evaluation: ``main(system, data, out, ...)``; ``lungnode evaluate`` calls it.

Writes ``out/SYSTEM/report.json``, ``report.md`` and ``figures/*.png``; answers are kept in ``out/cache`` (``films``).
The same films and weights give the same report.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from models.api import Card, FilmSystem, Registry, Segmenter, WeightsMismatch
from models.cards import weights_problem
from models.evaluation import classifier, curves, films, metrics, others, pictures, probing, report
from models.evaluation.classifier import Judged
from models.evaluation.films import Cache
from models.registry import Registry as InstalledRegistry

WEIGHTS = Path(__file__).parents[1] / "weights"
NEEDS = {
    "film": ("cxr/labels.csv", "cxr_seg/jsrt/split.csv"),
    "lungs": ("cxr_seg/jsrt/split.csv", "cxr_seg/covid_lungs/images"),
    "ct": ("ct_slices/labels.csv",),
    "indicators": ("clinical/hannover.csv",),
}  # kind of system -> what the data folder must hold to judge it


@dataclass(frozen=True)
class Wanted:
    """One evaluation. limit: so many films at most, evenly over their origins; None for all."""

    card: Card
    registry: Registry
    data: Path
    out: Path
    against: str | None
    segmenter: str
    limit: int | None
    device: str

    @property
    def folder(self) -> Path:
        return self.out / self.card.system

    @property
    def figures(self) -> Path:
        return self.folder / "figures"


def main(
    system: str,
    data: Path,
    out: Path,
    *,
    against: str | None = None,
    segmenter: str = "unet-lung",
    limit: int | None = None,
    device: str = "auto",
    registry: Registry | None = None,
) -> int:
    """Judge one system. 0: the report is written; 1: weights are missing; 2: the system or the data is."""
    known = registry or InstalledRegistry(WEIGHTS)
    cards = {card.system: card for card in known.cards()}
    if unknown := [name for name in (system, against) if name and name not in cards]:
        sys.stderr.write(f"no model {unknown[0]} is installed; there are {', '.join(sorted(cards))}\n")
        return 2
    card = cards[system]
    if missing := [name for name in NEEDS[card.kind] if not (data / name).exists()]:
        sys.stderr.write(f"{data} does not hold what {system} is judged by: {' and '.join(missing)} expected there\n")
        return 2
    if against and {card.kind, cards[against].kind} != {"film"}:
        sys.stderr.write("only two film classifiers can be compared\n")
        return 2
    if out.exists() and not out.is_dir():
        sys.stderr.write(f"{out} is not a folder\n")
        return 2
    wanted = Wanted(card, known, data, out, against, segmenter, limit, device)
    if not card.weights_sha256:  # before the figures of an earlier run are removed
        sys.stderr.write(f"{weights_problem(card)}\n")
        return 1
    for old in wanted.figures.glob("*.png"):
        old.unlink()
    try:
        found = JUDGES[card.kind](wanted)
    except WeightsMismatch as mismatch:
        sys.stderr.write(f"{mismatch}\n")
        return 1
    place = report.write(wanted.folder, {**report.head(card, limit), **found})
    sys.stdout.write(f"{place}\n")
    return 0


def _film(wanted: Wanted) -> dict[str, Any]:
    chosen = films.judged_films(wanted.data, wanted.limit)
    segmenter = wanted.registry.load_segmenter(wanted.segmenter, wanted.device)
    system = wanted.registry.load_film_system(wanted.card.system, wanted.device)
    cache = Cache(wanted.out / "cache", films.code_digest())
    one = _ask_all(system, segmenter, chosen, cache)
    found: dict[str, Any] = {
        "warning": report.warning(chosen),
        "segmenter": asdict(segmenter.card.identity),
        "positive_class": one.positive,
        "films": {name: len(n) for name, n in one.origins().items()},
        "refusals": classifier.refusals(one),
        "against": None,
    }
    if wanted.against:
        other = wanted.registry.load_film_system(wanted.against, wanted.device)
        found["against"] = classifier.against(one, _ask_all(other, segmenter, chosen, cache))
    if not len(one.known):
        return {**found, "cannot": "The system answered no film whose label is one of its classes."}
    found |= _judge(one, wanted.figures)
    found["probe"] = probing.study(one, wanted.figures)
    probing.eigenpictures(one, wanted.figures / "eigenvectors.png")
    pictures.examples(wanted.figures / "examples.png", _examples(one, system, segmenter, cache))
    return found


def _ask_all(system: FilmSystem, segmenter: Segmenter, chosen: Sequence[films.Film], cache: Cache) -> Judged:
    shown = track(chosen, len(chosen), system.card.system)
    return classifier.judged(system.card, chosen, [films.ask(system, segmenter, film, cache) for film in shown])


def _judge(one: Judged, folder: Path) -> dict[str, Any]:
    """All numbers of a classifier, and the pictures of those numbers."""
    n, names = one.known, one.card.classes
    counts = curves.confusion_matrix(one.truth[n], one.said[n], len(names))
    rows = curves.class_table(counts, names)
    found = classifier.figures(one)
    ill, score = one.ill[n], one.score[n]
    bins, error = curves.reliability(ill, score)
    binary = metrics.confusion(ill, one.said[n] == names.index(one.positive))
    pairs = classifier.pairs(one)
    _curves(one, folder)
    pictures.confusion(folder / "confusion.png", counts, curves.row_shares(counts), names)
    resamples = {name: value.values for name, value in found.items()}
    pictures.boxes(folder / "figures.png", "Figures in 1000 bootstrap resamples", resamples, "value")
    pictures.calibration(folder / "calibration.png", bins, error, one.positive)
    return {
        "figures": {name: classifier.as_json(value) for name, value in found.items()},
        "auroc_grid": curves.roc_area(curves.roc(ill, score)) if 0 < ill.sum() < len(ill) else None,
        "confusion": {"classes": list(names), "counts": counts.tolist()},
        "classes": [asdict(row) for row in rows],
        "averages": curves.averages(rows),
        "predictive_values": {k: list(v) for k, v in curves.predictive_values(binary).items()},
        "prevalence": float(ill.mean()),
        "calibration": {"expected_error": error, "bins": bins.tolist()},
        "pairs": pairs,
        "same_source": classifier.same_source(one),
        "origins": classifier.said_of_origins(one),
        "heat_in_lung": classifier.heat(one),
        "explained": classifier.explained(one),
    }


def _curves(one: Judged, folder: Path) -> None:
    """All COVID-19 films, then those of each source, against all other films whose label the system knows."""
    well = one.known[~one.ill[one.known]]
    parts = {"all sources": np.flatnonzero(one.ill)}
    parts |= {name: n for name, n in one.origins().items() if one.ill[n[0]]}
    roc, prc = {}, {}
    for name, n in parts.items():
        if len(n) and len(well):
            both = np.concatenate((n, well))
            truth, score = one.ill[both], one.score[both]
            roc[name] = curves.roc(truth, score), metrics.auroc(truth, score)
            prc[name] = curves.precision_recall(truth, score), metrics.average_precision(truth, score)
    if roc:
        pictures.roc(folder / "roc.png", roc)
        pictures.precision_recall(folder / "precision_recall.png", prc)


def _examples(one: Judged, system: FilmSystem, segmenter: Segmenter, cache: Cache) -> list[pictures.Example]:
    """Right and wrong with COVID-19, wrong and right without: of each the surest film, where there is one."""
    right = one.said == one.truth
    shown = []
    for ill, is_right in ((True, True), (True, False), (False, False), (False, True)):
        n = one.known[(one.ill[one.known] == ill) & (right[one.known] == is_right)]
        if len(n):
            number = n[one.p[n, one.said[n]].argmax()]
            film, image = one.films[number], one.films[number].image()
            lungs = films.segment(segmenter, film, cache)
            said = system.predict(image, lungs)
            word = "right" if is_right else "WRONG"
            title = f"{film.uid}\nlabel {film.label}\ndecided {said.decided_class} ({word})\nheat: {said.heat_class}"
            shown.append(pictures.Example(title, image.pixels, said.heat, None if lungs is None else lungs.mask))
    return shown


def _lungs(wanted: Wanted) -> dict[str, Any]:
    segmenter = wanted.registry.load_segmenter(wanted.card.system, wanted.device)
    found = others.segmentation(others.masks(segmenter, wanted.data, wanted.limit, track))
    values = {
        f"{origin}, {part}": np.array(part_found["values"])
        for origin, parts in found["origins"].items()
        for part, part_found in parts.items()
    }
    pictures.boxes(wanted.figures / "jaccard.png", "Jaccard of held-out films", values, "Jaccard")
    return {"warning": report.MASKS, "segmentation": found}


def _ct(wanted: Wanted) -> dict[str, Any]:
    system = wanted.registry.load_ct_system(wanted.card.system, wanted.device)
    found = others.slices(system, wanted.data, wanted.limit)
    if "scores" in found:
        ill, score = np.array(found.pop("scores")).T
        points = curves.roc(ill, score), metrics.auroc(ill, score)
        pictures.roc(wanted.figures / "roc.png", {"slices": points})
        average = metrics.average_precision(ill, score)
        points = curves.precision_recall(ill, score), average
        pictures.precision_recall(wanted.figures / "precision_recall.png", {"slices": points})
    return {"warning": report.SLICES, "slices": found}


def _indicators(wanted: Wanted) -> dict[str, Any]:
    system = wanted.registry.load_indicator_system(wanted.card.system, wanted.device)
    found = others.indicators(system, wanted.data, wanted.limit, track)
    for name, quantity in found.get("quantities", {}).items():
        pictures.agreement(wanted.figures / f"{name}.png", name, np.array(quantity.pop("pairs")))
    return {"warning": report.VALUES, "indicators": found}


JUDGES: dict[str, Callable[[Wanted], dict[str, Any]]] = {
    "film": _film, "lungs": _lungs, "ct": _ct, "indicators": _indicators,
}  # fmt: skip


def track(cases: Iterable[Any], total: int, what: str) -> Iterator[Any]:
    """The cases, with a bar on standard error."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        yield from progress.track(cases, total=total, description=what)
