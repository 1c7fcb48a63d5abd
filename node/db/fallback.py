"""What each destination does not take, and the outputs that are sent instead. The caller owns the transaction."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import bindparam, delete, select
from sqlalchemy.orm import Session

from node.db import deliveries
from node.db import destinations as standings
from node.db.driver import Rendered
from node.db.results import NewOutput
from node.db.tables import Analysis, Delivery, Output, RefusedClass, Reserve, StandIn


@dataclass(frozen=True)
class StoredOutput:
    """One output in the archive."""

    id: int
    analysis_id: int
    kind: str
    sop_class_uid: str
    sop_instance_uid: str
    sha256: str
    path: str


@dataclass(frozen=True)
class Refusal:
    destination: str
    sop_class_uid: str
    refused_at: datetime


def refusals(session: Session) -> list[Refusal]:
    """Everything that is remembered, by destination."""
    rows = session.scalars(select(RefusedClass).order_by(RefusedClass.destination, RefusedClass.refused_at))
    return [Refusal(row.destination, row.sop_class_uid, row.refused_at) for row in rows]


def destinations(session: Session) -> list[str]:
    """Every destination that was ever owed anything, in order."""
    return list(session.scalars(select(Delivery.destination).distinct().order_by(Delivery.destination)))


_REFUSED = Rendered(select(RefusedClass.sop_class_uid).where(RefusedClass.destination == bindparam("to")))
_LAST = (
    select(Delivery.state)
    .join(Output, Delivery.output_id == Output.id)
    .where(Delivery.destination == bindparam("to"), Output.sop_class_uid.in_(bindparam("classes", expanding=True)))
    .where(Delivery.state.in_(("delivered", "replaced", "refused", "failed")))
    .order_by(Delivery.id.desc())
    .limit(1)
)


def refused_classes(session: Session, destination: str) -> frozenset[str]:
    """SOP classes that are not worth a try."""
    return frozenset(name for (name,) in _REFUSED.rows(session.connection(), {"to": destination}))


def takes_reports(session: Session, destination: str, classes: Collection[str]) -> bool:
    """Whether the last report that came to an end there was taken, and nothing keeps it from being sent the next.

    classes: of reports.
    """
    stands = standings.standing(session, destination)
    if stands.failures or stands.paused_at is not None:
        return False
    return session.scalar(_LAST, {"to": destination, "classes": list(classes)}) == "delivered"


def remember(session: Session, destination: str, sop_class_uid: str, now: datetime) -> bool:
    """False when it was known already."""
    if session.get(RefusedClass, (destination, sop_class_uid)) is not None:
        return False
    session.add(RefusedClass(destination=destination, sop_class_uid=sop_class_uid, refused_at=now))
    session.flush()
    return True


def forget(session: Session, destination: str, now: datetime) -> tuple[int, int]:
    """Forget what it refused, and try again what was given up there of analyses that still stand.

    Returns (classes forgotten, deliveries that wait again).
    """
    known = refused_classes(session, destination)
    session.execute(delete(RefusedClass).where(RefusedClass.destination == destination))
    given_up = (
        select(Delivery.id)
        .join(Output, Delivery.output_id == Output.id)
        .join(Analysis, Output.analysis_id == Analysis.id)
        .where(Delivery.destination == destination, Delivery.state.in_(("refused", "failed")), ~Analysis.superseded)
    )
    again = [deliveries.try_again(session, found, now) for found in session.scalars(given_up).all()]
    return len(known), sum(again)


def output(session: Session, output_id: int) -> StoredOutput:
    return _stored(session.get_one(Output, output_id))


def output_named(session: Session, sop_instance_uid: str) -> StoredOutput | None:
    row = session.scalars(select(Output).where(Output.sop_uid == sop_instance_uid)).first()
    return None if row is None else _stored(row)


def reserve(session: Session, analysis_id: int, destination: str) -> StoredOutput | None:
    """The page that is kept for the destination, or that is sent to it anyway."""
    kept = select(Reserve.output_id).where(Reserve.destination == destination)
    owed = select(Delivery.output_id).where(Delivery.destination == destination)
    row = session.scalars(
        select(Output)
        .where(Output.analysis_id == analysis_id, Output.kind == "page", Output.id.in_(kept) | Output.id.in_(owed))
        .order_by(Output.id)
    ).first()
    return None if row is None else _stored(row)


def add_stand_in(session: Session, original: StoredOutput, new: NewOutput) -> int:
    """The output's id; another destination may have had it made before."""
    known = output_named(session, new.sop_instance_uid)
    if known is not None:
        return known.id
    row = Output(
        analysis_id=original.analysis_id,
        kind=new.kind,
        sop_uid=new.sop_instance_uid,
        sop_class_uid=new.sop_class_uid,
        series_uid=new.series_instance_uid,
        sha256=new.sha256,
        path=new.path,
    )
    session.add(row)
    session.flush()
    session.add(StandIn(output_id=row.id, original_id=original.id))
    session.flush()
    return row.id


def _stored(row: Output) -> StoredOutput:
    return StoredOutput(row.id, row.analysis_id, row.kind, row.sop_class_uid, row.sop_uid, row.sha256, row.path)
