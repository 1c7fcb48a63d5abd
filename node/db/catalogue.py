"""What is stored, by the keys of query and retrieve: patients, studies, series, instances and results.

Results are the objects of analyses that stand, in the form in which they were built: superseded ones, simpler forms
of a report and pages kept in reserve are not part of a study as others see it. An instance that is one of our results
which came back is counted once. Read page by page: a caller who waits between pages holds no transaction.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, exists, func, select
from sqlalchemy.orm import Session, aliased

from node.db.key_tables import SeriesKeys, StudyKeys
from node.db.tables import Analysis, Instance, Output, Patient, Reserve, Series, StandIn, Study

_LONGEST = {
    "birth_date": 8, "sex": 16, "study_time": 16, "modality": 16, "body_part": 64, "series_date": 8, "series_time": 16,
    "step_start_date": 8, "step_start_time": 16,
}  # fmt: skip


@dataclass(frozen=True)
class Narrowed:
    """Conditions that the database can judge by itself; None or empty: none. days: of the study, both included."""

    study_uids: tuple[str, ...] = ()
    patient_id: str | None = None
    accession_number: str | None = None
    days: tuple[str, str] | None = None
    site: str | None = None


@dataclass(frozen=True)
class StudyTexts:
    """What is read from a header for queries alone; empty where it is not known."""

    patient_name: str = ""
    birth_date: str = ""
    sex: str = ""
    study_time: str = ""
    study_number: str = ""
    description: str = ""
    referring_physician: str = ""


@dataclass(frozen=True)
class StudyRecord:
    id: int
    patient: int
    study_uid: str
    patient_id: str
    issuer: str
    accession_number: str
    study_date: str
    texts: StudyTexts


@dataclass(frozen=True)
class SeriesRecord:
    series_uid: str
    modality: str
    number: int | None
    description: str
    body_part: str
    protocol: str
    series_date: str
    series_time: str
    step_start_date: str = ""
    step_start_time: str = ""
    step_ids: str = ""
    procedure_ids: str = ""


@dataclass(frozen=True)
class Held:
    """One object in the archive. transfer_syntax_uid and what follows it: empty or None where only the file says."""

    sop_instance_uid: str
    sop_class_uid: str
    series_uid: str
    path: str
    is_result: bool
    transfer_syntax_uid: str = ""
    instance_number: int | None = None
    rows: int | None = None
    columns: int | None = None
    frames: int | None = None


@dataclass(frozen=True)
class Undescribed:
    """A series whose texts were not read yet, and an object of it."""

    study_id: int
    series_uid: str
    is_result: bool
    path: str


_STANDS = (
    Analysis.superseded.is_(False)
    & Output.removed_at.is_(None)
    & ~exists().where(StandIn.output_id == Output.id)
    & ~exists().where(Reserve.output_id == Output.id)
)


def studies(session: Session, wanted: Narrowed, below: int | None, page: int) -> list[StudyRecord]:
    """The newest ``page`` studies with an id under ``below``, newest first."""
    conditions = _conditions(wanted)
    if below is not None:
        conditions.append(Study.id < below)
    statement = _studies().where(*conditions, _holds_something()).order_by(Study.id.desc()).limit(page)
    return [_study(row) for row in session.execute(statement).tuples()]


def patients(session: Session, wanted: Narrowed, below: int | None, page: int) -> list[StudyRecord]:
    """Each patient as the newest study says; paged by the patient's id, which stands in ``patient``."""
    other = aliased(Study)
    of_site = [] if wanted.site is None else [other.site == wanted.site]
    newest = select(func.max(other.id)).where(other.patient_id == Study.patient_id, _holds_something(other), *of_site)
    conditions = [*_conditions(wanted), Study.id == newest.correlate(Study).scalar_subquery()]
    if below is not None:
        conditions.append(Study.patient_id < below)
    statement = _studies().where(*conditions).order_by(Study.patient_id.desc()).limit(page)
    return [_study(row) for row in session.execute(statement).tuples()]


def _studies() -> Select[tuple[Study, Patient, StudyKeys]]:
    return (
        select(Study, Patient, StudyKeys)
        .join(Patient, Study.patient_id == Patient.id)
        .outerjoin(StudyKeys, StudyKeys.study_id == Study.id)
    )


def _conditions(wanted: Narrowed) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if wanted.study_uids:
        found.append(Study.study_uid.in_(wanted.study_uids))
    if wanted.patient_id is not None:
        found.append(Patient.patient_id == wanted.patient_id)
    if wanted.accession_number is not None:
        found.append(Study.accession_number == wanted.accession_number)
    if wanted.days is not None:
        found.append(Study.study_date.between(*wanted.days))
    return found + ([] if wanted.site is None else [Study.site == wanted.site])


def _holds_something(study: type[Study] = Study) -> ColumnElement[bool]:
    received = exists().where(Series.study_id == study.id, Instance.series_id == Series.id)
    made = exists().where(Analysis.study_id == study.id, Output.analysis_id == Analysis.id, _STANDS)
    return received | made


def _study(row: tuple[Study, Patient, StudyKeys | None]) -> StudyRecord:
    study, patient, keys = row
    return StudyRecord(
        id=study.id,
        patient=patient.id,
        study_uid=study.study_uid,
        patient_id=patient.patient_id,
        issuer=patient.issuer,
        accession_number=study.accession_number,
        study_date=study.study_date,
        texts=_texts(keys) if keys else StudyTexts(),
    )


def _texts(keys: StudyKeys) -> StudyTexts:
    return StudyTexts(**{field.name: getattr(keys, field.name) for field in dataclasses.fields(StudyTexts)})


def studies_of(session: Session, patient: int, site: str | None = None) -> list[int]:
    """Ids of the patient's studies; site: of those of one site."""
    which = [Study.patient_id == patient, _holds_something(), *([] if site is None else [Study.site == site])]
    return list(session.scalars(select(Study.id).where(*which)))


def series(session: Session, study_id: int) -> list[SeriesRecord]:
    """Of what was received and of results, each series once."""
    statement = select(SeriesKeys).where(SeriesKeys.study_id == study_id).order_by(SeriesKeys.id)
    found: dict[str, SeriesRecord] = {}
    for row in session.scalars(statement):
        found.setdefault(
            row.series_uid,
            SeriesRecord(
                series_uid=row.series_uid,
                modality=row.modality,
                number=row.number,
                description=row.description,
                body_part=row.body_part,
                protocol=row.protocol,
                series_date=row.series_date,
                series_time=row.series_time,
                step_start_date=row.step_start_date,
                step_start_time=row.step_start_time,
                step_ids=row.step_ids,
                procedure_ids=row.procedure_ids,
            ),
        )
    return list(found.values())


@dataclass(frozen=True)
class Extent:
    """How much there is: objects, and the UIDs of their series and SOP classes."""

    objects: int
    series: frozenset[str]
    sop_classes: frozenset[str]


def extent(session: Session, study_ids: Sequence[int], series_uid: str | None = None) -> Extent:
    """Of some studies, or of one of their series; counted by the database, since a CT is a thousand rows."""
    received = (
        select(Series.series_uid, Instance.sop_class_uid, func.count())
        .join(Series, Instance.series_id == Series.id)
        .where(Series.study_id.in_(study_ids))
        .group_by(Series.series_uid, Instance.sop_class_uid)
    )
    made = (
        select(Output.series_uid, Output.sop_class_uid, exists().where(Instance.sop_uid == Output.sop_uid))
        .join(Analysis, Output.analysis_id == Analysis.id)
        .where(Analysis.study_id.in_(study_ids), _STANDS)
    )
    if series_uid is not None:
        received = received.where(Series.series_uid == series_uid)
        made = made.where(Output.series_uid == series_uid)
    found = list(session.execute(received).tuples())
    found += [(series, sop_class, 0 if back else 1) for series, sop_class, back in session.execute(made).tuples()]
    return Extent(
        objects=sum(count for _, _, count in found),
        series=frozenset(series for series, _, _ in found),
        sop_classes=frozenset(sop_class for _, sop_class, _ in found),
    )


def held(session: Session, study_id: int, series_uids: Sequence[str] = (), sop_uids: Sequence[str] = ()) -> list[Held]:
    """Every object of the study, or those of some series, or some of those; ours in the bytes that we made."""
    made = (
        select(Output.sop_uid, Output.sop_class_uid, Output.series_uid, Output.path)
        .join(Analysis, Output.analysis_id == Analysis.id)
        .where(Analysis.study_id == study_id, _STANDS)
        .order_by(Output.id)
    )
    received = (
        select(Instance, Series.series_uid)
        .join(Series, Instance.series_id == Series.id)
        .where(Series.study_id == study_id)
        .order_by(Instance.id)
    )
    if series_uids:
        made = made.where(Output.series_uid.in_(series_uids))
        received = received.where(Series.series_uid.in_(series_uids))
    if sop_uids:
        made = made.where(Output.sop_uid.in_(sop_uids))
        received = received.where(Instance.sop_uid.in_(sop_uids))
    found = {row.sop_uid: _received(row, uid) for row, uid in session.execute(received).tuples()}
    for sop_uid, sop_class, series_uid, path in session.execute(made).tuples():
        found[sop_uid] = Held(sop_uid, sop_class, series_uid, path, is_result=True)
    return list(found.values())


def _received(row: Instance, series_uid: str) -> Held:
    return Held(
        sop_instance_uid=row.sop_uid,
        sop_class_uid=row.sop_class_uid,
        series_uid=series_uid,
        path=row.path,
        is_result=False,
        transfer_syntax_uid=row.transfer_syntax_uid,
        instance_number=row.instance_number,
        rows=row.rows,
        columns=row.columns,
        frames=row.frames,
    )


@dataclass(frozen=True)
class Mark:
    """Ids up to which every series and every result is described."""

    series: int = 0
    output: int = 0


def newest(session: Session) -> Mark:
    found = (session.scalar(select(func.max(of.id))) for of in (Series, Output))
    return Mark(*(int(one or 0) for one in found))


def undescribed(session: Session, after: Mark, most: int) -> list[Undescribed]:
    """Series of which ``describe`` was not told yet."""
    here = (SeriesKeys.study_id == Series.study_id) & (SeriesKeys.series_uid == Series.series_uid)
    first = select(func.min(Instance.id)).where(Instance.series_id == Series.id).correlate(Series).scalar_subquery()
    received = (
        select(Series.study_id, Series.series_uid, Instance.path)
        .join(Instance, Instance.id == first)
        .where(Series.id > after.series, ~exists().where(here, SeriesKeys.is_result.is_(False)))
        .limit(most)
    )
    there = (SeriesKeys.study_id == Analysis.study_id) & (SeriesKeys.series_uid == Output.series_uid)
    made = (
        select(Analysis.study_id, Output.series_uid, Output.path)
        .join(Analysis, Output.analysis_id == Analysis.id)
        .where(Output.id > after.output, _STANDS, ~exists().where(there, SeriesKeys.is_result.is_(True)))
        .order_by(Output.id)
        .limit(most)
    )
    found = {
        (study_id, series_uid, is_result): Undescribed(study_id, series_uid, is_result, path)
        for statement, is_result in ((received, False), (made, True))
        for study_id, series_uid, path in session.execute(statement).tuples()
    }
    return list(found.values())


def describe(session: Session, read: Sequence[tuple[Undescribed, StudyTexts, SeriesRecord]]) -> None:
    """Keep the texts of series, and those of their studies that have none. Another may have been quicker."""
    of = {one.study_id for one, _, _ in read}
    here = set(session.scalars(select(Study.id).where(Study.id.in_(of))))
    named = set(session.scalars(select(StudyKeys.study_id).where(StudyKeys.study_id.in_(of))))
    keys = select(SeriesKeys.study_id, SeriesKeys.series_uid, SeriesKeys.is_result)
    known = set(session.execute(keys.where(SeriesKeys.study_id.in_(of))).tuples())
    for one, study, series in read:
        if one.study_id in here - named:
            named.add(one.study_id)
            session.add(StudyKeys(study_id=one.study_id, **_fitting(study)))
        if one.study_id in here and (key := (one.study_id, one.series_uid, one.is_result)) not in known:
            known.add(key)
            where = {"study_id": one.study_id, "series_uid": one.series_uid, "is_result": one.is_result}
            session.add(SeriesKeys(**{**_fitting(series), **where}))


def _fitting(texts: StudyTexts | SeriesRecord) -> dict[str, Any]:
    """No longer than their columns."""
    found = dataclasses.asdict(texts)
    return {name: found[name][: _LONGEST[name]] if name in _LONGEST else found[name] for name in found}
