"""Which CT series of a study is analysed, and in a sentence why each other image is not. Headers only, no pixels.

First every image is judged alone (``objections``). What is left is judged by series: enough images, which are one
axial stack (``by_stack``). A header silent on the part of the body passes: whether lungs are seen is for the systems to
check. Two reconstructions under one Series Instance UID (other kernel or pixel spacing) count as two series, and so
does each multi-frame object.

One series of a study is analysed, so that a scan reconstructed five times is not five findings: the best by the points
of ``Choice.order``, the first that tells two apart. Rules, limits and order stand in ``config/selection.toml``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from pydicom import Dataset

from node.core.study import StoredInstance
from node.pipeline import by_stack
from node.pipeline.by_header import WithContrast
from node.pipeline.header import text_of
from node.pipeline.objections import Facts, Objection, Rule, Words, first_objection, names_the_chest
from node.pipeline.stack import Plane, numbers, stack_of
from node.results.references import frame_of

STRANGER = "It has another kernel or pixel spacing than the other images of its series ({image})."
FEWEST_OF_A_SERIES = 3  # fewer images of another kernel or spacing are strangers in a series, not one of their own


@dataclass(frozen=True)
class Candidate:
    """One CT image that no rule objects to: an object, or a frame of one as ``frames`` lays it out."""

    instance: StoredInstance
    header: Dataset

    @cached_property
    def plane(self) -> Plane:
        return Plane(self.header)


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
    runs, refused = _runs(candidates)
    sound: list[Run] = []
    for run in runs:
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


def _runs(candidates: Run) -> tuple[list[Run], list[tuple[Candidate, Objection]]]:
    """(what may be one stack each; single images that are no part of the stack that their series is)."""
    series: dict[tuple[str, ...], dict[tuple[str, ...], list[Candidate]]] = {}
    for one in candidates:
        frame = (one.instance.sop_instance_uid,) if frame_of(one.header) else ()
        spacing = numbers(one.header, "PixelSpacing", 2)
        told = () if frame else (text_of(one.header, "ConvolutionKernel"), str(spacing))  # of one reconstruction
        series.setdefault((one.instance.series_instance_uid, *frame), {}).setdefault(told, []).append(one)
    runs: list[Run] = []
    strangers: list[tuple[Candidate, Objection]] = []
    for parts in series.values():
        largest = max(len(part) for part in parts.values())
        for part in parts.values():
            if len(part) < FEWEST_OF_A_SERIES <= largest:
                strangers += [(one, Objection("stranger", STRANGER.format(image=one.plane.name))) for one in part]
            else:
                runs.append(part)
    return runs, strangers


def _chest(choice: Choice, run: Run) -> tuple[float, float]:
    return float(not names_the_chest(run[0].header, choice.words["chest"])), 0


def _coverage(choice: Choice, run: Run) -> tuple[float, float]:
    """mm along the slice normal, from the first slice to the last."""
    stack = stack_of([item.plane for item in run])
    covered = float(stack.steps.sum()) if stack is not None else 0.0
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


TESTS: dict[str, type] = {"number-of-images": NumberOfImages, **by_stack.TESTS}
