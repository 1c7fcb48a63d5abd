"""Which objects of an analysis are built for which destination.

Destinations with the same wishes share the objects. Reports name the earlier ones that their destinations were owed.
Where a destination may refuse every form of a report, the one-page picture of it is built as well and kept.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from node.core.settings import Objects, Settings
from node.db.results import EarlierReport
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
    record: AnalysisRecord, settings: Settings, earlier: Sequence[EarlierReport]
) -> tuple[list[Addressed], list[str]]:
    """Every object once, the usual ones where there is no destination; and sentences on how they were written."""
    forms: dict[Objects, list[str]] = {}
    for peer in settings.peers:
        forms.setdefault(_told(record, peer.objects or settings.objects), []).append(peer.name)
    found: dict[str, Addressed] = {}
    notes: list[str] = []
    for form, names in (forms or {settings.objects: []}).items():
        of_form = dataclasses.replace(record, wanted=form, predecessors=_predecessors(earlier, names))
        said: list[str] = []
        for item in build(of_form, said.append):
            found.setdefault(item.sop_instance_uid, Addressed(item)).owed_to.extend(names)
        notes += [f"{sentence} ({', '.join(names)})" for sentence in said]
        if names and form.fall_back and "page" not in form.kinds and REPORTS & set(form.kinds):
            page = dataclasses.replace(of_form, wanted=dataclasses.replace(form, kinds=("page",)))
            for item in build(page):
                found.setdefault(item.sop_instance_uid, Addressed(item)).kept_for.extend(names)
    return list(found.values()), notes


def _told(record: AnalysisRecord, form: Objects) -> Objects:
    """A destination that wants pictures alone is told by a page why there is none: silence is no result."""
    if record.predictions or {"summary", "page"} & set(form.kinds):
        return form
    return dataclasses.replace(form, kinds=(*form.kinds, "page"))


def _predecessors(earlier: Sequence[EarlierReport], names: Collection[str]) -> tuple[Predecessor, ...]:
    """The reports of the analysis before that one of these destinations was owed."""
    return tuple(
        Predecessor(
            report.kind,
            report.sop_class_uid,
            report.sop_instance_uid,
            report.series_instance_uid,
            report.instance_number,
        )
        for report in earlier
        if not set(report.destinations).isdisjoint(names)
    )
