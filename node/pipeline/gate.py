"""What is asked before a result leaves: is it the file that was built, and of the right patient, here and there?

Here: its patient and study are held against the source's again, whom no damage to a file may change. There, where the
settings ask for it: as whom does the destination know the study? One result that may not leave holds back all of its
study, since a heat map without its report would tell half a story. A destination that does not answer is asked again
later; nothing is sent unchecked meanwhile.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pydicom import Dataset

from node.archive import Archive
from node.core.errors import Refused, Transient
from node.core.settings import Destination
from node.db.deliveries import Due, Sources
from node.incoming import digest_of
from node.pipeline.blame import blamed
from node.pipeline.film import read_header
from node.pipeline.header import text_of
from node.pipeline.identity import COMPARED, Known, contradiction, difference
from node.results.elements import copied

UNKNOWN_THERE = "the destination did not know the study before"
Asker = Callable[[Destination, Sequence[str]], Mapping[str, Known]]  # study UIDs -> what the destination says of each


UNREADABLE = "The file, or the source it is compared with, cannot be read from the archive."
CHANGED = "The source it is compared with is not what was received any more."


class _NoSource(Exception):
    """The sentence says why."""


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
    """received: of a study by its id."""

    archive: Archive
    ask: Asker
    received: Callable[[int], Sources]

    def __call__(self, destination: Destination, items: Sequence[Due]) -> list[Verdict]:
        """One verdict for each item, in order."""
        sources: dict[int, Dataset] = {}  # by study
        try:
            with self.archive.reading(()):  # a share that is away has lost no file
                said = [self._here(item, sources) for item in items]
        except Transient as error:
            return [Verdict(later=str(error)) for _ in items]
        held = {item.study_id: one.held for item, one in zip(items, said, strict=True) if one.held}
        late = {item.study_id: one.later for item, one in zip(items, said, strict=True) if one.later}
        sound = [item for item in items if item.study_id not in held and item.study_id not in late]
        answers = self._answers(destination, sound)

        def verdict(item: Due, one: Verdict) -> Verdict:
            if item.study_id in held:
                return Verdict(held=one.held or f"Another result of its study is held: {held[item.study_id]}")
            if item.study_id in late:
                return Verdict(later=late[item.study_id])
            return self._there(item, answers.get(item.study_uid))

        return [verdict(item, one) for item, one in zip(items, said, strict=True)]

    def _here(self, item: Due, sources: dict[int, Dataset]) -> Verdict:
        """Of each study for itself: what ails the files of one keeps back no other."""
        try:
            return Verdict(held=self._objection(item, sources))
        except Transient as error:
            if self.archive.is_remote:  # it is the store that is away, and each would wait for it anew
                raise
            return Verdict(later=str(error))

    def _objection(self, item: Due, sources: dict[int, Dataset]) -> str:
        """Empty when the output is what was built and belongs to the patient and study of its source."""
        try:
            if hashlib.sha256(self._bytes(item.path)).hexdigest() != item.sha256:
                return "The file in the archive is not the one that was built."
            ours = read_header(self.archive.path(item.path))
        except Refused:
            return UNREADABLE
        try:
            if item.study_id not in sources:
                sources[item.study_id] = copied(self._source(item), COMPARED)
        except _NoSource as error:
            return str(error)
        keyword = contradiction((ours, sources[item.study_id]))
        if text_of(ours, "StudyInstanceUID") != item.study_uid:
            keyword = "StudyInstanceUID"
        return f"Its {keyword} differs from that of the source study." if keyword else ""

    def _bytes(self, path: str) -> bytes:
        try:
            return self.archive.path(path).read_bytes()
        except OSError as error:
            raise blamed(error) from error

    def _source(self, item: Due) -> Dataset:
        """Of the first file that arrived, if it still is what arrived; else of the first one that is of the patient as
        whom the study was received."""
        received, found = self.received(item.study_id), False
        for number, (path, sha256) in enumerate(received.files):
            header = self._readable(path)
            found = found or header is not None
            if header is None or text_of(header, "StudyInstanceUID") != item.study_uid:
                continue
            patient = text_of(header, "PatientID"), text_of(header, "IssuerOfPatientID")
            if patient == (received.patient_id, received.issuer) or (not number and self._is_whole(path, sha256)):
                return header
        raise _NoSource(CHANGED if found else UNREADABLE)

    def _readable(self, path: str) -> Dataset | None:
        try:
            return read_header(self.archive.path(path))
        except Refused:
            return None

    def _is_whole(self, path: str, sha256: str) -> bool:
        try:
            with self.archive.path(path).open("rb") as file:
                return digest_of(file) == sha256
        except OSError as error:
            if isinstance(reason := blamed(error), Transient):
                raise reason from error
            return False

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
