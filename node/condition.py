"""How a node does: backlog, oldest item, disk, each destination, and what is stuck with the command that mends it.

One answer for ``lungnode status`` and ``/health/ready``. It names UIDs and destinations, never a patient; what peers
and exceptions said is for the command line alone. Part of the composition root.
"""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from node.composition import reloading
from node.db import members
from node.db import stuck as rows
from node.db.members import Seen
from node.db.session import Database
from node.db.stuck import Backlog, DestinationState, Stuck
from node.pipeline.disks import Disk, size
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
    cannot write to. disks: that of the archive first. receivers: None where it does not run."""

    data: Path
    runs: bool
    disks: tuple[Disk, ...]
    workers: int | None = None
    troubles: tuple[Trouble, ...] = ()
    receivers: Receivers | None = None


@dataclass(frozen=True)
class Condition:
    node: Node
    backlog: Backlog
    stuck: tuple[Stuck, ...]
    nodes: tuple[Seen, ...] = ()  # that share the database

    def command(self, one: Stuck) -> str:
        """As a shell takes it."""
        return shlex.join(("lungnode", *one.command, "--data", str(self.node.data)))


def of(session: Session, node: Node, now: datetime) -> Condition:
    backlog, nodes = rows.backlog(session), tuple(members.seen(session))
    stuck = (*_of_node(node, backlog, now), *_of_nodes(nodes, backlog, now), *rows.stuck(session))
    return Condition(node, backlog, stuck, nodes)


def read(database: Database, node: Node, now: datetime) -> dict[str, Any]:
    """Of the node that asks, for ``/health/ready``."""
    try:
        with database.read() as session:
            return as_json(of(session, node, now))
    except SQLAlchemyError:  # its problems say so; the rest is still of use
        return as_json(Condition(node, Backlog({}, "", None, ()), ()))


def _of_node(node: Node, backlog: Backlog, now: datetime) -> list[Stuck]:
    elsewhere = ("backup", "--to", ELSEWHERE)
    found = _of_settings(node) + [Stuck(trouble.subject, now, trouble.sentence, elsewhere) for trouble in node.troubles]
    since = backlog.oldest_since or now
    found += [Stuck("disk", now, disk.sentence, elsewhere) for disk in node.disks if not disk.has_room]
    if not node.runs and (backlog.unfinished or backlog.waiting):
        waiting = f"{_count(backlog.unfinished, 'study')} and {_count(backlog.waiting, 'result')}"
        text = f"The node does not run; {waiting} wait for it."
        found.append(Stuck("node", since, text, ("serve",)))
    elif node.workers == 0 and (queued := backlog.studies.get("queued", 0)):
        text = f"The node runs without workers (node.workers = 0); {_count(queued, 'study')} waiting."
        found.append(Stuck("workers", since, text, ("serve", "--workers", "1")))
    return found


def _of_settings(node: Node) -> list[Stuck]:
    """What a reload of the node that runs refused, and what of it waits for the next start."""
    last = reloading.last(node.data) if node.runs else None
    if last is None:
        return []
    if last.refused:
        text = "The new settings were refused, and the old ones hold."
        return [Stuck("configuration", last.at, text, ("reload",), last.refused)]
    text = f"Changed settings that hold from the next start on: {', '.join(last.waiting)}."
    return [Stuck("configuration", last.at, text, ("serve",))] if last.waiting else []


def _of_nodes(nodes: Sequence[Seen], backlog: Backlog, now: datetime) -> list[Stuck]:
    """What no node does, where several share the database."""
    queued = backlog.studies.get("queued", 0)
    if not queued or len(nodes) < 2 or any(one.node.workers and not one.lost_at for one in nodes):
        return []
    text = f"No node with workers is heard of; {_count(queued, 'study')} waiting."
    return [Stuck("workers", backlog.oldest_since or now, text, ("serve", "--role", "worker"))]


def lines(condition: Condition) -> list[str]:
    """For people, one thing a line."""
    node, backlog = condition.node, condition.backlog
    studies = ", ".join(f"{number} {state}" for state, number in sorted(backlog.studies.items())) or "none"
    oldest = f"; oldest {backlog.oldest_study_uid} since {_clock(backlog.oldest_since)}" if backlog.oldest_since else ""
    said = [
        f"node: {'runs' if node.runs else 'does not run'}",
        *([f"receivers: {_receivers_line(node.receivers)}"] if node.receivers else []),
        *(_node_line(one) for one in condition.nodes if one.sentence or len(condition.nodes) > 1),
        f"studies: {studies}{oldest}",
        *(_disk_line(disk) for disk in node.disks),
    ]
    said += [f"destination {_destination_line(one)}" for one in backlog.destinations]
    for one in condition.stuck:
        heard = f" ({one.said})" if one.said else ""
        said.append(f"stuck: {one.sentence}{heard} To mend it: {condition.command(one)}")
    return said


def _node_line(one: Seen) -> str:
    does = f"{', '.join(one.node.roles)}; {_count(one.node.workers, 'worker')}; heard of {_clock(one.beat_at)}"
    return f"member {one.node.place}: {does}{f'. {one.sentence}' if one.sentence else ''}"


def _receivers_line(receivers: Receivers) -> str:
    died = f"; {receivers.died} died since the start, and was started again" if receivers.died else ""
    return f"{receivers.running} of {receivers.wanted} run{died}"


def _disk_line(disk: Disk) -> str:
    state = "; FULL" if not disk.has_room else f". {disk.sentence}" if disk.sentence else ""
    room = f"{size(disk.free_bytes)} free, {disk.used_percent:.0f} % used"
    marks = f"warned of below {size(disk.warning_bytes)}, refused below {size(disk.refusal_bytes)}"
    return f"disk: {disk.holds}: {room}; {marks}{state}"


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
        "disk": {"free_bytes": node.disks[0].free_bytes, "min_free_bytes": node.disks[0].refusal_bytes},
        "disks": [{**vars(disk), "sentence": disk.sentence} for disk in node.disks],
        "receivers": dataclasses.asdict(node.receivers) if node.receivers else None,
        "members": [
            {
                "place": one.node.place,
                "aet": one.node.aet,
                "roles": list(one.node.roles),
                "workers": one.node.workers,
                "heard_of_at": _iso(one.beat_at),
                "sentence": one.sentence,
            }
            for one in condition.nodes
        ],
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


def _count(number: int, what: str) -> str:
    """In words: no result, 1 result, 2 results."""
    several = {"study": "studies"}.get(what, f"{what}s")
    return f"no {what}" if number == 0 else f"{number} {what if number == 1 else several}"
