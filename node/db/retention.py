"""Which studies may go from the archive, why each other one stays, and the rows of what went. The caller owns the
transaction.

One table of objections (``_objections``) decides and gives the sentences: a study may go when none of them holds.
Instances that went stand in ``removed_instances``, so that nothing else has to ask whether a row still has its file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    bindparam,
    case,
    cast,
    delete,
    exists,
    func,
    insert,
    literal,
    or_,
    select,
    update,
)
from sqlalchemy.orm import Session

from node.core.job import JobKind, JobState
from node.core.study import StudyState
from node.db import layers, told
from node.db.driver import Rendered
from node.db.intake import add_event
from node.db.retention_tables import Removal, RemovedInstance, RetentionHold, StudyUse
from node.db.tables import Analysis, Delivery, Instance, JobRow, Output, Series, Study

FINAL = (StudyState.ANALYSED, StudyState.STORED)
SETTLED = ("delivered", "replaced", "superseded")  # states of a delivery after which nothing is owed
UNDER_WAY = ("waiting", "committing")
COPIED = ("sop_uid", "sop_class_uid", "sha256", "bytes", "path", "is_own_result", "received_at")


@dataclass(frozen=True)
class Bounds:
    """What settings and clock say at a moment. youngest: whatever came later stays. committing: names of destinations
    that are to commit what they take."""

    youngest: datetime
    committing: tuple[str, ...]
    keep_committed: bool


@dataclass(frozen=True)
class Candidate:
    """A study with files. needed_at: when it last came or was fetched. objections: why it must stay, if any."""

    id: int
    study_uid: str
    received_at: datetime
    needed_at: datetime
    bytes: int  # of what was received
    objections: tuple[str, ...] = ()


@dataclass(frozen=True)
class Gone:
    """A removal that is not finished. received: (SOP Instance UID, path); results: paths."""

    id: int
    study_uid: str
    rule: str
    received: tuple[tuple[str, str], ...]
    results: tuple[str, ...]
    bytes: int


_RECEIVED = exists().where(Series.study_id == Study.id, Instance.series_id == Series.id)
_MADE = exists().where(
    Analysis.study_id == Study.id, Output.analysis_id == Analysis.id, Output.removed_at.is_(None)
)  # fmt: skip
_OWED = (Analysis.study_id == Study.id) & (Output.analysis_id == Analysis.id) & (Delivery.output_id == Output.id)
_HAS_FILES = _RECEIVED | _MADE
_NEEDED = case((StudyUse.at > Study.last_received_at, StudyUse.at), else_=Study.last_received_at)
_WHOLE_BYTES = cast(func.coalesce(func.sum(Instance.bytes), 0), BigInteger)  # PostgreSQL sums up to a decimal number
_BYTES = (
    select(_WHOLE_BYTES)
    .join(Series, Instance.series_id == Series.id)
    .where(Series.study_id == Study.id)
    .correlate(Study)
    .scalar_subquery()
)


def _objections(bounds: Bounds) -> list[tuple[str, ColumnElement[bool]]]:
    """(why a study must stay, when that holds)."""
    open_ = or_(
        ~Analysis.superseded & Delivery.state.not_in(SETTLED), Analysis.superseded & Delivery.state.in_(UNDER_WAY)
    )
    uncommitted = Delivery.destination.in_(bounds.committing) & Delivery.committed_at.is_(None)
    pending = JobRow.state.in_((JobState.READY, JobState.RUNNING))
    promised = exists().where(
        Series.study_id == Study.id, Instance.series_id == Series.id, Instance.committed_at.is_not(None)
    )
    return [
        ("it waits for its analysis or is being received", Study.state.not_in((*FINAL, StudyState.FAILED))),
        ("its analysis was given up, see lungnode retry", Study.state == StudyState.FAILED),
        ("it is younger than retention.min_days", Study.last_received_at > bounds.youngest),
        ("it is on hold, see lungnode retention free", exists().where(RetentionHold.study_uid == Study.study_uid)),
        ("a result of it is not delivered", exists().where(_OWED, open_)),
        (
            "a destination that is to commit has not committed a result of it",
            exists().where(_OWED, ~Analysis.superseded, Delivery.state == "delivered", uncommitted),
        ),
        (
            "it was committed to a peer that asked for it, see retention.keep_committed",
            promised if bounds.keep_committed else literal(False),
        ),
        (
            "its priors are still to be fetched",
            exists().where(JobRow.kind == JobKind.PRIORS, JobRow.subject_id == Study.id, pending),
        ),
    ]


def candidates(session: Session, bounds: Bounds) -> list[Candidate]:
    """Every study with files, the least recently needed first, each with what stands against its removal."""
    objections = _objections(bounds)
    statement = (
        select(Study.id, Study.study_uid, Study.last_received_at, _NEEDED, _BYTES, *(one for _, one in objections))
        .outerjoin(StudyUse, StudyUse.study_id == Study.id)
        .where(_HAS_FILES)
        .order_by(_NEEDED, Study.id)
    )
    return [
        Candidate(
            id=row[0],
            study_uid=row[1],
            received_at=row[2],
            needed_at=row[3],
            bytes=row[4],
            objections=tuple(said for (said, _), holds in zip(objections, row[5:], strict=True) if holds),
        )
        for row in session.execute(statement)
    ]


def removable(
    session: Session, bounds: Bounds, limit: int | None, came_before: datetime | None = None
) -> list[Candidate]:
    """Those that nothing stands against, the least recently needed first. came_before: only those."""
    statement = (
        select(Study.id, Study.study_uid, Study.last_received_at, _NEEDED, _BYTES)
        .outerjoin(StudyUse, StudyUse.study_id == Study.id)
        .where(_HAS_FILES, *_free(bounds, came_before))
        .order_by(_NEEDED, Study.id)
        .limit(limit)
    )
    return [Candidate(*row) for row in session.execute(statement).tuples()]


def count_removable(session: Session, bounds: Bounds, came_before: datetime) -> int:
    statement = select(func.count()).select_from(Study).where(_HAS_FILES, *_free(bounds, came_before))
    return session.scalar(statement) or 0


def count_here(session: Session) -> int:
    """Studies with files."""
    return session.scalar(select(func.count()).select_from(Study).where(_HAS_FILES)) or 0


def count_removed(session: Session, since: datetime) -> int:
    return session.scalar(select(func.count(Removal.id)).where(Removal.removed_at >= since)) or 0


def _free(bounds: Bounds, came_before: datetime | None) -> list[ColumnElement[bool]]:
    found = [~one for _, one in _objections(bounds)]
    return found if came_before is None else [*found, Study.last_received_at < came_before]


def remove(session: Session, study_id: int, rule: str, bounds: Bounds, now: datetime) -> int | None:
    """From the commit on no row names the files of the study; id of the removal. None: meanwhile it must stay."""
    free = select(Study.id).where(Study.id == study_id, _HAS_FILES, *_free(bounds, None))
    if session.scalar(free) is None:
        return None
    files, size = session.execute(
        select(func.count(), _WHOLE_BYTES).join(Series).where(Series.study_id == study_id)
    ).one()
    removal = Removal(study_id=study_id, rule=rule, files=files, bytes=size, removed_at=now)
    session.add(removal)
    session.flush()
    _move_instances(session, study_id, removal.id)
    standing = select(Analysis.id).where(Analysis.study_id == study_id)
    marked = session.execute(
        update(Output)
        .where(Output.analysis_id.in_(standing), Output.removed_at.is_(None))
        .values(removed_at=now)
        .execution_options(synchronize_session=False)
    )
    removal.files += int(marked.rowcount)  # type: ignore[attr-defined]
    layers.forget_superseded(session, study_id)
    add_event(session, study_id, now, f"Its {removal.files} files were removed from the archive: {rule}.")
    told.deletion(session, study_id, rule, removal.files, now)
    return removal.id


def _move_instances(session: Session, study_id: int, removal_id: int) -> None:
    series = select(Series.id).where(Series.study_id == study_id)
    moved = (
        select(literal(removal_id), literal(study_id), Series.series_uid, Series.modality)
        .add_columns(*(getattr(Instance, name) for name in COPIED))
        .join(Series, Instance.series_id == Series.id)
        .where(Series.study_id == study_id)
    )
    names = ["removal_id", "study_id", "series_uid", "modality", *COPIED]
    session.execute(insert(RemovedInstance).from_select(names, moved))
    gone = delete(Instance).where(Instance.series_id.in_(series))
    session.execute(gone.execution_options(synchronize_session=False))


def unfinished(session: Session) -> list[Gone]:
    """Removals of which files may still be there."""
    statement = (
        select(Removal, Study.study_uid)
        .join(Study, Removal.study_id == Study.id)
        .where(Removal.finished_at.is_(None))
        .order_by(Removal.id)
    )
    return [_gone(session, removal, uid) for removal, uid in session.execute(statement).tuples().all()]


def _gone(session: Session, removal: Removal, study_uid: str) -> Gone:
    received = select(RemovedInstance.sop_uid, RemovedInstance.path).where(RemovedInstance.removal_id == removal.id)
    results = (
        select(Output.path)
        .join(Analysis, Output.analysis_id == Analysis.id)
        .where(Analysis.study_id == removal.study_id, Output.removed_at == removal.removed_at)
    )
    return Gone(
        removal.id,
        study_uid,
        removal.rule,
        tuple(session.execute(received).tuples()),
        tuple(session.scalars(results)),
        removal.bytes,
    )


def is_named(session: Session, path: str, sop_uid: str) -> bool:
    """Whether an instance that came again has this file."""
    return session.scalar(select(Instance.id).where(Instance.sop_uid == sop_uid, Instance.path == path)) is not None


def finish(session: Session, removal_id: int, now: datetime) -> None:
    session.execute(update(Removal).where(Removal.id == removal_id).values(finished_at=now))


def used(session: Session, study_ids: Sequence[int], now: datetime) -> None:
    """Somebody fetches from these studies."""
    for study_id in study_ids:
        row = session.get(StudyUse, study_id, populate_existing=True)
        if row is None:
            session.add(StudyUse(study_id=study_id, at=now))
        else:
            row.at = max(row.at, now)


@dataclass(frozen=True)
class Absent:
    """An instance of a study that was removed and did not come again."""

    sop_instance_uid: str
    sop_class_uid: str
    series_instance_uid: str
    modality: str
    sha256: str


_R = RemovedInstance
_ABSENT = Rendered(  # every analysis asks
    select(_R.sop_uid, _R.sop_class_uid, _R.series_uid, _R.modality, _R.sha256)
    .where(_R.study_id == bindparam("study"), ~_R.is_own_result)
    .where(~exists().where(Instance.sop_uid == _R.sop_uid))
    .order_by(_R.id)
)
_HAD = Rendered(select(_R.sop_uid, _R.sha256).where(_R.study_id == bindparam("study"), ~_R.is_own_result))


def absent(session: Session, study_id: int) -> list[Absent]:
    """In the order of receipt; our own results are none."""
    found = {row[0]: Absent(*row) for row in _ABSENT.rows(session.connection(), {"study": study_id})}
    return list(found.values())


def is_known_part(session: Session, study_id: int, instances: Sequence[tuple[str, str]]) -> bool:
    """Whether these (SOP Instance UID, digest) are some of what the study had when it was removed, and nothing new."""
    return set(instances) < set(_HAD.rows(session.connection(), {"study": study_id}))
