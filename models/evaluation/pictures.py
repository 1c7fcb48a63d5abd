"""Pictures of the report, drawn off screen by matplotlib. Every title says what they may be used for.

Sizes are inches at 110 dots: a figure fills a page column and its letters stay readable there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from models.api import FloatImage, Mask
from models.evaluation.features import Axes as PrincipalAxes

DOTS = 110
NOTE = "research use only"
Points = NDArray[np.float64]


@dataclass(frozen=True)
class Example:
    """One film with its heat and lung outline. pixels, heat: (row, column), heat in 0..1."""

    title: str
    pixels: FloatImage
    heat: FloatImage | None
    lungs: Mask | None


@dataclass(frozen=True)
class Piece:
    """A part of a film and what it weighs for a class: positive for it, negative against it. mask: (row, column)."""

    mask: Mask
    weight: float


def roc(path: Path, lines: Mapping[str, tuple[Points, float]]) -> None:
    """Name -> ((201, 2) false and true positive rate, area)."""
    figure, axes = _page("ROC, thresholds k/200")
    for name, (points, area) in lines.items():
        axes.plot(points[:, 0], points[:, 1], label=f"{name}: {area:.3f}", linewidth=1.6)
    axes.plot((0, 1), (0, 1), color="0.7", linewidth=1, linestyle="--")
    axes.set(xlabel="false positive rate", ylabel="true positive rate", xlim=(-0.01, 1), ylim=(0, 1.01), aspect="equal")
    axes.legend(loc="lower right", title="area under the curve", fontsize=8, title_fontsize=8)
    _save(figure, path)


def precision_recall(path: Path, lines: Mapping[str, tuple[Points, float]]) -> None:
    """Name -> ((201, 2) recall and precision, average precision); grey lines join points of one F1."""
    figure, axes = _page("Precision and recall, thresholds k/200")
    for f1 in (0.2, 0.4, 0.6, 0.8, 0.9):
        recall = np.linspace(f1 / 2 + 1e-3, 1, 200)
        axes.plot(recall, f1 * recall / (2 * recall - f1), color="0.8", linewidth=1)
        axes.annotate(f"F1 = {f1:g}", (0.99, f1 / (2 - f1)), color="0.45", fontsize=8, ha="right", va="bottom")
    for name, (points, area) in lines.items():
        axes.plot(points[:, 0], points[:, 1], label=f"{name}: {area:.3f}", linewidth=1.6)
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1.01), ylim=(0, 1.02), aspect="equal")
    axes.legend(loc="lower left", title="average precision", fontsize=8, title_fontsize=8)
    _save(figure, path)


def confusion(path: Path, counts: NDArray[np.int64], shares: Points, names: Sequence[str]) -> None:
    """Colour: share of the row; numbers: films."""
    figure, axes = _page("Confusion, films of the test split")
    axes.imshow(np.nan_to_num(shares), cmap="Blues", vmin=0, vmax=1)
    for row, column in np.ndindex(*counts.shape):
        share = shares[row, column]
        text = f"{counts[row, column]}" + (f"\n{share:.0%}" if np.isfinite(share) else "")
        axes.text(column, row, text, ha="center", va="center", color="white" if share > 0.5 else "black")
    ticks = range(len(names))
    axes.set(xticks=ticks, yticks=ticks, xticklabels=names, yticklabels=names, xlabel="decided", ylabel="label")
    _save(figure, path)


def boxes(path: Path, title: str, values: Mapping[str, NDArray[np.float64]], label: str) -> None:
    """One horizontal box per name, whiskers at 2.5 and 97.5 %."""
    some = {name: v for name, v in values.items() if len(v)}
    figure, axes = _page(title, height=1.6 + 0.42 * max(len(some), 2))
    axes.boxplot(list(some.values())[::-1], orientation="horizontal", whis=(2.5, 97.5), showfliers=False, widths=0.6)
    axes.set_yticks(range(1, len(some) + 1), list(some)[::-1])
    axes.set_xlabel(label)
    axes.grid(axis="x", color="0.9")
    _save(figure, path)


def calibration(path: Path, rows: Points, error: float, name: str) -> None:
    """Reliability diagram. rows: (bin, 3) mean probability, share positive, films."""
    figure, axes = _page(f"Calibration of p({name}), expected error {error:.3f}")
    axes.plot((0, 1), (0, 1), color="0.7", linewidth=1, linestyle="--")
    axes.plot(rows[:, 0], rows[:, 1], marker="o", linewidth=1.4)
    for p, share, films in rows:
        if films:
            axes.annotate(f"{films:.0f}", (p, share), textcoords="offset points", xytext=(6, -10), fontsize=8)
    axes.set(xlabel="mean probability (films in the bin)", ylabel="share that is positive", aspect="equal")
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    _save(figure, path)


def scatter(path: Path, flat: Points, bent: Points, names: Sequence[str], what: str) -> None:
    """(n, 2) by PCA and by t-SNE, coloured by origin."""
    figure = _figure(f"Features ({what}), coloured by origin", 11, 5.8)
    colours = colormaps["tab10"].colors  # type: ignore[attr-defined]
    for place, (points, title) in enumerate(((flat, "PCA"), (bent, "t-SNE")), 1):
        axes = figure.add_subplot(1, 2, place, title=title, xticks=(), yticks=())
        for number, name in enumerate(sorted(set(names))):
            here = points[[one == name for one in names]]
            axes.scatter(here[:, 0], here[:, 1], s=12, color=colours[number % 10], alpha=0.75, label=name)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=9, markerscale=2)
    _save(figure, path)


def eigenpictures(path: Path, groups: Mapping[str, PrincipalAxes]) -> None:
    """A row for each group of films: mean picture, then its eigenvectors, each by its own minimum and maximum."""
    columns = 1 + max(len(axes.vectors) for axes in groups.values())
    figure = _figure(
        "Mean film and eigenvectors by origin (share of variance)", 1.75 * columns, 0.5 + 2.0 * len(groups)
    )
    for row, (name, found) in enumerate(groups.items()):
        for column, picture in enumerate((found.mean, *found.vectors)):
            axes = figure.add_subplot(len(groups), columns, row * columns + column + 1, xticks=(), yticks=())
            axes.imshow(picture, cmap="gray")
            axes.set_title(name if column == 0 else f"{found.shares[column - 1]:.1%}", fontsize=8)
    _save(figure, path)


def examples(path: Path, films: Sequence[Example]) -> None:
    """Film, and the same film under its heat, with the outline of the lung field."""
    figure = _figure("Where the system looked", 3.0 * len(films), 7.0)
    for number, film in enumerate(films, 1):
        for row in (0, 1):
            axes = figure.add_subplot(2, len(films), row * len(films) + number, xticks=(), yticks=())
            axes.imshow(film.pixels, cmap="gray")
            if row and film.heat is not None:
                axes.imshow(film.heat, cmap="jet", alpha=0.4, vmin=0, vmax=1)
            if row and film.lungs is not None:
                axes.contour(film.lungs, levels=[0.5], colors="white", linewidths=1)
            if not row:
                axes.set_title(film.title, fontsize=9)
    _save(figure, path)


def pieces(path: Path, title: str, film: FloatImage, lungs: Mask | None, found: Sequence[Piece]) -> None:
    """The film, and beside it the same with each piece: green and unbroken for the class, red and dashed against it."""
    rows, columns = film.shape
    figure = _figure(title, 12.0, 0.9 + 6.0 * rows / columns)
    plain, marked = (figure.add_subplot(1, 2, number, xticks=(), yticks=()) for number in (1, 2))
    for axes in (plain, marked):
        axes.imshow(film, cmap="gray")
    if lungs is not None:
        marked.contour(lungs, levels=[0.5], colors="white", linewidths=0.8)
    for piece in found:
        colour, line = ("lime", "solid") if piece.weight > 0 else ("red", "dashed")
        marked.contour(piece.mask, levels=[0.5], colors=colour, linestyles=line, linewidths=1.4)
        y, x = (float(places.mean()) for places in np.nonzero(piece.mask))
        marked.text(x, y, f"{piece.weight:+.2f}", color=colour, fontsize=10, ha="center", va="center")
    plain.set_xlabel("the film")
    marked.set_xlabel("green, unbroken: speaks for the class; red, dashed: against it; white: the lung field")
    _save(figure, path)


def agreement(path: Path, name: str, pairs: Points) -> None:
    """(n, 2) measured and predicted."""
    figure, axes = _page(f"{name}: predicted against measured")
    low, high = float(pairs.min()), float(pairs.max())
    axes.plot((low, high), (low, high), color="0.7", linewidth=1, linestyle="--")
    axes.scatter(pairs[:, 0], pairs[:, 1], s=18)
    axes.set(xlabel="measured", ylabel="predicted")
    _save(figure, path)


def _figure(title: str, width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), dpi=DOTS, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(f"{title}; {NOTE}", fontsize=11)
    return figure


def learning_rates(path: Path, rates: Points, losses: Points, best: float | None) -> None:
    """A range test: loss of each step over its rate, and the rate that it names."""
    figure, axes = _page("Learning-rate range test")
    axes.plot(rates, losses, linewidth=1.2)
    if best is not None:
        axes.axvline(best, color="0.4", linestyle="--", label=f"steepest fall: {best:.1e}")
        axes.legend(loc="lower left", fontsize=8)
    axes.set(xlabel="learning rate", ylabel="loss of the batch", xscale="log")
    _save(figure, path)


def _page(title: str, height: float = 6.0) -> tuple[Figure, Axes | Any]:
    figure = _figure(title, 7.0, height)
    return figure, figure.add_subplot()


def _save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Software": None})
