"""Rows that receipt writes: patient, study, series, instance; refusals; events. The caller owns the transaction."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, bindparam, exists, insert, select, update
from sqlalchemy.orm import Session

from node.core.errors import OfAnotherSite
from node.core.study import NEXT, InstanceHeader, Origin, StudyState
from node.db import tallies
from node.db.driver import Rendered, Values
from node.db.retention_tables import Prior
from node.db.tables import Event, Instance, Output, Patient, Refusal, Series, Study, table_of

INSTANCES, OUTPUTS, PATIENTS, SERIES, STUDIES = (table_of(of) for of in (Instance, Output, Patient, Series, Study))
EVENTS, PRIORS = table_of(Event), table_of(Prior)
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
STUDY = Rendered(
    select(STUDIES.c.id, STUDIES.c.state, STUDIES.c.modalities, STUDIES.c.opened_at, STUDIES.c.site)
    .add_columns(PATIENTS.c.patient_id, PATIENTS.c.issuer)
    .join(PATIENTS, STUDIES.c.patient_id == PATIENTS.c.id)
    .where(STUDIES.c.study_uid == bindparam("study_uid"))
)
SITE_OF_SUBJECT = Rendered(
    select(STUDIES.c.site)
    .join(PRIORS, PRIORS.c.of_study_id == STUDIES.c.id)
    .where(PRIORS.c.study_uid == bindparam("study_uid"))
)
PATIENT = Rendered(
    select(PATIENTS.c.id)
    .where(PATIENTS.c.patient_id == bindparam("patient_id"), PATIENTS.c.issuer == bindparam("issuer"))
)  # fmt: skip
SERIES_OF = Rendered(
    select(SERIES.c.id).where(SERIES.c.study_id == bindparam("study"), SERIES.c.series_uid == bindparam("uid"))
)
ADD_PATIENT = Rendered(insert(PATIENTS).returning(PATIENTS.c.id), ("patient_id", "issuer"))
ADD_STUDY = Rendered(insert(STUDIES).returning(STUDIES.c.id), (
    "study_uid", "patient_id", "accession_number", "study_date", "modalities", "state", "first_received_at",
    "last_received_at", "opened_at", "site",
))  # fmt: skip
ADD_SERIES = Rendered(
    insert(SERIES).returning(SERIES.c.id), ("series_uid", "study_id", "modality", "description", "body_part")
)
RECEIVED = Rendered(
    update(STUDIES)
    .where(STUDIES.c.id == bindparam("study"))
    .values(state=StudyState.RECEIVING, modalities=bindparam("words"))
    .values(opened_at=bindparam("opened"), last_received_at=bindparam("now"))
)
ADD_EVENT = Rendered(insert(EVENTS), ("study_id", "at", "sentence"))


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
        series_id = _series(connection, header, origin.site, now)
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


def _series(connection: Connection, header: InstanceHeader, site: str | None, now: datetime) -> int:
    """Its id; patient, study and series are made where they are not here."""
    study_id = _study(connection, header, site, now)
    found = SERIES_OF.first(connection, {"study": study_id, "uid": header.series_instance_uid})
    if found is not None:
        return int(found[0])
    row = {
        "series_uid": header.series_instance_uid,
        "study_id": study_id,
        "modality": header.modality,
        "description": header.series_description,
        "body_part": header.body_part,
    }
    return _added(connection, ADD_SERIES, row)


def _study(connection: Connection, header: InstanceHeader, site: str | None, now: datetime) -> int:
    found = STUDY.first(connection, {"study_uid": header.study_instance_uid})
    if found is None:
        return _new_study(connection, header, site, now)
    study_id, state, modalities, opened_at, of_study, patient_id, issuer = found
    _same_site(of_study, site)
    if header.is_own_result:
        return int(study_id)
    if (patient_id, issuer) != (header.patient_id, header.issuer_of_patient_id):
        _say(connection, study_id, now, "An instance names another patient than the first of this study.")
    if state != StudyState.RECEIVING:
        opened_at = now
        _reopen(connection, study_id, StudyState(state), now)
    words = "\\".join(sorted({*modalities.split("\\"), header.modality} - {""}))[:128]
    RECEIVED.run(connection, {"study": study_id, "words": words, "opened": opened_at, "now": now})
    return int(study_id)


def _new_study(connection: Connection, header: InstanceHeader, site: str | None, now: datetime) -> int:
    is_own, uid = header.is_own_result, header.study_instance_uid
    row = {
        "study_uid": uid,
        "patient_id": _patient(connection, header),
        "accession_number": header.accession_number,
        "study_date": header.study_date[:8],
        "modalities": "" if is_own else header.modality[:128],
        "state": StudyState.STORED if is_own else StudyState.RECEIVING,
        "first_received_at": now,
        "last_received_at": now,
        "opened_at": now,
        "site": _site_of_subject(connection, uid) if site is None else site,
    }
    return _added(connection, ADD_STUDY, row)


def _reopen(connection: Connection, study_id: int, state: StudyState, now: datetime) -> None:
    """A study that was already closed."""
    if StudyState.RECEIVING not in NEXT[state]:
        raise AssertionError(f"a study cannot be received in state {state}")
    if state is not StudyState.STORED:
        _say(connection, study_id, now, f"An instance arrived after the study was {state}: it is opened again.")


def _site_of_subject(connection: Connection, study_uid: str) -> str:
    """Of the study that this one is fetched for as a prior; empty where it is none."""
    found = SITE_OF_SUBJECT.first(connection, {"study_uid": study_uid})
    return found[0] if found else ""


def _patient(connection: Connection, header: InstanceHeader) -> int:
    row = {"patient_id": header.patient_id, "issuer": header.issuer_of_patient_id}
    found = PATIENT.first(connection, row)
    return int(found[0]) if found else _added(connection, ADD_PATIENT, row)


def _added(connection: Connection, add: Rendered, row: Values) -> int:
    ((number,),) = add.rows(connection, row)
    return int(number)


def add_event(session: Session, study_id: int, at: datetime, sentence: str) -> None:
    _say(session.connection(), study_id, at, sentence)


def _say(connection: Connection, study_id: int, at: datetime, sentence: str) -> None:
    ADD_EVENT.run(connection, {"study_id": study_id, "at": at, "sentence": sentence})


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


_SITE_OF = Rendered(select(STUDIES.c.site).where(STUDIES.c.id == bindparam("study")))


def site_of(session: Session, study_id: int) -> str:
    """The site that a study belongs to; empty: the node itself."""
    row = _SITE_OF.first(session.connection(), {"study": study_id})
    return row[0] if row else ""


def newest_studies(session: Session, most: int) -> list[tuple[str, str]]:
    """(study UID, site) of the last that came, the newest first."""
    return list(session.execute(select(Study.study_uid, Study.site).order_by(Study.id.desc()).limit(most)).tuples())


_RECEIVING = Rendered(
    select(STUDIES.c.id, STUDIES.c.study_uid, STUDIES.c.modalities, STUDIES.c.opened_at, STUDIES.c.last_received_at)
    .where(STUDIES.c.state == StudyState.RECEIVING)
)  # fmt: skip
_LAST_RECEIVED = Rendered(
    select(STUDIES.c.last_received_at)
    .where(STUDIES.c.id == bindparam("study"), STUDIES.c.state == StudyState.RECEIVING)
)  # fmt: skip


def receiving_studies(session: Session) -> list[tuple[int, str, str, datetime, datetime]]:
    """(id, study UID, modalities, opened at, last received at) of every study that is being received."""
    return _RECEIVING.rows(session.connection(), {})


def last_received(session: Session, study_id: int) -> datetime | None:
    """None where the study is not being received."""
    row = _LAST_RECEIVED.first(session.connection(), {"study": study_id})
    return row[0] if row else None


_INSTANCE_SET = Rendered(
    select(INSTANCES.c.sop_uid, INSTANCES.c.sha256)
    .join(SERIES, INSTANCES.c.series_id == SERIES.c.id)
    .where(SERIES.c.study_id == bindparam("study"), ~INSTANCES.c.is_own_result)
    .order_by(INSTANCES.c.sop_uid)
)


def instance_set(session: Session, study_id: int) -> list[tuple[str, str]]:
    """(SOP Instance UID, digest) of every instance that is not our own result, in a stable order."""
    return _INSTANCE_SET.rows(session.connection(), {"study": study_id})


_MOVE = Rendered(
    update(STUDIES)
    .where(STUDIES.c.id == bindparam("study"), STUDIES.c.state == bindparam("old"))
    .values(state=bindparam("new"))
)


def move_study(session: Session, study_id: int, old: StudyState, new: StudyState) -> bool:
    """The guarded move; False when the study is no longer in ``old``."""
    if new not in NEXT[old]:
        raise AssertionError(f"a study cannot go from {old} to {new}")
    done = _MOVE.run(session.connection(), {"study": study_id, "old": old, "new": new})
    return bool(done.rowcount)
