"""Rows of storage commitment, in both directions. The caller owns the transaction."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import exists, select, update
from sqlalchemy.orm import Session

from node.core.job import JobKind, JobState
from node.db import jobs, tallies, told
from node.db.commitment_tables import CommitmentAsked, CommitmentRequest
from node.db.tables import Delivery, Instance, JobRow, Output

Named = tuple[str, str]  # SOP class UID, SOP instance UID
_WAITS = select(exists().where(CommitmentRequest.reported_at.is_(None)))


@dataclass(frozen=True)
class Asked:
    """A peer's request that it was not told the outcome of."""

    id: int
    transaction_uid: str
    aet: str
    address: str
    instances: tuple[Named, ...]
    attempts: int


@dataclass(frozen=True)
class Held:
    """What is stored under a SOP Instance UID. sha256: of the data set."""

    sop_class_uid: str
    path: str
    sha256: str


def request(
    session: Session,
    transaction_uid: str,
    aet: str,
    address: str,
    instances: Sequence[Named],
    now: datetime,
    at: datetime,
) -> None:
    """Keep a request, to be answered from ``at`` on; one that is repeated is answered again."""
    same = (CommitmentRequest.aet == aet) & (CommitmentRequest.transaction_uid == transaction_uid)
    row = session.scalars(select(CommitmentRequest).where(same)).first()
    if row is None:
        row = CommitmentRequest(aet=aet, transaction_uid=transaction_uid)
        session.add(row)
    row.address, row.instances, row.asked_at, row.next_at = address, json.dumps(list(instances)), now, at
    row.attempts, row.problem, row.reported_at = 0, "", None
    session.flush()


def waits(session: Session) -> bool:
    """Whether any requester was not told yet, whenever that is due."""
    return bool(session.scalar(_WAITS))


def due(session: Session, now: datetime, limit: int) -> list[Asked]:
    rows = session.scalars(
        select(CommitmentRequest)
        .where(CommitmentRequest.reported_at.is_(None), CommitmentRequest.next_at <= now)
        .order_by(CommitmentRequest.next_at)
        .limit(limit)
    )
    return [
        Asked(row.id, row.transaction_uid, row.aet, row.address, _named(row.instances), row.attempts) for row in rows
    ]


def claim(session: Session, request_id: int, now: datetime, until: datetime) -> bool:
    """Whether the caller, and nobody else until then, tells the peer."""
    done = session.execute(
        update(CommitmentRequest)
        .where(
            CommitmentRequest.id == request_id,
            CommitmentRequest.reported_at.is_(None),
            CommitmentRequest.next_at <= now,
        )
        .values(next_at=until)
    )
    return bool(done.rowcount)  # type: ignore[attr-defined]


def promise(session: Session, instances: Sequence[Named], now: datetime) -> None:
    """The peer may be told that these are kept, so from now on they are: whatever was removed before is not there when
    they are judged."""
    for _, sop_instance_uid in instances:
        session.execute(update(Instance).where(Instance.sop_uid == sop_instance_uid).values(committed_at=now))


def reported(session: Session, request_id: int, now: datetime) -> None:
    session.execute(
        update(CommitmentRequest)
        .where(CommitmentRequest.id == request_id)
        .values(reported_at=now, problem="", attempts=CommitmentRequest.attempts + 1)
    )


def report_later(session: Session, request_id: int, at: datetime, problem: str) -> None:
    session.execute(
        update(CommitmentRequest)
        .where(CommitmentRequest.id == request_id)
        .values(next_at=at, problem=problem[:500], attempts=CommitmentRequest.attempts + 1)
    )


def held(session: Session, sop_instance_uid: str) -> Held | None:
    """None also for what came after the promise: it might be removed."""
    promised = (Instance.sop_uid == sop_instance_uid) & Instance.committed_at.is_not(None)
    row = session.scalars(select(Instance).where(promised)).first()
    return None if row is None else Held(row.sop_class_uid, row.path, row.sha256)


def ask(session: Session, transaction_uid: str, delivery_ids: Collection[int], now: datetime) -> None:
    """Remember before asking: the answer may come before the request has returned."""
    session.add_all(CommitmentAsked(transaction_uid=transaction_uid, delivery_id=i, asked_at=now) for i in delivery_ids)


def ask_later(session: Session, delivery_id: int, at: datetime, problem: str) -> None:
    """The destination did not take the request."""
    job_id = _job(session, delivery_id)
    if job_id is not None:
        session.execute(update(JobRow).where(JobRow.id == job_id).values(next_at=at, error=problem))
        session.execute(update(Delivery).where(Delivery.id == delivery_id).values(comment=problem[:500]))


def answered(
    session: Session,
    transaction_uid: str,
    committed: Collection[str],
    failed: Mapping[str, int],
    now: datetime,
    pause: Callable[[int], timedelta],
) -> tuple[int, int] | None:
    """Take a destination's report: SOP Instance UIDs that it committed, those that it did not with Failure Reason.

    What it did not commit is delivered again, after ``pause`` of the attempts so far. Returns (committed, to be
    delivered again); None for a transaction that we never began.
    """
    asked = session.execute(
        select(Delivery.id, Output.sop_uid)
        .join(CommitmentAsked, CommitmentAsked.delivery_id == Delivery.id)
        .join(Output, Delivery.output_id == Output.id)
        .where(CommitmentAsked.transaction_uid == transaction_uid)
    ).all()
    if not asked:
        return None
    done = sum(_commit(session, delivery, now) for delivery, sop_uid in asked if sop_uid in committed)
    again = sum(
        _deliver_again(session, delivery, failed[sop_uid], now, pause)
        for delivery, sop_uid in asked
        if sop_uid in failed
    )
    return done, again


def _job(session: Session, delivery_id: int) -> int | None:
    """Of a delivery that waits to be committed."""
    return session.scalar(
        select(JobRow.id)
        .join(Delivery, JobRow.subject_id == Delivery.id)
        .where(JobRow.kind == JobKind.DELIVER, JobRow.state == JobState.READY)
        .where(Delivery.id == delivery_id, Delivery.state == "committing")
    )


def _commit(session: Session, delivery_id: int, now: datetime) -> bool:
    job = _job(session, delivery_id)
    if job is None or not jobs.withdraw(session, job, now, ""):
        return False
    values = {"state": "delivered", "committed_at": now, "delivered_at": now}
    session.execute(update(Delivery).where(Delivery.id == delivery_id).values(**values))
    told.delivery(session, delivery_id, now)
    tallies.delivery(session, delivery_id, "delivered", now)
    return True


def _deliver_again(
    session: Session, delivery_id: int, reason: int, now: datetime, pause: Callable[[int], timedelta]
) -> bool:
    job_id = _job(session, delivery_id)
    if job_id is None:
        return False
    comment = f"the destination took it and did not commit it: reason 0x{reason:04X}"
    session.execute(update(Delivery).where(Delivery.id == delivery_id).values(state="waiting", comment=comment))
    job = session.get_one(JobRow, job_id, populate_existing=True)
    job.next_at = now + pause(job.attempts)
    return True


def _named(text: str) -> tuple[Named, ...]:
    return tuple((str(sop_class), str(instance)) for sop_class, instance in json.loads(text))
