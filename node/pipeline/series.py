"""Which CT series of a study is analysed, and in a sentence why each other image is not. Headers only, no pixels.

First every image is judged alone (``objections``). What is left is judged by series: enough images, of one matrix, one
frame of reference and one orientation, whose slice normal lies near the patient's long axis (Image Orientation
(Patient), PS3.3 C.7.6.2.1.1). A header silent on the part of the body passes: whether lungs are seen is for the systems
to check. Two reconstructions under one Series Instance UID (other kernel or pixel spacing) count as two series.

One series of a study is analysed, so that a scan reconstructed five times is not five findings: the best by the points
of ``Choice.order``, the first that tells two apart. Rules, limits and order stand in ``config/selection.toml``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from pydicom import Dataset

from node.core.study import StoredInstance
from node.pipeline.by_header import WithContrast
from node.pipeline.header import text_of
from node.pipeline.objections import Facts, Objection, Rule, Words, first_objection, names_the_chest
from node.pipeline.volume import normal, numbers


@dataclass(frozen=True)
class Candidate:
    """One CT image that no rule objects to."""

    instance: StoredInstance
    header: Dataset


Run = Sequence[Candidate]


@dataclass(frozen=True)
class Choice:
    """How the best of several series is found. ``because``: by point, the sentence for those that are not."""

    order: tuple[str, ...]
    enough_coverage_mm: float
    enough_images: int
    thin_enough_mm: float
    sentence: str
    because: Mapping[str, str]
    words: Mapping[str, Words]

    def places(self, run: Run) -> tuple[float, ...]:
        """By point of ``order``, what the run has of it; the smallest is the best."""
        return tuple(POINTS[name](self, run)[0] for name in self.order)

    def loses_by(self, run: Run, best: Run) -> str:
        """The sentence of the first point by which ``best`` is the better one."""
        for name in self.order:
            (place, this), (better, shown) = POINTS[name](self, run), POINTS[name](self, best)
            if better < place:
                return self.sentence.format(because=self.because[name].format(best=shown, this=this))
        return self.sentence.format(because=self.because["number"])


Point = Callable[[Choice, Run], tuple[float, float]]  # (its place, the smallest is the best; the number that is shown)


def choose(
    candidates: Run, rules: Sequence[Rule[Run]], choice: Choice
) -> tuple[list[tuple[Run, str]], list[tuple[Candidate, Objection]]]:
    """(the series to analyse, none or one, with its reason; every other image with what is said against it)."""
    runs: dict[tuple[str, str, str], list[Candidate]] = {}
    for candidate in candidates:
        header = candidate.header
        key = (text_of(header, "ConvolutionKernel"), text_of(header, "PixelSpacing"))  # of one reconstruction
        runs.setdefault((candidate.instance.series_instance_uid, *key), []).append(candidate)
    refused: list[tuple[Candidate, Objection]] = []
    sound: list[Run] = []
    run: Run
    for run in runs.values():
        if objection := first_objection(run, rules):
            refused += [(candidate, objection) for candidate in run]
        else:
            sound.append(run)
    if not sound:
        return [], refused
    best = min(sound, key=lambda run: (*choice.places(run), run[0].instance.series_instance_uid))
    for run in sound:
        if run is not best:
            other = Objection("choice", choice.loses_by(run, best))
            refused += [(candidate, other) for candidate in run]
    why = f"Axial CT series of {len(best)} images" + (f", chosen of {len(sound)}." if len(sound) > 1 else ".")
    return [(best, why)], refused


def _chest(choice: Choice, run: Run) -> tuple[float, float]:
    return float(not names_the_chest(run[0].header, choice.words["chest"])), 0


def _coverage(choice: Choice, run: Run) -> tuple[float, float]:
    """mm along the slice normal, from the first slice to the last."""
    along = normal(run[0].header)
    found = [numbers(item.header, "ImagePositionPatient", 3) for item in run]
    places = [float(place @ along) for place in found if place is not None and along is not None]
    covered = max(places) - min(places) if places else 0.0
    return -min(covered, choice.enough_coverage_mm), covered


def _images(choice: Choice, run: Run) -> tuple[float, float]:
    return -min(len(run), choice.enough_images), len(run)


def _lung_kernel(choice: Choice, run: Run) -> tuple[float, float]:
    told = f"{text_of(run[0].header, 'SeriesDescription')} {text_of(run[0].header, 'ConvolutionKernel')}"
    return float(not choice.words["lung-kernel"].search(told)), 0


def _thin(choice: Choice, run: Run) -> tuple[float, float]:
    """Slice Thickness in mm; a series that does not state it comes after those that do."""
    stated = numbers(run[0].header, "SliceThickness", 1)
    thickness = float(stated[0]) if stated is not None else math.inf
    return max(thickness, choice.thin_enough_mm), thickness


def _unenhanced(choice: Choice, run: Run) -> tuple[float, float]:
    enhanced = WithContrast(choice.words["contrast"], choice.words["no-contrast"])(run[0].header)
    return float(enhanced is not None), 0


def _series_number(choice: Choice, run: Run) -> tuple[float, float]:
    number = numbers(run[0].header, "SeriesNumber", 1)
    return (float(number[0]) if number is not None else math.inf), 0


POINTS: dict[str, Point] = {
    "chest": _chest,
    "coverage": _coverage,
    "images": _images,
    "lung-kernel": _lung_kernel,
    "thin": _thin,
    "unenhanced": _unenhanced,
    "number": _series_number,
}


@dataclass(frozen=True)
class NumberOfImages:
    """Fewer than ``least`` images or more than ``most``."""

    tells: ClassVar = ("images",)
    least: int = 0
    most: int = 2**31

    def __call__(self, run: Run) -> Facts | None:
        if self.least <= len(run) <= self.most:
            return None
        return {"images": "1 CT image" if len(run) == 1 else f"{len(run)} CT images"}


@dataclass(frozen=True)
class Differs:
    """The images do not all say the same of the attributes."""

    tells: ClassVar = ()
    attributes: tuple[str, ...]

    def __call__(self, run: Run) -> Facts | None:
        found = {tuple(text_of(item.header, name) for name in self.attributes) for item in run}
        return {} if len(found) > 1 else None


@dataclass(frozen=True)
class NoPlace:
    """An image lacks its position or its orientation in the patient."""

    tells: ClassVar = ()

    def __call__(self, run: Run) -> Facts | None:
        placed = (
            normal(item.header) is not None and numbers(item.header, "ImagePositionPatient", 3) is not None
            for item in run
        )
        return None if all(placed) else {}


@dataclass(frozen=True)
class Turns:
    """The direction cosines of the images differ by more than ``most_difference``."""

    tells: ClassVar = ()
    most_difference: float

    def __call__(self, run: Run) -> Facts | None:
        found = [numbers(item.header, "ImageOrientationPatient", 6) for item in run]
        cosines = np.array([one for one in found if one is not None])
        return {} if len(cosines) and np.ptp(cosines, axis=0).max() > self.most_difference else None


@dataclass(frozen=True)
class NotAxial:
    """The slice normal is steeper than ``steepest_degrees`` against the patient's long axis."""

    tells: ClassVar = ()
    steepest_degrees: float

    def __call__(self, run: Run) -> Facts | None:
        along = normal(run[0].header)
        return {} if along is not None and along[2] < math.cos(math.radians(self.steepest_degrees)) else None


TESTS: dict[str, type] = {
    "number-of-images": NumberOfImages,
    "differs": Differs,
    "no-place": NoPlace,
    "turns": Turns,
    "not-axial": NotAxial,
}
