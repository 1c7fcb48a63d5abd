"""The data folder as lists of cases. Files are read where they lie; what is derived is cached beside the checkpoints.

Splits are those of the folder, by patient; nothing is shuffled across them.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.api import Mask
from models.images.intensity import U8, to_u8

Arrays = dict[str, NDArray[Any]]
CLASSES = ("normal", "pneumonia", "covid19")


@dataclass(frozen=True)
class FilmCase:
    path: Path
    label: str
    source: str
    patient: str
    split: str  # train, val, test


@dataclass(frozen=True)
class LungCase:
    """A film and its lung mask. ``origin``: jsrt or covid_lungs."""

    film: Path
    mask: Path
    labels: tuple[int, ...]  # grey levels of the mask that are lung
    origin: str
    split: str


def film_cases(data: Path) -> list[FilmCase]:
    """All films of ``cxr/labels.csv``."""
    with (data / "cxr" / "labels.csv").open(newline="", encoding="utf-8") as file:
        return [
            FilmCase(data / "cxr" / row["file"], row["label"], row["source"], row["patient"], row["split"])
            for row in csv.DictReader(file)
        ]


def classifier_cases(data: Path, without: Sequence[str] = ()) -> list[FilmCase]:
    """All films with a class: ``cxr/labels.csv``, and JSRT films (nodules or nothing, no pneumonia) as ``normal``.

    JSRT is a second source of films without pneumonia; its validation films are test films here. Sources named in
    ``without`` are all in the split ``left-out``: never trained on, never calibrated on.
    """
    jsrt = [
        FilmCase(case.film, "normal", "jsrt", f"jsrt-{case.film.stem}", case.split)
        for case in _jsrt(data / "cxr_seg" / "jsrt")
    ]
    return [replace(case, split="left-out") if case.source in without else case for case in (*film_cases(data), *jsrt)]


def lung_cases(data: Path, held_out: int = 20, seed: int = 666) -> list[LungCase]:
    """JSRT with its own split, and covid_lungs with ``held_out`` films drawn by the seed as its test split.

    Masks without a single lung pixel are left out: several files of covid_lungs are empty.
    """
    cases = _jsrt(data / "cxr_seg" / "jsrt")
    folder = data / "cxr_seg" / "covid_lungs"
    films = [
        film for film in sorted((folder / "images").iterdir()) if _mask_array(_beside(folder, film), (1, 255)).any()
    ]
    chosen = set(np.random.default_rng(seed).permutation(len(films))[:held_out].tolist())
    for number, film in enumerate(films):
        split = "test" if number in chosen else "train"
        cases.append(LungCase(film, _beside(folder, film), (1, 255), "covid_lungs", split))
    return cases


def _jsrt(folder: Path) -> list[LungCase]:
    with (folder / "split.csv").open(newline="", encoding="utf-8") as file:
        splits = {row["id"]: row["split"] for row in csv.DictReader(file)}
    films = {film.stem: film for film in (folder / "images").iterdir()}
    return [
        LungCase(films[name], _beside(folder, films[name]), (1, 2), "jsrt", "train" if split == "train" else "test")
        for name, split in splits.items()
    ]


def _beside(folder: Path, film: Path) -> Path:
    return next((folder / "masks").glob(f"{film.stem}.*"))


def read_film(path: Path) -> U8:
    """(row, column), stretched to 0..255."""
    with Image.open(path) as picture:
        return to_u8(np.asarray(picture.convert("L")))


def read_mask(case: LungCase) -> Mask:
    return _mask_array(case.mask, case.labels)


def read_levels(case: LungCase) -> U8:
    """(row, column) label map as drawn; of JSRT 0 background, 1 right lung, 2 left lung, 3 heart."""
    with Image.open(case.mask) as picture:
        return np.array(picture.convert("L") if picture.mode not in ("L", "P") else picture)


def _mask_array(path: Path, labels: tuple[int, ...]) -> Mask:
    with Image.open(path) as picture:
        return np.isin(np.asarray(picture.convert("L") if picture.mode not in ("L", "P") else picture), labels)


def cached(path: Path, make: Callable[[], Arrays]) -> Arrays:
    """Arrays from ``path`` (.npz), made and written first when it is not there."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".part.npz")
        np.savez(temporary, allow_pickle=False, **make())
        temporary.rename(path)
    with np.load(path) as arrays:
        return {name: arrays[name] for name in arrays.files}
