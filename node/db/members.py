"""Which nodes share the database, which of them live, and whose work is to be done by others. The caller owns the
transaction; times are those of the database's clock."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from node.core.job import JobKind, JobState
from node.db import jobs
from node.db.intake import add_event
from node.db.member_tables import Common, Member
from node.db.tables import JobRow

FORGOTTEN = timedelta(days=1)  # after which a node that was lost is no longer spoken of
ADOPTED = "The models and settings that it was queued for are with no worker any more; those of now are used."
SILENT = "its node was not heard of any more"
AT_ONCE = 500
RECEIVE = frozenset({"receiver", "web", "all"})  # roles to which images come
CLOCK_SECONDS = 2.0


@dataclass(frozen=True)
class Node:
    """What a node says of itself. pipeline: which models and settings its workers have."""

    id: str
    incarnation: str
    place: str
    aet: str
    roles: tuple[str, ...]
    workers: int
    pipeline: str
    version: str


@dataclass(frozen=True)
class Seen:
    """A node as the others see it. sentence: what is wrong with it; empty: nothing."""

    node: Node
    beat_at: datetime
    lost_at: datetime | None
    sentence: str


def join(session: Session, node: Node, now: datetime) -> None:
    """It is one of those that share the database, in place of its earlier run."""
    facts = {**vars(node), "roles": ",".join(node.roles)}
    beat = {"started_at": now, "beat_at": now, "arriving": "", "clock_behind": 0.0, "lost_at": None}
    session.merge(Member(**facts, **beat))


def last_beat(session: Session, node_id: str, since: datetime) -> datetime | None:
    """When the node of this name was heard of last; None where that is longer ago, or it counts as dead."""
    living = (Member.id == node_id) & Member.lost_at.is_(None) & (Member.beat_at >= since)
    return session.scalar(select(Member.beat_at).where(living))


def forget_all(session: Session) -> None:
    """Of a database that nobody can share."""
    session.execute(delete(Member))


def beat(session: Session, node: Node, arriving: frozenset[str], clock_behind: float, now: datetime) -> bool:
    """It lives; False where the others have taken it for dead, or another one stands in its place."""
    done = session.execute(
        update(Member)
        .where(Member.id == node.id, Member.incarnation == node.incarnation, Member.lost_at.is_(None))
        .values(beat_at=now, arriving="\n".join(sorted(arriving)), clock_behind=clock_behind)
    )
    return bool(done.rowcount)  # type: ignore[attr-defined]


def now_has(session: Session, node: Node, pipeline: str) -> None:
    """Its workers have other models or settings from now on."""
    this = (Member.id == node.id) & (Member.incarnation == node.incarnation)
    session.execute(update(Member).where(this).values(pipeline=pipeline))


def leave(session: Session, node: Node) -> None:
    session.execute(delete(Member).where(Member.id == node.id, Member.incarnation == node.incarnation))


def owner(node_id: str) -> str:
    """The beginning of the names under which processes of a node claim jobs."""
    return f"{node_id}/" if node_id else ""


def others(session: Session, node: Node, since: datetime) -> int:
    """How many other nodes were heard of since then."""
    return len(session.scalars(select(Member.id).where(Member.id != node.id, Member.beat_at >= since)).all())


def arriving(session: Session, now: datetime) -> tuple[frozenset[str], datetime]:
    """Studies that an open association of a living node sends, or that one fetches, and when that was so for all who
    receive."""
    living = select(Member.arriving, Member.beat_at, Member.roles).where(Member.lost_at.is_(None))
    rows = session.execute(living).tuples().all()
    studies = frozenset(uid for text, _, _ in rows for uid in text.splitlines())
    return studies, min((at for _, at, roles in rows if RECEIVE.intersection(roles.split(","))), default=now)


def expire(session: Session, before: datetime, now: datetime) -> list[tuple[str, int]]:
    """Take those for dead that were last heard of before then: (place, jobs that are given back) of each."""
    silent = session.scalars(select(Member).where(Member.lost_at.is_(None), Member.beat_at < before)).all()
    found = []
    for member in silent:
        member.lost_at, member.arriving = now, ""
        found.append((member.place, jobs.release(session, owner(member.id), SILENT, stopped=True)))
    session.execute(delete(Member).where(Member.lost_at < now - FORGOTTEN))
    return found


def adopt(session: Session, pipeline: str, now: datetime) -> int:
    """Let what waits for models that no worker has be analysed with those of now; how many studies. pipeline: of the
    node that does the duties; where it has no workers, that of the oldest node that has."""
    having = select(Member.pipeline).where(Member.lost_at.is_(None), Member.workers > 0)
    living = session.scalars(having.order_by(Member.started_at, Member.id)).all()
    if living and pipeline not in living:
        pipeline = living[0]
    waiting = select(JobRow.id, JobRow.subject_id).where(
        JobRow.kind == JobKind.ANALYSE, JobRow.state == JobState.READY, JobRow.pipeline.not_in(("", pipeline, *living))
    )
    rows = session.execute(waiting.limit(AT_ONCE)).tuples().all()
    for job_id, study_id in rows:
        session.execute(update(JobRow).where(JobRow.id == job_id).values(pipeline=pipeline))
        add_event(session, study_id, now, ADOPTED)
    return len(rows)


def seen(session: Session) -> list[Seen]:
    """Every node that is known, the oldest first."""
    rows = session.scalars(select(Member).order_by(Member.started_at, Member.id)).all()
    return [Seen(_node(row), row.beat_at, row.lost_at, _sentence(row, rows[0])) for row in rows]


def common(session: Session, name: str, value: str = "") -> str:
    """What all nodes have in common under this name; ``value`` where nothing was said before."""
    known = session.get(Common, name)
    if known is None and value:
        session.add(Common(name=name, value=value))
    return known.value if known is not None else value


def agree(session: Session, name: str, value: str) -> None:
    """From now on all nodes have this in common."""
    session.merge(Common(name=name, value=value))


def _node(row: Member) -> Node:
    roles = tuple(row.roles.split(","))
    return Node(row.id, row.incarnation, row.place, row.aet, roles, row.workers, row.pipeline, row.version)


def _sentence(row: Member, first: Member) -> str:
    said = []
    if row.lost_at is not None:
        said.append(f"It was last heard of at {row.beat_at:%Y-%m-%d %H:%M:%SZ} and counts as dead; others do its work.")
    if row.aet != first.aet:
        said.append(f"It calls itself {row.aet}, the first node on this database {first.aet}: results name both.")
    if row.workers and row.pipeline != first.pipeline:
        said.append(f"Its models or settings are not those of {first.place}: it gets only what asks for its own.")
    if row.version != first.version:
        said.append(f"It is version {row.version}, the first node {first.version}.")
    if abs(row.clock_behind) > CLOCK_SECONDS:
        off = "behind" if row.clock_behind > 0 else "ahead of"
        said.append(f"Its clock is {abs(row.clock_behind):.0f} s {off} that of the database, which is what counts.")
    return " ".join(said)
