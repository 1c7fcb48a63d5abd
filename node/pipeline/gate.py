"""What is asked before a result leaves: is it the file that was built, and of the right patient, here and there?

Here: its patient and study are held against the source's again, the first file received that can be read. There, where
the settings ask for it: as whom does the destination know the study? One result that may not leave holds back all of
its study, since a heat map without its report would tell half a story. A destination that does not answer is asked
again later; nothing is sent unchecked meanwhile.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pydicom import Dataset

from node.archive import Archive
from node.core.errors import BadDataSet, Refused, Transient
from node.core.settings import Destination
from node.db.deliveries import Due
from node.pipeline.film import read_header
from node.pipeline.identity import COMPARED, Known, contradiction, difference
from node.results.elements import copied

UNKNOWN_THERE = "the destination did not know the study before"
Asker = Callable[[Destination, Sequence[str]], Mapping[str, Known]]  # study UIDs -> what the destination says of each


def nobody_asks(destination: Destination, study_uids: Sequence[str]) -> Mapping[str, Known]:
    """The asker of a node without a network."""
    return {uid: Known(problem="nobody asked it") for uid in study_uids}


@dataclass(frozen=True)
class Verdict:
    """At most one is given. held: why it must not leave. later: why that cannot be said yet. note: goes with it."""

    held: str = ""
    later: str = ""
    note: str = ""


@dataclass(frozen=True)
class Gate:
    """received: the paths of a study's sources by its id, in the order of receipt."""

    archive: Archive
    ask: Asker
    received: Callable[[int], Sequence[str]]

    def __call__(self, destination: Destination, items: Sequence[Due]) -> list[Verdict]:
        """One verdict for each item, in order."""
        sources: dict[int, Dataset] = {}  # by study
        try:
            objections = [self._objection(item, sources) for item in items]
        except Transient as error:
            return [Verdict(later=str(error)) for _ in items]
        doubted = {item.study_id: said for item, said in zip(items, objections, strict=True) if said}
        answers = self._answers(destination, [item for item in items if item.study_id not in doubted])
        return [
            Verdict(held=said or f"Another result of its study is held: {doubted[item.study_id]}")
            if item.study_id in doubted
            else self._there(item, answers.get(item.study_uid))
            for item, said in zip(items, objections, strict=True)
        ]

    def _objection(self, item: Due, sources: dict[int, Dataset]) -> str:
        """Empty when the output is what was built and belongs to the patient and study of its source."""
        path = self.archive.path(item.path)
        try:
            if hashlib.sha256(path.read_bytes()).hexdigest() != item.sha256:
                return "The file in the archive is not the one that was built."
            ours = read_header(path)
            if item.study_id not in sources:
                sources[item.study_id] = copied(self._source(item), COMPARED)
        except (OSError, Refused):
            return "The file, or the source it is compared with, cannot be read from the archive."
        keyword = contradiction((ours, sources[item.study_id]))
        if ours.get("StudyInstanceUID") != item.study_uid:
            keyword = "StudyInstanceUID"
        return f"Its {keyword} differs from that of the source study." if keyword else ""

    def _source(self, item: Due) -> Dataset:
        """Raises Refused where none of the files that were received is one of the study any more."""
        for path in self.received(item.study_id):
            with contextlib.suppress(Refused):
                header = read_header(self.archive.path(path))
                if header.get("StudyInstanceUID") == item.study_uid:
                    return header
        raise BadDataSet("No source of the study can be read.")

    def _answers(self, destination: Destination, items: Sequence[Due]) -> Mapping[str, Known]:
        """By study UID; empty where the settings ask for no check."""
        if not items or destination.objects is None or not destination.objects.identity_check:
            return {}
        uids = list(dict.fromkeys(item.study_uid for item in items))
        unanswered = {uid: Known(problem="it did not answer") for uid in uids}
        return {**unanswered, **self.ask(destination, uids)}

    def _there(self, item: Due, known: Known | None) -> Verdict:
        if known is None:
            return Verdict()
        if known.problem:
            return Verdict(later=f"not sent before the destination says whose the study is: {known.problem}")
        if not known.patients:
            return Verdict(note=UNKNOWN_THERE)
        ours: Dataset = read_header(self.archive.path(item.path))
        found = next((keyword for patient in known.patients if (keyword := difference(ours, patient))), "")
        return Verdict(held=f"The destination knows the study with another {found}." if found else "")
