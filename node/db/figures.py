"""What the metrics tell of the database. A scrape costs what is unfinished, not what has ever been done: states that a
row ends in are never counted; what ended is counted as it happens (``tallies``).

Two questions cost more, and are asked by a duty now and then, not by a scrape: ``recent`` and ``received_bytes``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from node.core.job import JobKind, JobState
from node.core.study import StudyState
from node.db import tallies
from node.db.queries import aggregate
from node.db.tables import Delivery, Instance, JobRow, Study
from node.db.tallies import Histogram, Labels

UNDER_WAY = (StudyState.RECEIVING, StudyState.QUEUED, StudyState.ANALYSING, StudyState.FAILED)
UNFINISHED = (JobState.READY, JobState.RUNNING, JobState.PARKED)
NOT_DELIVERED = ("waiting", "committing", "failed", "refused")


@dataclass(frozen=True)
class Figures:
    """studies_under_way: by state. jobs: by kind and state. oldest_ready: when the first that waits was made, by kind.
    deliveries: by destination and state. refusals: by DIMSE status. attempts: by destination and outcome. stages: by
    stage and system. deliveries_took: by destination."""

    instances: int
    studies: int
    studies_under_way: Mapping[str, int]
    jobs: Mapping[Labels, int]
    oldest_ready: Mapping[str, datetime]
    deliveries: Mapping[Labels, int]
    refusals: Mapping[str, int]
    attempts: Mapping[Labels, int]
    analyses_took: Histogram
    stages: Mapping[Labels, Histogram]
    deliveries_took: Mapping[str, Histogram]


@dataclass(frozen=True)
class Recent:
    """Results of one system, version and class within a window of time."""

    system: str
    version: str
    class_name: str
    results: int
    positive: int
    mean_probability: float


def read(session: Session) -> Figures:
    states = select(Study.state, func.count()).where(Study.state.in_(UNDER_WAY)).group_by(Study.state)
    owed = (
        select(Delivery.destination, Delivery.state, func.count())
        .where(Delivery.state.in_(NOT_DELIVERED))
        .group_by(Delivery.destination, Delivery.state)
    )
    took = tallies.histograms(session, tallies.ANALYSIS)
    return Figures(
        instances=session.scalar(select(func.max(Instance.id))) or 0,
        studies=session.scalar(select(func.max(Study.id))) or 0,
        studies_under_way=dict(session.execute(states).tuples().all()),
        jobs=_jobs(session),
        oldest_ready=_oldest_ready(session),
        deliveries={(destination, state): number for destination, state, number in session.execute(owed).tuples()},
        refusals={status: number for (status, *_), number in tallies.counts(session, tallies.REFUSAL).items()},
        attempts=tallies.counts(session, tallies.ATTEMPT),
        analyses_took=took.get(("", ""), Histogram()),
        stages=tallies.histograms(session, tallies.STAGE),
        deliveries_took={of: found for (of, *_), found in tallies.histograms(session, tallies.DELIVERY).items()},
    )


def _jobs(session: Session) -> dict[Labels, int]:
    statement = (
        select(JobRow.kind, JobRow.state, func.count())
        .where(JobRow.kind.in_(list(JobKind)), JobRow.state.in_(UNFINISHED))
        .group_by(JobRow.kind, JobRow.state)
    )
    return {(kind, state): number for kind, state, number in session.execute(statement).tuples()}


def _oldest_ready(session: Session) -> dict[str, datetime]:
    """By their numbers, which the index of the queue holds: in the order in which they were made."""
    found = {}
    for kind in JobKind:
        first = select(func.min(JobRow.id)).where(JobRow.kind == kind, JobRow.state == JobState.READY).scalar_subquery()
        if made := session.scalar(select(JobRow.created_at).where(JobRow.id == first)):
            found[str(kind)] = made
    return found


def recent(session: Session, since: datetime) -> list[Recent]:
    """Of analyses that stand, by system, version and class. Costs what was found since then."""
    page = aggregate.aggregate(session, {"since": since}, ("system", "version", "class"))
    return [Recent(*row) for row in page.rows]


def received_bytes(session: Session) -> int:
    """Of the received objects that are in the archive. Reads every row of them."""
    return int(session.scalar(select(func.sum(Instance.bytes))) or 0)  # PostgreSQL sums up to a decimal number
