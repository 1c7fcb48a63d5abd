"""Rows that receipt writes: patient, study, series, instance; refusals; events. The caller owns the transaction."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import cast

from sqlalchemy import Connection, Table, bindparam, exists, insert, select, update
from sqlalchemy.orm import Session

from node.core.errors import OfAnotherSite
from node.core.study import NEXT, InstanceHeader, Origin, StudyState
from node.db import tallies
from node.db.driver import Rendered
from node.db.retention_tables import Prior
from node.db.tables import Base, Event, Instance, Output, Patient, Refusal, Series, Study


def _table(of: type[Base]) -> Table:
    return cast(Table, of.__table__)


INSTANCES, OUTPUTS, PATIENTS, SERIES, STUDIES = (_table(of) for of in (Instance, Output, Patient, Series, Study))
# Of tables rather than of objects, and rendered once: every instance of a CT pays for what lies between it and SQLite.
_HERE = select(INSTANCES.c.sha256).where(INSTANCES.c.sop_uid == bindparam("uid")).scalar_subquery()
KNOWN = Rendered(select(_HERE, exists().where(OUTPUTS.c.sop_uid == bindparam("uid"))))
PATH = Rendered(select(INSTANCES.c.path).where(INSTANCES.c.sop_uid == bindparam("uid")))
OPEN_SERIES = Rendered(
    select(
        STUDIES.c.id, STUDIES.c.state, STUDIES.c.modalities, PATIENTS.c.patient_id, PATIENTS.c.issuer, SERIES.c.id,
        STUDIES.c.site,
    )
    .join_from(STUDIES, SERIES, SERIES.c.study_id == STUDIES.c.id)
    .join(PATIENTS, STUDIES.c.patient_id == PATIENTS.c.id)
    .where(STUDIES.c.study_uid == bindparam("study_uid"), SERIES.c.series_uid == bindparam("series_uid"))
)  # fmt: skip
SITE = Rendered(select(STUDIES.c.site).where(STUDIES.c.study_uid == bindparam("study_uid")))
TOUCH = Rendered(update(STUDIES).where(STUDIES.c.id == bindparam("study")).values(last_received_at=bindparam("now")))
ADDED = (
    "sop_uid", "sop_class_uid", "transfer_syntax_uid", "series_id", "sha256", "bytes", "path", "instance_number",
    "view_position", "rows", "columns", "frames", "is_own_result", "origin_association", "origin_aet", "origin_address",
    "received_at",
)  # fmt: skip
ADD = Rendered(insert(INSTANCES), ADDED)


@dataclass(frozen=True)
class Known:
    """What is known of a SOP Instance UID. sha256: of the stored instance, None when there is none; path: of its file
    in the archive."""

    sha256: str | None
    is_our_output: bool
    path: str = ""


def known_instance(connection: Connection, sop_instance_uid: str) -> Known:
    sha256, is_output = KNOWN.run(connection, {"uid": sop_instance_uid}).fetchone()
    if sha256 is None:
        return Known(None, bool(is_output))
    (path,) = PATH.run(connection, {"uid": sop_instance_uid}).fetchone()
    return Known(sha256, bool(is_output), path)


def move_file(session: Session, old: str, path: str) -> None:
    """The file of an instance has another name now."""
    session.execute(update(Instance).where(Instance.path == old).values(path=path))


def add_instance(
    connection: Connection, header: InstanceHeader, sha256: str, size: int, path: str, origin: Origin, now: datetime
) -> None:
    """Upsert patient, study and series, insert the instance, and reopen the study where that is due. OfAnotherSite
    where the study belongs to another site than it came to."""
    series_id = _open_series(connection, header, origin.site, now)
    if series_id is None:
        with Session(connection) as session:  # within the transaction, which it leaves open
            study = _study(session, header, origin.site, now)
            series_id = _series(session, header, study).id
            if not header.is_own_result:
                _receive(session, study, header, now)
            session.flush()
    row = {
        "sop_uid": header.sop_instance_uid,
        "sop_class_uid": header.sop_class_uid,
        "transfer_syntax_uid": header.transfer_syntax_uid,
        "series_id": series_id,
        "sha256": sha256,
        "bytes": size,
        "path": path,
        "instance_number": header.instance_number,
        "view_position": header.view_position,
        "rows": header.rows,
        "columns": header.columns,
        "frames": header.frames,
        "is_own_result": header.is_own_result,
        "origin_association": origin.association,
        "origin_aet": origin.calling_aet,
        "origin_address": origin.address,
        "received_at": now,
    }
    ADD.run(connection, row)


def check_site(connection: Connection, study_uid: str, site: str | None) -> None:
    """OfAnotherSite where the study is here and belongs to another one. None: it came to no AE title."""
    if site is None:
        return
    found = SITE.run(connection, {"study_uid": study_uid}).fetchone()
    if found is not None:
        _same_site(found[0], site)


def _same_site(of_study: str, site: str | None) -> None:
    if site not in (None, of_study):
        raise OfAnotherSite("The study belongs to another site of this node, which received it first.")


def _open_series(connection: Connection, header: InstanceHeader, site: str | None, now: datetime) -> int | None:
    """The series where this is one more instance of what is being received, its study's clock set; else None.

    What most instances of a CT come to: one query and one update instead of a tour through the objects.
    """
    uids = {"study_uid": header.study_instance_uid, "series_uid": header.series_instance_uid}
    found = OPEN_SERIES.run(connection, uids).fetchone()
    if found is None or header.is_own_result:
        return None
    study_id, state, modalities, patient_id, issuer, series_id, of_study = found
    _same_site(of_study, site)
    same_patient = (patient_id, issuer) == (header.patient_id, header.issuer_of_patient_id)
    if state != StudyState.RECEIVING or not same_patient or header.modality not in ("", *modalities.split("\\")):
        return None
    TOUCH.run(connection, {"study": study_id, "now": now})
    return int(series_id)


def _study(session: Session, header: InstanceHeader, site: str | None, now: datetime) -> Study:
    study = session.scalars(select(Study).where(Study.study_uid == header.study_instance_uid)).first()
    if study is None:
        study = Study(
            study_uid=header.study_instance_uid,
            patient_id=_patient(session, header).id,
            accession_number=header.accession_number,
            study_date=header.study_date[:8],
            state=StudyState.STORED if header.is_own_result else StudyState.RECEIVING,
            first_received_at=now,
            last_received_at=now,
            opened_at=now,
            site=_site_of_subject(session, header.study_instance_uid) if site is None else site,
        )
        session.add(study)
        session.flush()
        return study
    _same_site(study.site, site)
    if not header.is_own_result:
        first = session.get(Patient, study.patient_id)
        if first is not None and (first.patient_id, first.issuer) != (header.patient_id, header.issuer_of_patient_id):
            add_event(session, study.id, now, "An instance names another patient than the first of this study.")
    return study


def _site_of_subject(session: Session, study_uid: str) -> str:
    """Of the study that this one is fetched for as a prior; empty where it is none."""
    of = select(Study.site).join(Prior, Prior.of_study_id == Study.id).where(Prior.study_uid == study_uid)
    return session.scalar(of) or ""


def _patient(session: Session, header: InstanceHeader) -> Patient:
    key = (Patient.patient_id == header.patient_id) & (Patient.issuer == header.issuer_of_patient_id)
    patient = session.scalars(select(Patient).where(key)).first()
    if patient is None:
        patient = Patient(patient_id=header.patient_id, issuer=header.issuer_of_patient_id)
        session.add(patient)
        session.flush()
    return patient


def _series(session: Session, header: InstanceHeader, study: Study) -> Series:
    key = (Series.study_id == study.id) & (Series.series_uid == header.series_instance_uid)
    series = session.scalars(select(Series).where(key)).first()
    if series is None:
        series = Series(
            series_uid=header.series_instance_uid,
            study_id=study.id,
            modality=header.modality,
            description=header.series_description,
            body_part=header.body_part,
        )
        session.add(series)
        session.flush()
    return series


def _receive(session: Session, study: Study, header: InstanceHeader, now: datetime) -> None:
    """Note the receipt; a study that was already closed is opened again."""
    state = StudyState(study.state)
    if state is not StudyState.RECEIVING:
        if StudyState.RECEIVING not in NEXT[state]:
            raise AssertionError(f"a study cannot be received in state {state}")
        if state is not StudyState.STORED:
            add_event(session, study.id, now, f"An instance arrived after the study was {state}: it is opened again.")
        study.state, study.opened_at = StudyState.RECEIVING, now
    modalities = {word for word in study.modalities.split("\\") if word} | ({header.modality} - {""})
    study.modalities = "\\".join(sorted(modalities))[:128]
    study.last_received_at = now


def add_event(session: Session, study_id: int, at: datetime, sentence: str) -> None:
    session.add(Event(study_id=study_id, at=at, sentence=sentence))


def add_refusal(
    session: Session, at: datetime, sop_uid: str, study_uid: str, status: int, reason: str, origin: Origin
) -> None:
    session.add(
        Refusal(
            at=at,
            sop_uid=sop_uid[:64],
            study_uid=study_uid[:64],
            status=status,
            reason=reason,
            origin_association=origin.association,
            origin_aet=origin.calling_aet[:16],
            origin_address=origin.address[:64],
        )
    )
    tallies.count(session, tallies.REFUSAL, f"0x{status:04X}")


_SITE_OF = select(Study.site).where(Study.id == bindparam("study"))


def site_of(session: Session, study_id: int) -> str:
    """The site that a study belongs to; empty: the node itself."""
    return session.scalar(_SITE_OF, {"study": study_id}) or ""


def newest_studies(session: Session, most: int) -> list[tuple[str, str]]:
    """(study UID, site) of the last that came, the newest first."""
    return list(session.execute(select(Study.study_uid, Study.site).order_by(Study.id.desc()).limit(most)).tuples())


_RECEIVING = select(Study.id, Study.study_uid, Study.modalities, Study.opened_at, Study.last_received_at).where(
    Study.state == StudyState.RECEIVING
)


def receiving_studies(session: Session) -> list[tuple[int, str, str, datetime, datetime]]:
    """(id, study UID, modalities, opened at, last received at) of every study that is being received."""
    return list(session.execute(_RECEIVING).tuples())


def last_received(session: Session, study_id: int) -> datetime | None:
    """None where the study is not being received."""
    this = (Study.id == study_id) & (Study.state == StudyState.RECEIVING)
    return session.scalar(select(Study.last_received_at).where(this))


_INSTANCE_SET = (
    select(Instance.sop_uid, Instance.sha256)
    .join(Series, Instance.series_id == Series.id)
    .where(Series.study_id == bindparam("study"), ~Instance.is_own_result)
    .order_by(Instance.sop_uid)
)


def instance_set(session: Session, study_id: int) -> list[tuple[str, str]]:
    """(SOP Instance UID, digest) of every instance that is not our own result, in a stable order."""
    return list(session.execute(_INSTANCE_SET, {"study": study_id}).tuples())


def move_study(session: Session, study_id: int, old: StudyState, new: StudyState) -> bool:
    """The guarded move; False when the study is no longer in ``old``."""
    if new not in NEXT[old]:
        raise AssertionError(f"a study cannot go from {old} to {new}")
    done = session.execute(update(Study).where(Study.id == study_id, Study.state == old).values(state=new))
    return bool(done.rowcount)  # type: ignore[attr-defined]
