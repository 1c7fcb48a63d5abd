"""Recipe of ``cnnrf`` (paper 000, 3.6): laboratory values of the Hannover films from crops of the lesions in them.

A value belongs to a film when it was taken at most two days before or after it; a value outside the detection limit is
taken as missing, and missing values have no part in the loss (mean squared error). Lesions are those that the installed
``cxnet`` and ``unet-lung`` mark; a film without any gives, in training alone, a crop at the middle of each lung. All
five indicators are skewed, so log(1 + value) is what is scaled by the training range.

Not as published: other indicators (those that exist for these films), 20 epochs for 200, films drawn so that one counts
as much as another whatever its crops, and a patient by the square root of the films. Figures are of films of patients
not trained on; a patient has several, so intervals are drawn over patients.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.api import ImageInput, Lesion, LungField, RefusedInput
from models.evaluation import bootstrap
from models.evaluation.metrics import Figure
from models.images.intensity import U8
from models.nets.cnnrf import CNNRF
from models.nets.layout import place
from models.registry import Registry
from models.systems.cnnrf import FRAME, LARGEST, crop_all, extent
from models.training import augment, classify, data, weights
from models.training.fit import Order, choose_device, fit

NEEDS = ("cxr/labels.csv", "clinical/hannover.csv")
INDICATORS = {"crp": "crp", "lymphocytes": "lymphocytes", "neutrophils": "neutrophils", "ldh": "ldh",
              "d_dimer": "d-dimer"}  # name in the card, in the order of the outputs -> column of the table  # fmt: skip
WINDOW_DAYS, EPOCHS, BATCH, RATE = 2, 20, 20, 0.01
INSTALLED = Path(__file__).parents[1] / "weights"
Float = NDArray[np.float64]


@dataclass(frozen=True)
class IndicatorCase:
    """A film and its laboratory values in their own units, NaN where there is none, in the order of INDICATORS."""

    path: Path
    patient: str
    split: str
    values: tuple[float, ...]


def train(folder: Path, out: Path, order: Order) -> None:
    where = choose_device(order.device)
    cases = indicator_cases(folder)
    registry = Registry(INSTALLED)
    arrays = data.cached(cache_file(out, registry), lambda: _prepare(cases, registry))
    crops, film_of = arrays["crops"], arrays["film_of"]
    truth = np.array([case.values for case in cases])
    split = {name: [n for n, c in enumerate(cases) if c.split == name] for name in ("train", "val", "test")}
    torch.manual_seed(order.seed)  # here: preparing pictures may have drawn random numbers
    net = build(truth[split["train"]])
    order.begin(net)
    place(net, where)
    target = net.scaled(torch.tensor(truth, dtype=torch.float32, device=where))
    chosen = torch.from_numpy(np.flatnonzero(np.isin(film_of, split["train"])))
    film = torch.from_numpy(film_of)
    sampling = crop_weights([cases[n].patient for n in film_of[chosen]], film_of[chosen.numpy()])
    course = rate(order.length(EPOCHS, BATCH, len(chosen)))
    plan = order.plan(EPOCHS, BATCH, len(chosen), out / "cnnrf.checkpoint", course, where, sampling)
    optimiser = torch.optim.SGD(classify.parameters(net, 1e-4), RATE, momentum=0.9)

    def step(batch: Tensor, random: torch.Generator) -> Tensor:
        numbers = chosen[batch]
        x = augment.affine(
            classify.as_batch(crops, numbers), random, degrees=5, zoom=(1.0, 1.2), shift=0.03, mirror=True
        )
        return masked_mse(net(x.to(where, memory_format=torch.channels_last)).float(), target[film[numbers]])

    def validate(epoch: int) -> str:
        return (
            f"val loss {float(masked_mse(by_film(net, crops, film_of, split['val'], where), target[split['val']])):.4f}"
        )

    fit(plan, net, optimiser, step, validate)
    net.eval()
    said = net.values(by_film(net, crops, film_of, split["test"], where)).double().cpu().numpy()
    found = figures(said, truth[split["test"]], [cases[n].patient for n in split["test"]], truth[split["train"]])
    weights.write(net, out / "cnnrf.safetensors", found, {"window_days": WINDOW_DAYS, **told_errors(found)})


def told_errors(found: dict[str, Figure]) -> dict[str, float]:
    """What the system tells with each result: its mean absolute error, and that of always saying the median."""
    told = {f"error_{name}": found[f"mae_{name}"].value for name in INDICATORS}
    return told | {f"median_error_{name}": found[f"median_mae_{name}"].value for name in INDICATORS}


def held_out(folder: Path) -> list[tuple[ImageInput, tuple[Lesion, ...], Mapping[str, float]]]:
    """Test films, the lesions that the installed systems mark on them, and the measured values that there are."""
    registry = Registry(INSTALLED)
    segmenter, classifier = registry.load_segmenter("unet-lung"), registry.load_film_system("cxnet")
    found: list[tuple[ImageInput, tuple[Lesion, ...], Mapping[str, float]]] = []
    for case in [case for case in indicator_cases(folder) if case.split == "test"]:
        image = ImageInput(data.read_film(case.path).astype(np.float32), case.path.stem)
        lesions: tuple[Lesion, ...] = ()
        with suppress(RefusedInput):  # then it is judged without lesions, and the system's own refusal is counted
            lesions = classifier.predict(image, segmenter.segment(image)).lesions
        measured = {name: v for name, v in zip(INDICATORS, case.values, strict=True) if not np.isnan(v)}
        found.append((image, lesions, measured))
    return found


def indicator_cases(folder: Path) -> list[IndicatorCase]:
    """The Hannover films that have at least one indicator in the window of days."""
    with (folder / "clinical" / "hannover.csv").open(newline="", encoding="utf-8") as file:
        values = {
            row["image_id"]: tuple(_value(row, column) for column in INDICATORS.values())
            for row in csv.DictReader(file)
        }
    with (folder / "cxr" / "labels.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["source"] == "hannover"]
    cases = [
        IndicatorCase(folder / "cxr" / row["file"], row["patient"], row["split"], values[Path(row["original"]).stem])
        for row in rows
        if Path(row["original"]).stem in values
    ]
    return [case for case in cases if not np.isnan(case.values).all()]


def _value(row: dict[str, str], column: str) -> float:
    """NaN when there is none, when it is outside the detection limit (-inf, inf), or not of these days."""
    value, offset = row[f"{column}_val"], row[f"{column}_offset"]
    if not value or not offset or not np.isfinite(float(value)) or not abs(float(offset)) <= WINDOW_DAYS:
        return float("nan")
    return float(value)


def build(values: Float) -> CNNRF:
    """A network that holds the range of the training films' values (film, indicator)."""
    net = CNNRF(values.shape[1])
    spread = np.log1p(values)
    net.low.copy_(torch.from_numpy(np.nanmin(spread, axis=0)))
    net.high.copy_(torch.from_numpy(np.nanmax(spread, axis=0)))
    net.logarithmic.fill_(True)
    return net


def rate(epochs: int) -> Callable[[float], float]:
    """First epoch linear from a tenth, then x 0.1 at each quarter of the run: 50 of 200 epochs, as published."""

    def factor(progress: float) -> float:
        return 0.1 + 0.9 * progress * epochs if progress * epochs < 1 else 0.1 ** int(progress * 4)

    return factor


def masked_mse(scaled: Tensor, target: Tensor) -> Tensor:
    """Mean squared error over the known targets, (N, outputs) both; 0 when none of them is known."""
    known = ~target.isnan()
    error = torch.where(known, scaled - target.nan_to_num(), torch.zeros_like(scaled))
    return error.square().sum() / known.sum().clamp_min(1)


def crop_weights(patients: Sequence[str], films: NDArray[np.int64]) -> Tensor:
    """Of each crop, whose patient and film are given: films weigh alike whatever their crops, patients by the root."""
    per_film = {film: int((films == film).sum()) for film in set(films.tolist())}
    owner = dict(zip(films.tolist(), patients, strict=True))
    per_patient = {patient: sum(p == patient for p in owner.values()) for patient in set(patients)}
    return torch.tensor(
        [
            1 / (per_film[film] * per_patient[patient] ** 0.5)
            for film, patient in zip(films.tolist(), patients, strict=True)
        ],
        dtype=torch.float64,
    )


def by_film(net: CNNRF, crops: U8, film_of: NDArray[np.int64], films: Sequence[int], device: torch.device) -> Tensor:
    """(films, outputs): the mean of the outputs over each film's crops."""

    def outputs(film: int) -> Tensor:
        own = np.flatnonzero(film_of == film).tolist()
        return classify.predict(net, crops, own, device, lambda batch: batch)

    return torch.stack([outputs(film).mean(0) for film in films]).to(device)


def figures(said: Float, truth: Float, patients: Sequence[str], trained: Float) -> dict[str, Figure]:
    """Of each indicator r, R2 and mean absolute error in its own unit, beside the error of always saying the mean, or
    the median, of the training films: a network that is not below both has learnt nothing of use."""
    found: dict[str, Figure] = {}
    for number, name in enumerate(INDICATORS):
        known = ~np.isnan(truth[:, number])
        p, y, column = said[known, number], truth[known, number], trained[:, number]
        mean, median = np.full_like(y, np.nanmean(column)), np.full_like(y, np.nanmedian(column))
        groups = [who for who, is_known in zip(patients, known, strict=True) if is_known]
        for kind, statistic in (
            ("r", lambda n, p=p, y=y: correlation(p[n], y[n])),
            ("r2", lambda n, p=p, y=y: determination(p[n], y[n])),
            ("mae", lambda n, p=p, y=y: absolute_error(p[n], y[n])),
            ("mean_mae", lambda n, p=mean, y=y: absolute_error(p[n], y[n])),
            ("median_mae", lambda n, p=median, y=y: absolute_error(p[n], y[n])),
        ):
            found[f"{kind}_{name}"] = patient_figure(statistic, groups)
    return found


def patient_figure(statistic: bootstrap.Statistic, patients: Sequence[str]) -> Figure:
    """The statistic over all films; the interval from resamples of patients, each with all films; cases: films."""
    films = [np.flatnonzero(np.array(patients) == patient) for patient in sorted(set(patients))]
    if not films:
        return Figure(float("nan"), float("nan"), float("nan"), 0)
    drawn = bootstrap.figure(lambda n: statistic(np.concatenate([films[k] for k in n])), len(films))
    return replace(drawn, value=statistic(np.arange(len(patients))), cases=len(patients))


def correlation(p: Float, y: Float) -> float:
    """Pearson's r; NaN where either does not vary."""
    a, b = p - p.mean(), y - y.mean()
    norm = float(np.sqrt((a**2).sum() * (b**2).sum()))
    return float((a * b).sum()) / norm if norm > 0 else float("nan")


def determination(p: Float, y: Float) -> float:
    """R2 = 1 - SS_res / SS_tot; NaN where the truth does not vary."""
    total = float(((y - y.mean()) ** 2).sum())
    return 1 - float(((y - p) ** 2).sum()) / total if total > 0 else float("nan")


def absolute_error(p: Float, y: Float) -> float:
    return float(np.abs(p - y).mean()) if len(y) else float("nan")


def cache_file(out: Path, registry: Registry) -> Path:
    """Named by the weights that mark the lesions: crops of other weights are others."""
    marks = {card.system: card.weights_sha256[:8] for card in registry.cards()}
    return out / "cache" / f"cnnrf-{marks['unet-lung']}-{marks['cxnet']}.npz"


def _prepare(cases: Sequence[IndicatorCase], registry: Registry) -> data.Arrays:
    segmenter, classifier = registry.load_segmenter("unet-lung"), registry.load_film_system("cxnet")
    crops, film_of = [], []
    for number, case in enumerate(cases):
        film = data.read_film(case.path)
        image = ImageInput(film.astype(np.float32), case.path.stem)
        try:
            lungs = segmenter.segment(image)
            lesions = classifier.predict(image, lungs).lesions
        except RefusedInput:
            lungs, lesions = None, ()
        squares = [(*lesion.centre_px, extent(lesion)) for lesion in lesions] or lung_middles(film.shape, lungs)
        found = crop_all(film, squares)
        crops += found
        film_of += [number] * len(found)
    return {"crops": np.stack(crops), "film_of": np.array(film_of, np.int64)}


def lung_middles(shape: tuple[int, int], lungs: LungField | None) -> list[tuple[float, float, float]]:
    """(x, y, side) of the largest crop at the middle of each side of the lung field, or of the film without one."""
    mask = lungs.mask if lungs is not None and lungs.mask.any() else np.ones(shape, bool)
    rows, columns = np.nonzero(mask)
    right = columns > (columns.min() + columns.max()) / 2
    side = LARGEST * min(shape) / FRAME
    sides = [s for s in (~right, right) if s.any()]
    return [(float(columns[s].mean()), float(rows[s].mean()), side) for s in sides]
