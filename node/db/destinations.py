"""How each destination stands: paused by an operator, or away and when it is probed next. The caller owns the
transaction, and all of it outlives a restart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import bindparam, func, select, update
from sqlalchemy.orm import Session

from node.core.job import JobKind, JobState
from node.db import deliveries
from node.db.destination_tables import DestinationState
from node.db.driver import Rendered
from node.db.tables import Analysis, Delivery, JobRow, Output, Study


@dataclass(frozen=True)
class Standing:
    """failures: associations and probes without an answer, in a row. away_since: it is probed instead of being sent
    anything; ``probe_at`` is when."""

    destination: str
    paused_at: datetime | None = None
    failures: int = 0
    away_since: datetime | None = None
    probe_at: datetime | None = None
    problem: str = ""

    @property
    def sentence(self) -> str:
        """Empty where nothing keeps it from being sent to."""
        said = []
        if self.paused_at:
            said.append(f"paused since {_clock(self.paused_at)}")
        if self.away_since and self.probe_at:
            said.append(f"away since {_clock(self.away_since)}, asked next at {_clock(self.probe_at)}: {self.problem}")
        return "; ".join(said)


_D = DestinationState
_STANDING = Rendered(
    select(_D.destination, _D.paused_at, _D.failures, _D.away_since, _D.probe_at, _D.problem)
    .where(_D.destination == bindparam("to"))
)  # fmt: skip
_CLOSED = Rendered(
    select(_D.destination)
    .where(_D.paused_at.is_not(None) | (_D.away_since.is_not(None) & (_D.probe_at > bindparam("now"))))
)  # fmt: skip
_OWED = (
    select(JobRow.id)
    .join(Delivery, JobRow.subject_id == Delivery.id)
    .where(JobRow.kind == JobKind.DELIVER, JobRow.state == JobState.READY, Delivery.destination == _D.destination)
    .exists()
)
_TO_PROBE = Rendered(
    select(_D.destination)
    .where(_D.paused_at.is_(None) & _D.away_since.is_not(None), _D.probe_at <= bindparam("now"), _OWED)
)  # fmt: skip


def standing(session: Session, destination: str) -> Standing:
    row = _STANDING.first(session.connection(), {"to": destination})
    return Standing(*row) if row else Standing(destination)


def closed(session: Session, now: datetime) -> frozenset[str]:
    """Those that are sent nothing at this moment."""
    return frozenset(name for (name,) in _CLOSED.rows(session.connection(), {"now": now}))


def to_probe(session: Session, now: datetime) -> list[str]:
    """Those that are away, may be asked again now, and are owed something."""
    return [name for (name,) in _TO_PROBE.rows(session.connection(), {"now": now})]


def answered(session: Session, destination: str) -> bool:
    """It answered: whatever it failed before is over. True when it was away."""
    row = session.get(DestinationState, destination, populate_existing=True)
    if row is None or not row.failures:
        return False
    was_away = row.away_since is not None
    row.failures, row.away_since, row.probe_at, row.problem = 0, None, None, ""
    return was_away


def unanswered(
    session: Session, destination: str, problem: str, now: datetime, away_after: int, pause: Callable[[int], timedelta]
) -> Standing:
    """One failure more. pause: how long to wait before the n-th probe, from 1."""
    row = _row(session, destination)
    row.failures, row.problem = row.failures + 1, problem
    if row.failures >= away_after:
        row.away_since = row.away_since or now
        row.probe_at = now + pause(row.failures - away_after + 1)
    session.flush()
    return _standing(row)


def pause(session: Session, destination: str, now: datetime) -> bool:
    """False when it was paused before."""
    row = _row(session, destination)
    if row.paused_at is not None:
        return False
    row.paused_at = now
    return True


def resume(session: Session, destination: str) -> bool:
    """False when it was not paused."""
    row = session.get(DestinationState, destination)
    if row is None or row.paused_at is None:
        return False
    row.paused_at = None
    return True


def retry(session: Session, destination: str, now: datetime, study_uid: str | None = None) -> tuple[int, int]:
    """What was given up of analyses that still stand waits again, what waits is due now; it is probed at once.

    Returns (deliveries that wait again, deliveries that are due sooner).
    """
    given_up = (
        select(Delivery.id)
        .join(Output, Delivery.output_id == Output.id)
        .join(Analysis, Output.analysis_id == Analysis.id)
        .join(Study, Analysis.study_id == Study.id)
        .where(Delivery.destination == destination, Delivery.state.in_(("refused", "failed")), ~Analysis.superseded)
    )
    if study_uid is not None:
        given_up = given_up.where(Study.study_uid == study_uid)
    sooner = bring_forward(session, destination, now, study_uid=study_uid)
    again = sum(deliveries.try_again(session, found, now) for found in session.scalars(given_up).all())
    asked_again = update(DestinationState).where(
        DestinationState.destination == destination, DestinationState.away_since.is_not(None)
    )
    session.execute(asked_again.values(probe_at=now))
    return again, sooner


def bring_forward(
    session: Session, destination: str, now: datetime, *, study_uid: str | None = None, unanswered_only: bool = False
) -> int:
    """What waits for a later time is due now. unanswered_only: not what the destination answered with a failure."""
    wanted = (
        select(Delivery.id)
        .join(Output, Delivery.output_id == Output.id)
        .join(Analysis, Output.analysis_id == Analysis.id)
        .join(Study, Analysis.study_id == Study.id)
        .where(Delivery.destination == destination)
    )
    if study_uid is not None:
        wanted = wanted.where(Study.study_uid == study_uid)
    if unanswered_only:
        wanted = wanted.where(Delivery.last_status.is_(None))
    waits = (JobRow.kind == JobKind.DELIVER) & (JobRow.state == JobState.READY) & (JobRow.next_at > now)
    moved = session.execute(
        update(JobRow)
        .where(waits, JobRow.subject_id.in_(wanted))
        .values(next_at=now)
        .execution_options(synchronize_session=False)
    )
    return int(moved.rowcount)  # type: ignore[attr-defined]


def owed(session: Session, destination: str) -> dict[str, int]:
    """State of a delivery -> how many are in it."""
    counted = select(Delivery.state, func.count()).where(Delivery.destination == destination).group_by(Delivery.state)
    return dict(session.execute(counted.order_by(Delivery.state)).tuples().all())


def _row(session: Session, destination: str) -> DestinationState:
    row = session.get(DestinationState, destination, populate_existing=True)
    if row is None:
        row = DestinationState(destination=destination, failures=0, problem="")
        session.add(row)
        session.flush()
    return row


def _standing(row: DestinationState) -> Standing:
    return Standing(row.destination, row.paused_at, row.failures, row.away_since, row.probe_at, row.problem)


def _clock(at: datetime) -> str:
    return at.strftime("%Y-%m-%d %H:%M:%SZ")


def class_name(sop_class_uid: str) -> str:
    """As PS3.6 table A-1 has it."""
    from pydicom.uid import UID  # here, since few ask, and its import takes longer than what most commands do

    return str(UID(sop_class_uid).name)
