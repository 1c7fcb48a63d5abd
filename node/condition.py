"""How a node does: backlog, oldest item, disk, each destination, and what is stuck with the command that mends it.

One answer for ``lungnode status`` and ``/health/ready``. It names UIDs and destinations, never a patient; what peers
and exceptions said is for the command line alone. Part of the composition root, beside ``app``.
"""

from __future__ import annotations

import dataclasses
import shlex
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from node.db import stuck as rows
from node.db.session import Database
from node.db.stuck import Backlog, DestinationState, Stuck
from node.pipeline.probe import Trouble

ELSEWHERE = "DIR-ON-A-LARGER-DISK"


@dataclass(frozen=True)
class Receivers:
    """Processes that receive: as configured, those that run now, and how many died since the start."""

    wanted: int
    running: int
    died: int


@dataclass(frozen=True)
class Node:
    """What is known of the node beside its database. workers: as configured; None: not known. troubles: what it
    cannot write to. receivers: None where it does not run."""

    data: Path
    runs: bool
    free_bytes: int
    min_free_bytes: int
    workers: int | None = None
    troubles: tuple[Trouble, ...] = ()
    receivers: Receivers | None = None

    @property
    def has_room(self) -> bool:
        return self.free_bytes >= self.min_free_bytes


@dataclass(frozen=True)
class Condition:
    node: Node
    backlog: Backlog
    stuck: tuple[Stuck, ...]

    def command(self, one: Stuck) -> str:
        """As a shell takes it."""
        return shlex.join(("lungnode", *one.command, "--data", str(self.node.data)))


def of(session: Session, node: Node, now: datetime) -> Condition:
    backlog = rows.backlog(session)
    return Condition(node, backlog, (*_of_node(node, backlog, now), *rows.stuck(session)))


def read(database: Database, node: Node, now: datetime) -> dict[str, Any]:
    """Of the node that asks, for ``/health/ready``."""
    with database.read() as session:
        return as_json(of(session, node, now))


def _of_node(node: Node, backlog: Backlog, now: datetime) -> list[Stuck]:
    elsewhere = ("backup", "--to", ELSEWHERE)
    found = [Stuck(trouble.subject, now, trouble.sentence, elsewhere) for trouble in node.troubles]
    since = backlog.oldest_since or now
    if not node.has_room:
        text = (
            f"The archive's disk has {_size(node.free_bytes)} left of the {_size(node.min_free_bytes)} that are kept "
            "free; instances are refused with 0xA700. Make room, or go on from a copy on a larger disk."
        )
        found.append(Stuck("disk", now, text, elsewhere))
    if not node.runs and (backlog.unfinished or backlog.waiting):
        waiting = f"{_count(backlog.unfinished, 'study')} and {_count(backlog.waiting, 'result')}"
        text = f"The node does not run; {waiting} wait for it."
        found.append(Stuck("node", since, text, ("serve",)))
    elif node.workers == 0 and (queued := backlog.studies.get("queued", 0)):
        text = f"The node runs without workers (node.workers = 0); {_count(queued, 'study')} waiting."
        found.append(Stuck("workers", since, text, ("serve", "--workers", "1")))
    return found


def lines(condition: Condition) -> list[str]:
    """For people, one thing a line."""
    node, backlog = condition.node, condition.backlog
    studies = ", ".join(f"{number} {state}" for state, number in sorted(backlog.studies.items())) or "none"
    oldest = f"; oldest {backlog.oldest_study_uid} since {_clock(backlog.oldest_since)}" if backlog.oldest_since else ""
    free, kept = _size(node.free_bytes), _size(node.min_free_bytes)
    said = [
        f"node: {'runs' if node.runs else 'does not run'}",
        *([f"receivers: {_receivers_line(node.receivers)}"] if node.receivers else []),
        f"studies: {studies}{oldest}",
        f"disk: {free} free, {kept} kept free{'' if node.has_room else '; FULL'}",
    ]
    said += [f"destination {_destination_line(one)}" for one in backlog.destinations]
    for one in condition.stuck:
        heard = f" ({one.said})" if one.said else ""
        said.append(f"stuck: {one.sentence}{heard} To mend it: {condition.command(one)}")
    return said


def _receivers_line(receivers: Receivers) -> str:
    died = f"; {receivers.died} died since the start, and was started again" if receivers.died else ""
    return f"{receivers.running} of {receivers.wanted} run{died}"


def _destination_line(one: DestinationState) -> str:
    parts = [f"{one.delivered} delivered", f"{one.waiting} waiting", f"{one.given_up} given up"]
    if one.oldest_waiting_at:
        parts.append(f"oldest since {_clock(one.oldest_waiting_at)}")
    if one.waiting and one.next_try_at:
        parts.append(f"next turn {_clock(one.next_try_at)}")
    if one.last_delivered_at:
        parts.append(f"last delivered {_clock(one.last_delivered_at)}")
    return f"{one.name}: {one.state}; {', '.join(parts)}"


def as_json(condition: Condition) -> dict[str, Any]:
    """For ``/health/ready``: without what peers and exceptions said, which might be of a patient."""
    node, backlog = condition.node, condition.backlog
    return {
        "backlog": {
            "studies": backlog.studies,
            "unfinished": backlog.unfinished,
            "oldest_study_uid": backlog.oldest_study_uid,
            "oldest_since": _iso(backlog.oldest_since),
        },
        "disk": {"free_bytes": node.free_bytes, "min_free_bytes": node.min_free_bytes},
        "receivers": dataclasses.asdict(node.receivers) if node.receivers else None,
        "cannot_write": {trouble.subject: trouble.reason for trouble in node.troubles},
        "destinations": [
            {
                "name": one.name,
                "state": one.state,
                "waiting": one.waiting,
                "oldest_waiting_at": _iso(one.oldest_waiting_at),
                "next_try_at": _iso(one.next_try_at),
                "given_up": one.given_up,
                "delivered": one.delivered,
                "last_delivered_at": _iso(one.last_delivered_at),
            }
            for one in backlog.destinations
        ],
        "stuck": [
            {
                "subject": one.subject,
                "since": _iso(one.since),
                "sentence": one.sentence,
                "command": condition.command(one),
            }
            for one in condition.stuck
        ],
    }


def _iso(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat(timespec="seconds")


def _clock(at: datetime | None) -> str:
    return "" if at is None else at.strftime("%Y-%m-%d %H:%M:%SZ")


def _size(number: int) -> str:
    return f"{number / 2**30:.1f} GiB" if number >= 2**28 else f"{number / 2**20:.0f} MiB"


def _count(number: int, what: str) -> str:
    """In words: no result, 1 result, 2 results."""
    several = {"study": "studies"}.get(what, f"{what}s")
    return f"no {what}" if number == 0 else f"{number} {what if number == 1 else several}"
