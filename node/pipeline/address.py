"""Which objects of an analysis are built for which destination.

Destinations with the same wishes and the same past share the objects. Reports name the earlier ones that their
destinations were owed, and a rejection note the earlier pictures.
Where a destination may refuse every form of a report, the one-page picture of it is built as well and kept: drawing it
takes as long as all else, so one that took the last report, and answers, has none.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from node.core.settings import Objects, Settings
from node.db.results import EarlierObject
from node.results.build import build
from node.results.record import AnalysisRecord, BuiltObject, Predecessor

REPORTS = {"summary", "regions"}  # kinds of the settings that end as a page where no form of them is taken


@dataclass
class Addressed:
    """An object, the destinations that it is owed to, and those for which it is kept should they take no report."""

    item: BuiltObject
    owed_to: list[str] = field(default_factory=list)
    kept_for: list[str] = field(default_factory=list)


def address(
    record: AnalysisRecord, settings: Settings, earlier: Sequence[EarlierObject], sure: Collection[str] = ()
) -> tuple[list[Addressed], list[str]]:
    """Every object once, the usual ones where there is no destination; and sentences on how they were written.

    sure: destinations that take reports.
    """
    forms: dict[tuple[Objects, tuple[Predecessor, ...]], list[str]] = {}
    for peer in settings.peers:
        form = _told(record, peer.objects or settings.objects)
        forms.setdefault((form, _predecessors(earlier, peer.name)), []).append(peer.name)
    found: dict[str, Addressed] = {}
    notes: list[str] = []
    for (form, before), names in (forms or {(settings.objects, ()): []}).items():
        of_form = dataclasses.replace(record, wanted=form, predecessors=before)
        said: list[str] = []
        for item in build(of_form, said.append):
            found.setdefault(item.sop_instance_uid, Addressed(item)).owed_to.extend(names)
        notes += [f"{sentence} ({', '.join(names)})" for sentence in said]
        unsure = [name for name in names if name not in sure]
        if unsure and form.fall_back and "page" not in form.kinds and REPORTS & set(form.kinds):
            page = dataclasses.replace(of_form, wanted=dataclasses.replace(form, kinds=("page",)))
            for item in build(page):
                found.setdefault(item.sop_instance_uid, Addressed(item)).kept_for.extend(unsure)
    return list(found.values()), notes


def _told(record: AnalysisRecord, form: Objects) -> Objects:
    """A destination that wants pictures alone is told by a page why there is none: silence is no result."""
    if record.predictions or {"summary", "page"} & set(form.kinds):
        return form
    return dataclasses.replace(form, kinds=(*form.kinds, "page"))


def _predecessors(earlier: Sequence[EarlierObject], name: str) -> tuple[Predecessor, ...]:
    """What of the analysis before this destination was owed."""
    return tuple(
        Predecessor(
            item.kind,
            item.sop_class_uid,
            item.sop_instance_uid,
            item.series_instance_uid,
            item.instance_number,
        )
        for item in earlier
        if name in item.destinations
    )
