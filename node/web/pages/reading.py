"""One study as its page shows it: stacks for the viewer, what each system said, numbers, the two steps. Pure.

The records of ``db.study_page`` go in; what comes out is laid out for the template and the viewer's script.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from markupsafe import Markup

from models.api import Card, QuantityKind
from node.db.layers import Named
from node.db.study_page import AnalysisView, Focus, Image, Number, Score, StudyView
from node.web.pages import charts, words
from node.web.pages.charts import Axis, Line

TWO_STEP, STEP_TWO, RAN = "two-step", "step2.", "step2_ran"
VIRAL = ("covid19", "viral")  # step one says viral; these weights call it COVID-19, see the model's card
OF_SLICE = "slice."
FILMS = ("CR", "DX")
OfImage = TypeVar("OfImage", Score, Number, Focus, Named)


@dataclass(frozen=True)
class SystemSaid:
    """What one system said of one film or series. further: numbers beside its classes."""

    system: str
    name: str
    version: str
    scores: tuple[Score, ...]
    foci: int
    has_heat: bool
    further: tuple[Number, ...]

    @property
    def decided(self) -> Score | None:
        return next((score for score in self.scores if score.decision), None)


@dataclass(frozen=True)
class Measure:
    """error: how far off the system was on its test films in the mean; None where its card does not say."""

    kind: QuantityKind
    value: float
    error: float | None


@dataclass(frozen=True)
class Read:
    """One film or series with what was said of it. profile: probability of each slice, of a series."""

    label: str
    said: tuple[SystemSaid, ...]
    biomarkers: tuple[Measure, ...]
    predicted: tuple[Measure, ...]
    profile: Markup


@dataclass(frozen=True)
class TwoSteps:
    """The film at which the two-step system looked. second: the probabilities of step two, where it ran."""

    image: Image
    first: tuple[Score, ...]
    says_viral: bool
    second: tuple[tuple[str, float], ...]


def label(image: Image) -> str:
    words_of = (image.modality, image.view, image.series_description)
    return " ".join(part for part in words_of if part) or "Image"


def reads(analysis: AnalysisView, images: Sequence[Image], cards: Mapping[str, Card]) -> list[Read]:
    """A series counts as one: its statements stand under one of its slices, the others have none of their own."""
    by_uid = {image.sop_instance_uid: image for image in images}
    series: dict[str, list[Image]] = defaultdict(list)
    for one in images:
        if one.taken:
            series[one.series_uid].append(one)
    scores, numbers = _by_image(analysis.scores), _by_image(analysis.numbers)
    foci, layers = _by_image(analysis.foci), _by_image(analysis.layers)
    alone = {name: all(one.sop_instance_uid in scores for one in of_one) for name, of_one in series.items()}
    found = []
    for uid, own in scores.items():
        image = by_uid.get(uid)
        name = label(image) if image else "An image that is no longer here"
        slices = [image] if image and image.taken else []
        if image and not alone.get(image.series_uid, True):
            slices = [one for one in series[image.series_uid] if one is image or one.sop_instance_uid not in scores]
        of_image = [one for one in numbers[uid] if not one.frame]
        uids = list(dict.fromkeys((uid, *(one.sop_instance_uid for one in slices))))
        part = replace(
            analysis,
            scores=tuple(own),
            foci=tuple(one for each in uids for one in foci[each]),
            layers=tuple(one for each in uids for one in layers[each]),
            numbers=tuple(one for each in uids for one in numbers[each]),
        )
        found.append(
            Read(
                name,
                tuple(_said(part, of_image)),
                _measured(of_image, cards, "lungs"),
                _measured(of_image, cards, "indicators"),
                _profile(part, slices),
            )
        )
    return found


def _by_image(rows: Sequence[OfImage]) -> dict[str, list[OfImage]]:
    found: dict[str, list[OfImage]] = defaultdict(list)
    for row in rows:
        found[row.sop_instance_uid].append(row)
    return found


def _said(part: AnalysisView, numbers: Sequence[Number]) -> list[SystemSaid]:
    """part: what the analysis says of one film or series; numbers: those of it that are of no slice."""
    names = {model.system: model.name for model in part.models}
    found = []
    for system in dict.fromkeys(score.system for score in part.scores):
        own = tuple(score for score in part.scores if score.system == system)
        foci = sum(one.system == system for one in part.foci)
        has_heat = any(one.system == system and one.kind == "heat" for one in part.layers)
        further = tuple(one for one in numbers if one.system == system and not one.name.startswith(OF_SLICE))
        found.append(SystemSaid(system, names.get(system, system), own[0].version, own, foci, has_heat, further))
    return found


def _measured(numbers: Sequence[Number], cards: Mapping[str, Card], kind: str) -> tuple[Measure, ...]:
    """Of systems whose card is of this kind: biomarkers of those that find lungs, predicted values of the others."""
    found = []
    for one in numbers:
        card = cards.get(one.system)
        known = {quantity.name: quantity for quantity in card.quantities} if card and card.kind == kind else {}
        if card and one.name in known:
            found.append(Measure(known[one.name], one.value, card.settings.get(f"error_{one.name}")))
    return tuple(found)


def _profile(analysis: AnalysisView, slices: Sequence[Image]) -> Markup:
    """The probability of each slice by system, from the feet; empty where no system judged slices."""
    place = {(one.sop_instance_uid, frame): at for at, (one, frame) in enumerate(_frames(slices), start=1)}
    drawn: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for one in analysis.numbers:
        at = place.get((one.sop_instance_uid, one.frame or 1))
        if at is not None and one.name.startswith(OF_SLICE):
            drawn.setdefault((one.system, one.name.removeprefix(OF_SLICE)), []).append((at, one.value))
    shown = {key: points for key, points in drawn.items() if not key[1].startswith(("non_", "normal"))}
    if not shown:
        return Markup("")
    lines = [
        Line(f"{system}: {words.class_name(name)}", f"line-{number}", sorted(points))
        for number, ((system, name), points) in enumerate(shown.items(), start=1)
    ]
    last = len(place)
    marks = [(at, str(at)) for at in dict.fromkeys((1, round(last / 4), round(last / 2), round(3 * last / 4), last))]
    title = f"Probability in each slice by {', '.join(line.name for line in lines)}"
    return charts.lines(title, lines, Axis(1, max(last, 2), [m for m in marks if m[0]], "slice, from the feet"), 0.5)


def _frames(images: Sequence[Image]) -> list[tuple[Image, int]]:
    return [(image, frame) for image in images for frame in range(1, image.frames + 1)]


def two_steps(analysis: AnalysisView, images: Sequence[Image]) -> list[TwoSteps]:
    """As in the paper: a second panel where step one says viral and step two ran."""
    found = []
    for image in images:
        own = [score for score in analysis.scores if score.system == TWO_STEP]
        first = tuple(score for score in own if score.sop_instance_uid == image.sop_instance_uid)
        if not first:
            continue
        numbers = {one.name: one.value for one in analysis.numbers
                   if one.system == TWO_STEP and one.sop_instance_uid == image.sop_instance_uid}  # fmt: skip
        says_viral = any(score.decision and score.class_name in VIRAL for score in first)
        second = [(name.removeprefix(STEP_TWO), value) for name, value in numbers.items() if name.startswith(STEP_TWO)]
        found.append(TwoSteps(image, first, says_viral, tuple(second) if numbers.get(RAN) else ()))
    return found


def viewer(view: StudyView) -> dict[str, Any]:
    """What the script needs: stacks of images, where heat is, foci by image."""
    analysis = view.analysis
    stacks: dict[str, dict[str, Any]] = {}
    for image in view.images:
        if not image.rows:
            continue
        key = image.sop_instance_uid if image.modality in FILMS else image.series_uid
        stack = stacks.setdefault(key, _stack(image))
        stack["images"] += [[image.sop_instance_uid, frame] for frame in range(1, image.frames + 1)]
    heat: dict[str, list[str]] = {}
    over = analysis.layers if analysis else ()
    for one in over:
        if one.kind == "heat":
            heat.setdefault(f"{one.sop_instance_uid}/{one.frame or 1}", []).append(one.system)
    return {
        "study": view.study_uid,
        "analysis": analysis.number if analysis else None,
        "stacks": list(stacks.values()),
        "systems": list(dict.fromkeys(one.system for one in over if one.kind == "heat")),
        "heat": heat,
        "layers": list(dict.fromkeys(f"{one.sop_instance_uid}/{one.frame or 1}" for one in over)),
        "foci": _foci(analysis) if analysis else {},
    }


def _stack(image: Image) -> dict[str, Any]:
    is_ct = image.modality == "CT"
    return {"label": label(image), "series": image.series_uid, "isCt": is_ct, "images": []}


def _foci(analysis: AnalysisView) -> dict[str, list[list[Any]]]:
    found: dict[str, list[list[Any]]] = {}
    for one in analysis.foci:
        key = f"{one.sop_instance_uid}/{one.frame or 1}"
        found.setdefault(key, []).append([one.system, one.number, round(one.x_px, 1), round(one.y_px, 1)])
    return found


def slices(viewer: Mapping[str, Any]) -> dict[str, int]:
    """Place of each slice in its stack, from 1, by the names of ``viewer``; empty where there is no stack."""
    stacks = [stack["images"] for stack in viewer["stacks"]]
    if all(len(images) < 2 for images in stacks):
        return {}
    return {f"{uid}/{frame}": at for images in stacks for at, (uid, frame) in enumerate(images, start=1)}
