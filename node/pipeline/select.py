"""Which images of a study are analysed, and in a sentence why each other one is not. Headers only, no pixels.

Frontal chest films are taken (CR, DX for presentation, or a capture that names a film as its modality) and one axial
chest CT series, by the rules of ``config/selection.toml`` (``rules``). Three rules stand here and cannot be switched
off: a result of this node is never analysed, a file that cannot be read is left out, and nothing is analysed of a study
of two patients. Where the header names neither view nor body part, the pixels are looked at later (``picture``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pydicom import Dataset
from pydicom.uid import CTImageStorage

from node.core.errors import Refused
from node.core.study import StoredInstance
from node.pipeline import series
from node.pipeline.film import header_of
from node.pipeline.frames import MULTI_FRAME_CT, slices_of
from node.pipeline.header import text_of
from node.pipeline.identity import contradiction
from node.pipeline.objections import Objection, Rule, description, first_objection, names_the_chest, remarks
from node.pipeline.rules import Rules, load
from node.results.record import LeftOut

OWN_RESULT = Objection("own-result", "It is a result of this node.")
TWO_PATIENTS = Objection(
    "two-patients", "The study carries images of two different patients; nothing of it is analysed."
)


@dataclass(frozen=True)
class Taken:
    """An image to analyse; ``needs_pixel_check``: its header does not say that it is a frontal chest film.

    notes: what the rules have to say of it, one sentence each.
    """

    instance: StoredInstance
    needs_pixel_check: bool
    reason: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class TakenSeries:
    """A CT series to analyse, in the order of its instance numbers; of frames, their one object."""

    instances: tuple[StoredInstance, ...]
    reason: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Selection:
    """Every instance of the study stands in exactly one of the three."""

    taken: tuple[Taken, ...]
    left_out: tuple[LeftOut, ...]
    series: tuple[TakenSeries, ...] = ()


def select_images(
    instances: Sequence[StoredInstance],
    ct: bool = True,
    rules: Rules | None = None,
    patient: Callable[[], Dataset] = Dataset,
) -> Selection:
    """``ct``: some configured system analyses CT. ``rules``: the shipped ones where there are none. ``patient``: as
    whom the study was received, which counts where a file can no longer say it; empty where nobody knows."""
    rules = rules or load()
    headers: dict[str, Dataset] = {}
    taken: list[Taken] = []
    left_out: list[LeftOut] = []
    slices: list[series.Candidate] = []
    for instance in instances:
        objection: Objection | None
        try:
            headers[instance.sop_instance_uid] = header = header_of(instance)
            kind = "ct" if ct and _is_ct(header) else "film"
            images = slices_of(header) if kind == "ct" else [header]
            objection = OWN_RESULT if instance.is_own_result else _objection(images, rules.of(kind))
        except Refused as error:
            objection = Objection("unreadable", str(error))
        if objection:
            left_out.append(left_out_as(instance, objection))
        elif kind == "ct":
            slices += [series.Candidate(instance, image) for image in images]
        else:
            taken.append(_taken(instance, header, rules))
    chosen, refused = series.choose(slices, rules.series, rules.choice)
    left_out += dict.fromkeys(left_out_as(item.instance, objection) for item, objection in refused)
    found = tuple(_taken_series(run, why, rules) for run, why in chosen)
    selection = Selection(tuple(taken), tuple(left_out), found)
    received = [headers.get(instance.sop_instance_uid) for instance in instances if not instance.is_own_result]
    said = [header for header in received if header is not None]
    if len(said) < len(received) and (known := patient()):
        said.append(known)
    return _nothing(selection) if contradiction(said) else selection


def _nothing(selection: Selection) -> Selection:
    of_series = [instance for taken in selection.series for instance in taken.instances]
    images = [*(taken.instance for taken in selection.taken), *of_series]
    return Selection((), (*selection.left_out, *(left_out_as(instance, TWO_PATIENTS) for instance in images)))


def left_out_as(instance: StoredInstance, objection: Objection) -> LeftOut:
    return LeftOut(
        instance.series_instance_uid,
        instance.sop_instance_uid,
        instance.sop_class_uid,
        instance.modality,
        objection.sentence,
        objection.rule,
    )


def _is_ct(header: Dataset) -> bool:
    return text_of(header, "SOPClassUID") in (CTImageStorage, *MULTI_FRAME_CT)


def _objection(images: Sequence[Dataset], rules: Sequence[Rule[Dataset]]) -> Objection | None:
    """The first, which of a multi-frame object names the frame where the first frame would have passed."""
    for number, image in enumerate(images, start=1):
        if found := first_objection(image, rules):
            return Objection(found.rule, f"Frame {number}: {found.sentence}") if number > 1 else found
    return None


def _taken(instance: StoredInstance, header: Dataset, rules: Rules) -> Taken:
    silent, why = _what_the_header_says(header, rules)
    return Taken(instance, silent, why, remarks(header, rules.of("film")))


def _taken_series(run: series.Run, why: str, rules: Rules) -> TakenSeries:
    of_images = [said for item in run for said in remarks(item.header, rules.of("ct"))]
    notes = tuple(dict.fromkeys([*of_images, *remarks(run, rules.series)]))
    return TakenSeries(tuple(dict.fromkeys(item.instance for item in run)), why, notes)


def _what_the_header_says(header: Dataset, rules: Rules) -> tuple[bool, str]:
    """(whether the pixels must say the rest, the sentence)."""
    words, told = rules.words, description(header)
    chest = names_the_chest(header, words["chest"])
    view = bool(text_of(header, "ViewPosition") or header.get("ViewCodeSequence", None))
    frontal = view or bool(words["frontal"].search(told) and not words["lateral"].search(told))
    if chest and frontal:
        return False, "Frontal chest film by its header."
    missing = " and ".join(name for name, said in (("body part", chest), ("view", frontal)) if not said)
    return True, f"The header does not name the {missing}; the pixels look like a frontal chest film."
