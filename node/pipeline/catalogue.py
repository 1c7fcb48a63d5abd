"""Query and retrieve as a use-case: which stored objects fit a query, and which files a retrieval means.

Knows the database and the archive, and no network. The texts that are matched are read from one header of each series
(``describe``), by a duty in the background and, for what has just come, before each answer.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from pydicom import dcmread
from pydicom.filereader import read_file_meta_info

from node.archive import Archive
from node.core.errors import Refused, Transient
from node.db import catalogue as rows
from node.db import one_object
from node.db.catalogue import Held, Mark, Narrowed, SeriesRecord, StudyRecord, StudyTexts, Undescribed
from node.db.session import Database
from node.pipeline.blame import is_unread
from node.pipeline.header import items_of, text_of
from node.pipeline.query_keys import LEVELS, UNIQUE, Level, Value, days, is_single, is_universal, known_at, matches
from node.pipeline.uses import Uses

PAGE = 200  # candidates read at once
ADVICE = "ask for less, by date, patient or study, or for a page that begins sooner."
STUDY_TEXTS = {
    "PatientName": "patient_name",
    "PatientBirthDate": "birth_date",
    "PatientSex": "sex",
    "StudyTime": "study_time",
    "StudyID": "study_number",
    "StudyDescription": "description",
    "ReferringPhysicianName": "referring_physician",
}
SERIES_TEXTS = {
    "Modality": "modality",
    "SeriesDescription": "description",
    "BodyPartExamined": "body_part",
    "ProtocolName": "protocol",
    "SeriesDate": "series_date",
    "SeriesTime": "series_time",
    "PerformedProcedureStepStartDate": "step_start_date",
    "PerformedProcedureStepStartTime": "step_start_time",
}
REQUEST_TEXTS = {"ScheduledProcedureStepID": "step_ids", "RequestedProcedureID": "procedure_ids"}
OF_PATIENT = {f"NumberOfPatientRelated{what}" for what in ("Studies", "Series", "Instances")}
OF_STUDY = {
    "ModalitiesInStudy", "SOPClassesInStudy", "NumberOfStudyRelatedSeries", "NumberOfStudyRelatedInstances",
}  # fmt: skip


class NotAnIdentifier(Refused):
    """The identifier lacks a unique key of a level above, or names none of the level. PS3.4 section C.4.1.2.1."""


class TooBroad(Refused):
    """The search takes longer than it may; a narrower one, or a page nearer to the begin, need not."""


@dataclass(frozen=True)
class Query:
    """asked: keyword -> what to match, empty for everything; only keywords that ``known_at`` the level has.

    relational: the unique keys of the levels above may be absent or lists (PS3.4 section C.4.1.2.2.1). site: whose
    studies alone; None: all.
    """

    level: Level
    asked: Mapping[str, str]
    patient_root: bool
    relational: bool = False
    site: str | None = None


class Catalogue:
    """Shared by all associations; every method may be called from any thread."""

    def __init__(self, database: Database, archive: Archive) -> None:
        self._database, self._archive = database, archive
        self._describing = threading.Lock()
        self._uses = Uses(database)
        self._described = Mark()  # so that what was read before is not looked for again

    def describe(self) -> None:
        """Read the texts of series that came since the last time; what cannot be read now is read the next time."""
        with self._describing:
            with self._database.read() as session:
                newest = rows.newest(session)
            while True:
                with self._database.read() as session:
                    found = rows.undescribed(session, self._described, PAGE)
                if not found:
                    self._described = newest
                    return
                with self._archive.reading(one.path for one in found):
                    read = [(one, *texts) for one in found if (texts := _read(self._archive, one)) is not None]
                with self._database.write() as session:
                    rows.describe(session, read)
                if len(read) < len(found):
                    return

    def find(self, query: Query, go_on: Callable[[], None] = lambda: None) -> Iterator[dict[str, Value]]:
        """The matches, newest first, each with a value for every keyword asked and the unique keys of its level.
        go_on: asked again and again, found something or not; what it raises ends the search."""
        if not query.relational:
            _require_unique_keys(query)
        self.describe()
        for study in self._candidates(query, go_on):
            go_on()
            yield from self._below(query, study)

    def _candidates(self, query: Query, go_on: Callable[[], None]) -> Iterator[StudyRecord]:
        """Studies, or patients in the form of their newest study, that fit what the rows alone can tell."""
        narrowed, below = _narrowed(query), None
        read = rows.patients if query.level is Level.PATIENT else rows.studies
        while True:
            with self._database.read() as session:
                page = read(session, narrowed, below, PAGE)
            go_on()
            for study in page:
                if _fits(query, of_study(study)):
                    yield study
            if len(page) < PAGE:
                return
            below = page[-1].patient if query.level is Level.PATIENT else page[-1].id

    def _below(self, query: Query, study: StudyRecord) -> Iterator[dict[str, Value]]:
        values = of_study(study)
        if query.asked.keys() & OF_STUDY:
            values |= self._extent(study)
            if not _fits(query, values):
                return
        if query.level is Level.PATIENT:
            if query.asked.keys() & OF_PATIENT:
                values |= self._extent_of_patient(study, query.site)
            yield _asked(query, values)
        elif query.level is Level.STUDY:
            yield _asked(query, values)
        else:
            yield from self._series(query, study, values)

    def _series(self, query: Query, study: StudyRecord, above: Mapping[str, Value]) -> Iterator[dict[str, Value]]:
        with self._database.read() as session:
            found = rows.series(session, study.id)
        for series in found:
            values = {**above, **_of_series(series)}
            if not _fits(query, values):
                continue
            if query.level is Level.SERIES:
                with self._database.read() as session:
                    extent = rows.extent(session, [study.id], series.series_uid)
                if extent.objects:
                    yield _asked(query, {**values, "NumberOfSeriesRelatedInstances": extent.objects})
                continue
            with self._database.read() as session:
                images = _list(query.asked.get("SOPInstanceUID", ""))
                held = rows.held(session, study.id, [series.series_uid], images)
            for one in held:
                image = {**values, **self._of_image(one)}
                if _fits(query, image):
                    yield _asked(query, image)

    def _of_image(self, one: Held) -> dict[str, Value]:
        number, height, width, frames = one.instance_number, one.rows, one.columns, one.frames
        syntax = one.transfer_syntax_uid
        if one.is_result:
            ds = dcmread(self._archive.path(one.path), stop_before_pixels=True, force=True)
            number, height, width, frames = (
                _number(text_of(ds, keyword)) for keyword in ("InstanceNumber", "Rows", "Columns", "NumberOfFrames")
            )
            syntax = str(ds.file_meta.TransferSyntaxUID)
        return {
            "SOPInstanceUID": one.sop_instance_uid,
            "SOPClassUID": one.sop_class_uid,
            "InstanceNumber": number,
            "AvailableTransferSyntaxUID": syntax,
            "Rows": height,
            "Columns": width,
            "NumberOfFrames": frames,
        }

    def _extent(self, study: StudyRecord) -> dict[str, Value]:
        with self._database.read() as session:
            series, extent = rows.series(session, study.id), rows.extent(session, [study.id])
        here = [one for one in series if one.series_uid in extent.series]
        return {
            "ModalitiesInStudy": tuple(sorted({one.modality for one in here if one.modality})),
            "SOPClassesInStudy": tuple(sorted(extent.sop_classes)),
            "NumberOfStudyRelatedSeries": len(extent.series),
            "NumberOfStudyRelatedInstances": extent.objects,
        }

    def _extent_of_patient(self, study: StudyRecord, site: str | None) -> dict[str, Value]:
        with self._database.read() as session:
            ids = rows.studies_of(session, study.patient, site)
            extent = rows.extent(session, ids)
        return {
            "NumberOfPatientRelatedStudies": len(ids),
            "NumberOfPatientRelatedSeries": len(extent.series),
            "NumberOfPatientRelatedInstances": extent.objects,
        }

    def held(self, query: Query) -> list[Held]:
        """What a C-MOVE or C-GET with these unique keys means, each with the transfer syntax of its file.

        Peers that name a study without its patient are met (PS3.4 section C.4.2.2.1 wants both): the UID is enough.
        """
        _require_unique_keys(replace(query, patient_root=False))
        wanted = query.asked.get(UNIQUE[query.level], "")
        if not wanted:
            raise NotAnIdentifier(f"the identifier names no {UNIQUE[query.level]}")
        only = {level: _list(query.asked.get(UNIQUE[level], "")) for level in LEVELS}
        patient = query.asked.get("PatientID") or None
        narrowed = Narrowed(study_uids=only[Level.STUDY], patient_id=patient, site=query.site)
        found: list[Held] = []
        below: int | None = None
        while True:
            with self._database.read() as session:
                page = rows.studies(session, narrowed, below, PAGE)
                below_study = (only[Level.SERIES], only[Level.IMAGE])
                found += [one for study in page for one in rows.held(session, study.id, *below_study)]
            self._uses.note(study.id for study in page)
            if len(page) < PAGE:
                break
            below = page[-1].id
        return [self._with_syntax(one) for one in found]

    def one(self, study_uid: str, series_uid: str, sop_uid: str) -> Held | None:
        """As ``held``, of a single object whose UIDs are all named; None where there is none."""
        with self._database.read() as session:
            found = one_object.find(session, study_uid, series_uid, sop_uid)
        if found is None:
            return None
        self._uses.note([found[0]])
        return self._with_syntax(found[1])

    def _with_syntax(self, one: Held) -> Held:
        if one.transfer_syntax_uid:
            return one
        syntax = read_file_meta_info(self._archive.path(one.path)).TransferSyntaxUID
        return replace(one, transfer_syntax_uid=str(syntax))


def patience(seconds: float) -> Callable[[], None]:
    """Raises TooBroad once they are over."""
    until = time.monotonic() + seconds

    def in_time() -> None:
        if time.monotonic() > until:
            raise TooBroad(f"The search takes longer than {seconds:g} s: {ADVICE}")

    return in_time


def _require_unique_keys(query: Query) -> None:
    """Hierarchical search, PS3.4 section C.4.1.2.1: one value for the unique key of each level above."""
    for level in LEVELS[: LEVELS.index(query.level)]:
        keyword = UNIQUE[level]
        if level is Level.PATIENT and not query.patient_root:
            continue
        if not is_single(known_at(level)[keyword], query.asked.get(keyword, "")):
            raise NotAnIdentifier(f"the identifier needs one {keyword}")


def _narrowed(query: Query) -> Narrowed:
    """Only conditions that are at least as wide as the matching."""
    asked = query.asked

    def exact(keyword: str) -> str | None:
        wanted = asked.get(keyword, "")
        return wanted if is_single(known_at(Level.IMAGE)[keyword], wanted) else None

    date = asked.get("StudyDate", "")
    return Narrowed(
        study_uids=_list(asked.get("StudyInstanceUID", "")),
        patient_id=exact("PatientID"),
        accession_number=exact("AccessionNumber"),
        days=days(date) if date and "." not in date else None,
        site=query.site,
    )


def _list(text: str) -> tuple[str, ...]:
    return tuple(part for part in text.split("\\") if part)


def _fits(query: Query, values: Mapping[str, Value]) -> bool:
    """Whether every key of which the value is known so far fits."""
    known = known_at(query.level)
    return all(
        matches(known[keyword], wanted, values[keyword])
        for keyword, wanted in query.asked.items()
        if keyword in values and not is_universal(known[keyword], wanted)
    )


def _asked(query: Query, values: Mapping[str, Value]) -> dict[str, Value]:
    """The unique keys of the root and the levels to this one are always part of an answer."""
    root = 0 if query.patient_root else 1
    unique = [UNIQUE[level] for level in LEVELS[root : LEVELS.index(query.level) + 1]]
    return {keyword: values.get(keyword) for keyword in dict.fromkeys((*unique, *query.asked)) if keyword in values}


def of_study(study: StudyRecord) -> dict[str, Value]:
    values: dict[str, Value] = {
        "PatientID": study.patient_id,
        "IssuerOfPatientID": study.issuer,
        "StudyInstanceUID": study.study_uid,
        "StudyDate": study.study_date,
        "AccessionNumber": study.accession_number,
    }
    return values | {keyword: getattr(study.texts, name) for keyword, name in STUDY_TEXTS.items()}


def _of_series(series: SeriesRecord) -> dict[str, Value]:
    values: dict[str, Value] = {"SeriesInstanceUID": series.series_uid, "SeriesNumber": series.number}
    values |= {keyword: getattr(series, name) for keyword, name in SERIES_TEXTS.items()}
    for keyword, name in REQUEST_TEXTS.items():
        values[f"RequestAttributesSequence.{keyword}"] = tuple(getattr(series, name).split("\\"))
    return values


def _read(archive: Archive, one: Undescribed) -> tuple[StudyTexts, SeriesRecord] | None:
    """Empty texts where the file is damaged: a query must not fail for it. None where the disk does not read it."""
    wanted = ["SpecificCharacterSet", "SeriesNumber", "RequestAttributesSequence", *STUDY_TEXTS, *SERIES_TEXTS]
    try:
        ds = dcmread(archive.path(one.path), stop_before_pixels=True, force=True, specific_tags=wanted)
    except Transient:
        raise
    except Exception as error:  # noqa: BLE001 - pydicom raises what it likes; receipt has looked at the same bytes
        if is_unread(error):
            return None
        return StudyTexts(), SeriesRecord(one.series_uid, "", None, "", "", "", "", "")
    study = StudyTexts(**{name: text_of(ds, keyword) for keyword, name in STUDY_TEXTS.items()})
    texts = {name: text_of(ds, keyword) for keyword, name in SERIES_TEXTS.items()}
    requests = items_of(ds, "RequestAttributesSequence")
    texts |= {name: "\\".join(text_of(one, keyword) for one in requests) for keyword, name in REQUEST_TEXTS.items()}
    return study, SeriesRecord(series_uid=one.series_uid, number=_number(text_of(ds, "SeriesNumber")), **texts)


def _number(text: str) -> int | None:
    try:
        number = int(text)
    except ValueError:
        return None
    return number if abs(number) < 2**31 else None
