"""What would become of a study, without analysing it: every rule speaks as in a worker, and no model is loaded.

Headers first, then the pixels of the films and the volume of the series that they leave. What a model refuses on sight
is not foreseen, but the age that its card states. Nothing of a person is told, UIDs alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydicom import Dataset

from models.api import Card
from node.core.errors import Refused
from node.core.settings import Analysis
from node.core.study import StoredInstance
from node.pipeline import age
from node.pipeline.objections import age_years, first_objection, remarks
from node.pipeline.picture import Look, look_at
from node.pipeline.rules import Rules
from node.pipeline.select import Selection, Taken, TakenSeries, select_images
from node.pipeline.volume import load_series

REPEATED = "Another image of the series lies at the same place."
FILMS = ("CR", "DX", "RG")


@dataclass(frozen=True)
class Verdict:
    """One film, or those images of a series of which the same is said. ``sop_instance_uid``: of a single image.

    rule: what decided that it is left out. remarks: what would be said of it though it is taken.
    """

    study_uid: str
    series_uid: str
    modality: str
    sop_instance_uid: str
    images: int
    taken: bool
    rule: str
    sentence: str
    remarks: str = ""


@dataclass(frozen=True)
class Said:
    """What is said of one image."""

    taken: bool
    rule: str
    sentence: str
    remarks: str = ""


def left(rule: str, sentence: str) -> Said:
    return Said(False, rule, sentence)


@dataclass(frozen=True)
class Trial:
    """Everything that decides: the settings, the rules, the cards of the models."""

    analysis: Analysis
    rules: Rules
    cards: Sequence[Card]

    def verdicts(self, instances: Sequence[StoredInstance]) -> list[Verdict]:
        """Of the images of one study, in their order."""
        said = self.said(instances)
        return grouped([(instance, said[instance.sop_instance_uid]) for instance in instances])

    def said(self, instances: Sequence[StoredInstance]) -> dict[str, Said]:
        """By SOP Instance UID."""
        selection = select_images(instances, bool(self.analysis.ct_systems), self.rules)
        found = [*self._films(selection), *(one for run in selection.series for one in self._series(run))]
        found += [(out.sop_instance_uid, left(out.rule, out.reason)) for out in selection.left_out]
        return dict(found)

    def _films(self, selection: Selection) -> list[tuple[str, Said]]:
        looks: list[Look] = []
        found = []
        for taken in selection.taken:
            try:
                look = look_at(taken.instance, taken.needs_pixel_check, tuple(looks))
                found.append((taken.instance.sop_instance_uid, self._film(taken, look)))
                if found[-1][1].taken:
                    looks.append(look)
            except Refused as error:
                found.append((taken.instance.sop_instance_uid, left("decoding", str(error))))
        return found

    def _film(self, taken: Taken, look: Look) -> Said:
        if objection := first_objection(look, self.rules.picture):
            return left(objection.rule, objection.sentence)
        analysis = self.analysis
        too_young, somebody = self._too_young(look.header, analysis.systems)
        if not somebody:
            return left("card", " ".join(too_young))
        also = self._too_young(look.header, (analysis.segmenter, analysis.biomarkers, *analysis.indicators))[0]
        notes = (*look.notes, *taken.notes, *remarks(look, self.rules.picture), *too_young, *also)
        return Said(True, "", taken.reason, " ".join(dict.fromkeys(notes)))

    def _series(self, run: TakenSeries) -> list[tuple[str, Said]]:
        uids = [instance.sop_instance_uid for instance in run.instances]
        try:
            loaded = load_series(run.instances)
        except Refused as error:
            return [(uid, left("volume", str(error))) for uid in uids]
        too_young, somebody = self._too_young(loaded.slices[0].header, self.analysis.ct_systems)
        notes = " ".join((*loaded.notes, *run.notes, *too_young))
        said = Said(True, "", run.reason, notes) if somebody else left("card", " ".join(too_young))
        used = {item.instance.sop_instance_uid for item in loaded.slices}
        return [(uid, said if uid in used else left("repeated", REPEATED)) for uid in uids]

    def _too_young(self, header: Dataset, systems: Sequence[str]) -> tuple[list[str], bool]:
        """(what the cards of the systems say against the patient's age; whether some system is left)."""
        known = age_years(header)
        said = [age.objection(card, known) for card in self.cards if card.system in systems]
        return [one for one in said if one], not all(said) or not said


def grouped(said: Sequence[tuple[StoredInstance, Said]]) -> list[Verdict]:
    """Films one by one; slices and other objects of a series together where the same is said of them."""
    groups: dict[tuple[str, str, str, Said], list[StoredInstance]] = {}
    for instance, what in said:
        alone = instance.sop_instance_uid if instance.modality in FILMS else ""
        groups.setdefault((instance.series_instance_uid, instance.modality, alone, what), []).append(instance)
    return [
        Verdict(
            found[0].study_instance_uid, series, modality, found[0].sop_instance_uid if len(found) == 1 else "",
            len(found), what.taken, what.rule, what.sentence, what.remarks,
        )
        for (series, modality, _, what), found in groups.items()
    ]  # fmt: skip
