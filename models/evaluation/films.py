"""The films that are judged, and what the systems say of them, kept film by film so that a second run is quick.

Films: the test split of ``cxr`` and the held-out JSRT films, which are normal films of another hospital; no system that
ships has seen them. An answer is kept under the digests of the film, of the weights and of the code that leads to an
answer, so that an old one is never taken for a new one; the folder ``cache`` can be removed at any time.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.api import Card, FilmSystem, ImageInput, LungField, Mask, Prediction, RefusedInput, Segmenter
from models.evaluation.features import listening
from models.training import data
from models.training.data import Arrays, cached

CODE = ("systems", "nets", "images", "explain")


@dataclass(frozen=True)
class Film:
    """One film to be judged. ``origin`` is source and label, e.g. "nih-cxr14 normal"; age NaN and sex "" if unknown."""

    path: Path
    label: str
    source: str
    patient: str
    sex: str = ""
    age: float = float("nan")

    @property
    def uid(self) -> str:
        return self.path.stem

    @property
    def origin(self) -> str:
        return f"{self.source} {self.label}"

    def image(self) -> ImageInput:
        return ImageInput(data.read_film(self.path).astype(np.float32), self.uid)


@dataclass(frozen=True)
class Answer:
    """What one system said of one film; ``refusal`` is empty when it gave probabilities."""

    p: tuple[float, ...] = ()  # in the order of the card's classes
    decided: str = ""
    heat_in_lung: float | None = None
    heard: tuple[tuple[str, NDArray[np.float32]], ...] = ()  # features, by layer
    refusal: str = ""


def judged_films(folder: Path, limit: int | None = None) -> list[Film]:
    """Films in the order of their files; ``limit``: that many, taken from the origins in turn."""
    with (folder / "cxr" / "labels.csv").open(newline="", encoding="utf-8") as file:
        people = {Path(row["file"]).stem: (row["sex"], row["age"]) for row in csv.DictReader(file)}
    films = []
    for case in data.classifier_cases(folder):
        if case.split == "test":
            sex, age = people.get(case.path.stem, ("", ""))
            films.append(Film(case.path, case.label, case.source, case.patient or case.path.stem, sex, _age(age)))
    return films if limit is None else _in_turn(films, limit)


def _age(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def _in_turn(films: Sequence[Film], limit: int) -> list[Film]:
    place: dict[str, int] = {}
    keys = []
    for number, film in enumerate(films):
        keys.append((place.get(film.origin, 0), number))
        place[film.origin] = keys[-1][0] + 1
    return [films[number] for number in sorted(number for _, number in sorted(keys)[:limit])]


@dataclass(frozen=True)
class Cache:
    """Answers on disk. ``code``: digest of what turns a film into an answer, see ``code_digest``."""

    folder: Path
    code: str

    def path(self, film: Film, *cards: Card) -> Path:
        who = "-on-".join(f"{card.system}-{card.weights_sha256[:12]}" for card in cards)
        settings = repr([(card.version, card.threshold, sorted(card.settings.items())) for card in cards]).encode()
        digest = hashlib.sha256(film.path.read_bytes() + settings + self.code.encode()).hexdigest()[:16]
        return self.folder / who / f"{film.uid}-{digest}.npz"


def code_digest() -> str:
    """Of every module from which a system is made, and of this one."""
    root = Path(__file__).parents[1]
    modules = [path for room in CODE for path in sorted((root / room).glob("*.py"))]
    return hashlib.sha256(b"".join(path.read_bytes() for path in (*modules, Path(__file__)))).hexdigest()


def segment(segmenter: Segmenter, film: Film, cache: Cache) -> LungField | None:
    """The lung field without its contours; None when the segmenter refuses."""
    kept = cached(cache.path(film, segmenter.card), lambda: _pack(segmenter, film))
    if not kept["found"]:
        return None
    return LungField(_mask(kept), (), segmenter.card.identity)


def _pack(segmenter: Segmenter, film: Film) -> Arrays:
    try:
        lungs = segmenter.segment(film.image())
    except RefusedInput:
        return {"found": np.array(False)}
    return {"found": np.array(True), "shape": np.array(lungs.mask.shape), "mask": np.packbits(lungs.mask)}


def _mask(kept: Arrays) -> Mask:
    rows, columns = (int(side) for side in kept["shape"])
    return np.unpackbits(kept["mask"], count=rows * columns).reshape(rows, columns).astype(bool)


def ask(system: FilmSystem, segmenter: Segmenter, film: Film, cache: Cache) -> Answer:
    """The system's answer, as the node would get it: a film without lung field is shown to it as such."""
    place = cache.path(film, system.card, segmenter.card)
    return _unpack(cached(place, lambda: _answer(system, segmenter, film, cache)))


def _answer(system: FilmSystem, segmenter: Segmenter, film: Film, cache: Cache) -> Arrays:
    lungs, image = segment(segmenter, film, cache), film.image()
    with listening(system) as heard:
        try:
            said: Prediction = system.predict(image, lungs)
        except RefusedInput as refused:
            return {"refusal": np.array(str(refused))}
    own = getattr(system, "features", None)
    features = {"features": np.asarray(own(image, lungs), np.float32)} if own else heard
    return {
        "refusal": np.array(""),
        "p": np.array([score.probability for score in said.scores]),
        "decided": np.array(said.decided_class),
        "share": np.array(np.nan if said.heat_in_lung is None else said.heat_in_lung),
        "layers": np.array(list(features), dtype=str),
        **{f"layer{number}": values for number, values in enumerate(features.values())},
    }


def _unpack(kept: Arrays) -> Answer:
    if kept["refusal"]:
        return Answer(refusal=str(kept["refusal"]))
    share = float(kept["share"])
    return Answer(
        tuple(float(value) for value in kept["p"]),
        str(kept["decided"]),
        None if np.isnan(share) else share,
        tuple((str(name), kept[f"layer{number}"]) for number, name in enumerate(kept["layers"])),
    )
