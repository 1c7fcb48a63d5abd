"""Studies to be removed, rules that remove them, and what must hold afterwards: what the tests of retention share."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from sqlalchemy import text

from node.core import settings
from node.core.study import StudyState
from node.db import copy as backup_rows
from node.pipeline.catalogue import Catalogue, Query
from node.pipeline.query_keys import Level
from node.pipeline.retention import Decision, Retention
from tests.films import Film, drawn
from tests.pipeline.waiting import Room

DAY = 86400.0
PACS = "PACS@127.0.0.1:104"


def film(name: str) -> Film:
    return Film(drawn(1, 16), name, name)


def analysed(room: Room, name: str, destinations: tuple[str, ...] = (PACS,)) -> str:
    """A study with results that ``destinations`` are owed; its UID."""
    room.analysed(destinations, film(name))
    return move(room, film(name).study_uid, StudyState.ANALYSED)


def stored(room: Room, name: str) -> str:
    return move(room, room.receive(film(name)), StudyState.STORED)


def move(room: Room, uid: str, state: StudyState) -> str:
    change(room, "UPDATE studies SET state = :state WHERE study_uid = :uid", state=state, uid=uid)
    return uid


def change(room: Room, sql: str, **values: object) -> None:
    with room.database.write() as session:
        session.execute(text(sql), values)


def deliver(room: Room) -> None:
    change(
        room, "UPDATE deliveries SET state = 'delivered', delivered_at = :now", now=room.clock().replace(tzinfo=None)
    )


def retention(
    room: Room, used: Callable[[], float] = lambda: 0.0, committing: tuple[str, ...] = (), **changes: object
) -> Retention:
    rules = dataclasses.replace(settings.load().retention, **{"remove_after_days": 30.0, **changes})  # type: ignore[arg-type]
    return Retention(room.database, room.archive, rules, committing, room.clock, used)


def going(decision: Decision) -> list[str]:
    return [one.study_uid for one, _ in decision.going]


def assert_whole(room: Room) -> None:
    """Every file that a row names is there, and there is no other."""
    with room.database.read() as session:
        named = {room.archive.path(one) for one in backup_rows.files(session)}
    assert {path for path in room.archive.root.rglob("*") if path.is_file()} == named


def offered(room: Room) -> set[str]:
    """Study UIDs that a C-FIND answers with and of which a C-MOVE has files."""
    catalogue = Catalogue(room.database, room.archive)
    found = {
        str(one["StudyInstanceUID"]) for one in catalogue.find(Query(Level.STUDY, {"StudyInstanceUID": ""}, False))
    }
    everything = [str(row["study_uid"]) for row in room.rows("SELECT study_uid FROM studies")]
    held = {uid: catalogue.held(Query(Level.STUDY, {"StudyInstanceUID": uid}, False)) for uid in everything}
    assert {uid for uid, files in held.items() if files} == found
    return found
