"""A PACS that does all that peers do: every status, aborts, half an answer, silence, and absence of any length.

A real socket and our real sender on one side, a simulated clock on the other. What is held to: the ledger's state is
what the status means, nothing is lost once the PACS is well again, and it never holds a result twice or in two shapes
(failure modes 4, 6 and 13 of the design notes). Not covered: DCMTK and Orthanc (tests/e2e/test_destinations.py), other
forms after a refusal (test_fallback), slow or lossy networks.
"""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pynetdicom import AE, evt
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from node.composition.peers import Peers
from node.core import settings
from node.db import destinations as standings
from node.dimse import contexts
from node.pipeline.deliver import Deliver
from tests.films import Film, drawn
from tests.peers import LOOPBACK, free_port
from tests.pipeline.test_deliver import turn
from tests.pipeline.waiting import Room

TABLE = (1.0, 60.0, 3600.0, 86400.0)
Answer = Callable[[evt.Event], int]


class Nasty:
    """Answers each C-STORE by the next of its script, in the end by success. ``offered``: UIDs as they came."""

    def __init__(self) -> None:
        self.port, self.script = free_port(), []  # type: int, list[Answer]
        self.offered: Counter[str] = Counter()
        self.held: dict[str, set[bytes]] = {}
        self.associations = self.echoes = 0
        self._server: Any = None

    @property
    def name(self) -> str:
        return f"NASTY@{LOOPBACK}:{self.port}"

    def up(self) -> None:
        ae = AE("NASTY")
        for sop_class in contexts.STORAGE:
            ae.add_supported_context(sop_class)
        ae.add_supported_context(Verification)
        handlers = [(evt.EVT_C_STORE, self._store), (evt.EVT_C_ECHO, self._echo), (evt.EVT_ACCEPTED, self._accepted)]
        self._server = ae.start_server((LOOPBACK, self.port), block=False, evt_handlers=handlers)  # type: ignore[arg-type]

    def down(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server = None

    def _accepted(self, event: evt.Event) -> None:
        self.associations += 1

    def _echo(self, event: evt.Event) -> int:
        self.echoes += 1
        return 0x0000

    def _store(self, event: evt.Event) -> int:
        uid = str(event.request.AffectedSOPInstanceUID)
        self.offered[uid] += 1
        status = self.script.pop(0)(event) if self.script else 0x0000
        if status == 0x0000 or status in KEPT:
            self.held.setdefault(uid, set()).add(event.request.DataSet.getvalue())
        return status


def says(status: int) -> Answer:
    return lambda event: status


def aborts(event: evt.Event) -> int:
    event.assoc.abort()
    return 0xC000


def hangs(event: evt.Event) -> int:
    time.sleep(3.0)  # longer than the sender waits
    return 0xC000


def _writes(event: evt.Event, content: bytes) -> int:
    connection = event.assoc.dul.socket.socket
    connection.sendall(content)
    connection.close()
    return 0xC000


def closes(event: evt.Event) -> int:
    return _writes(event, b"")


def closes_in_its_answer(event: evt.Event) -> int:
    return _writes(event, bytes.fromhex("0400000000320000002e0103"))  # the first bytes of a P-DATA-TF PDU


def talks_nonsense(event: evt.Event) -> int:
    return _writes(event, bytes.fromhex("ff00") + b"\0" * 40)  # a PDU of no known type


KEPT = {0xB000, 0xB006, 0xB007, 0xB123, 0x0001, 0x0107, 0x0116, 0x0111}  # with these it has the object
LATER = {
    0xA700, 0xA701, 0xA7FF, 0xA900, 0xA9FF, 0xC000, 0xC123, 0xCFFF,  # PS3.4 Table B.2-1
    0x0105, 0x0106, 0x0110, 0x0112, 0x0113, 0x0114, 0x0115, 0x0117, 0x0118, 0x0119, 0x0120, 0x0121, 0x0123, 0x0124,
    0x0210, 0x0211, 0x0212, 0x0213, 0xFE00, 0xFF00, 0xFF01, 0x8001,  # PS3.7 Annex C; the last belongs to nobody
}  # fmt: skip
BREAKS = [aborts, hangs, closes, closes_in_its_answer, talks_nonsense]


@dataclasses.dataclass
class Ward:
    room: Room
    pacs: Nasty
    duty: Deliver
    number: int = 0

    def owe(self, kinds: tuple[str, ...] = ("summary",)) -> list[str]:
        """UIDs of new results that are owed to the PACS."""
        self.number += 1
        return self.room.analysed([self.pacs.name], Film(drawn(1, 64), f"nasty {self.number}"), kinds=kinds)

    def turn(self, seconds: float = 0) -> None:
        self.room.clock.pass_by(seconds)
        turn(self.duty)

    def states(self, uids: list[str]) -> list[str]:
        return [str(self.row(uid)["state"]) for uid in uids]

    def row(self, uid: str) -> dict[str, object]:
        (row,) = self.room.rows(
            "SELECT deliveries.* FROM deliveries JOIN outputs ON outputs.id = output_id WHERE sop_uid = :uid", uid=uid
        )
        return row

    def sentence(self) -> str:
        with self.room.database.read() as session:
            return standings.standing(session, self.pacs.name).sentence


def ward_in(folder: Path) -> Iterator[Ward]:
    pacs, room = Nasty(), Room(folder)
    usual = settings.load()
    wanted = dataclasses.replace(
        usual.delivery, backoff_seconds=TABLE, acse_timeout_seconds=20.0, dimse_timeout_seconds=2.0
    )
    peers = Peers(dataclasses.replace(usual, delivery=wanted))
    duty = Deliver(
        room.database, room.archive, wanted, peers.send, room.clock, lambda: 1.0, peer=peers.find, probe=peers.probe
    )
    pacs.up()
    yield Ward(room, pacs, duty)
    pacs.down()


@pytest.fixture(scope="module")
def ward(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ward]:
    """A PACS that is well between tests."""
    yield from ward_in(tmp_path_factory.mktemp("nasty"))


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Ward]:
    yield from ward_in(tmp_path)


@pytest.mark.parametrize("status", sorted(KEPT), ids=lambda status: f"0x{status:04X}")
def test_a_warning_and_a_duplicate_are_delivered_with_a_note(ward: Ward, status: int) -> None:
    (uid,) = ward.owe()
    ward.pacs.script = [says(status)]
    ward.turn()
    row = ward.row(uid)
    assert (row["state"], row["last_status"], row["attempts"]) == ("delivered", status, 1)
    assert f"0x{status:04X}" in str(row["comment"]) and row["delivered_at"]
    ward.turn(90000)
    assert ward.pacs.offered[uid] == 1, "never again"


@pytest.mark.parametrize("status", sorted(LATER), ids=lambda status: f"0x{status:04X}")
def test_a_failure_is_waited_out(ward: Ward, status: int) -> None:
    (uid,) = ward.owe()
    ward.pacs.script = [says(status), says(status)]
    ward.turn()
    ward.turn(2)
    row = ward.row(uid)
    assert (row["state"], row["last_status"], row["attempts"]) == ("waiting", status, 2) and not row["delivered_at"]
    assert f"0x{status:04X}" in str(row["comment"]) and uid not in ward.pacs.held
    assert ward.sentence() == "", "it answers: it is not away"
    ward.turn(61)
    assert ward.states([uid]) == ["delivered"] and len(ward.pacs.held[uid]) == 1


def test_a_refused_class_is_never_offered_again(fresh: Ward) -> None:
    fresh.pacs.script = [says(0x0122)] * 3
    (uid,) = fresh.owe()
    for _ in range(4):
        fresh.turn(90000)
    assert fresh.states([uid]) == ["replaced"] and fresh.pacs.offered[uid] == 1
    assert set(fresh.pacs.offered.values()) == {1}


@pytest.mark.parametrize("breaks", BREAKS, ids=lambda breaks: breaks.__name__)
def test_a_broken_association_goes_on_at_the_object_that_broke_it(ward: Ward, breaks: Answer) -> None:
    uids = ward.owe(("summary", "heat-maps", "regions"))
    before = ward.pacs.associations
    ward.pacs.script = [says(0x0000), breaks]
    ward.turn()
    assert ward.states(uids) == ["delivered"] * len(uids) and len(uids) >= 3
    assert ward.pacs.associations - before == 2
    assert [ward.pacs.offered[uid] for uid in uids] == [1, 2, *[1] * (len(uids) - 2)]
    assert all(len(ward.pacs.held[uid]) == 1 for uid in uids)


@pytest.mark.parametrize("breaks", [aborts, closes], ids=lambda breaks: breaks.__name__)
def test_one_object_that_breaks_every_association_does_not_keep_back_the_rest(ward: Ward, breaks: Answer) -> None:
    uids = ward.owe(("summary", "heat-maps", "regions"))
    ward.pacs.script = [says(0x0000), breaks, breaks]
    ward.turn()
    assert ward.states(uids) == ["delivered", "waiting", *["delivered"] * (len(uids) - 2)]
    ward.turn(61)
    assert ward.states(uids) == ["delivered"] * len(uids)


def test_a_peer_that_breaks_at_everything_is_left_in_peace(fresh: Ward) -> None:
    uids = fresh.owe(("summary", "heat-maps", "regions"))
    fresh.pacs.script = [aborts] * 1000
    for _ in range(3):
        fresh.turn(61)
    assert set(fresh.states(uids)) == {"waiting"} and "away since" in fresh.sentence()
    tried = fresh.pacs.associations
    for _ in range(20):
        fresh.turn(0.01)
    assert fresh.pacs.associations == tried
    fresh.pacs.script = []
    fresh.turn(86400)
    fresh.turn()
    assert set(fresh.states(uids)) == {"delivered"} and fresh.sentence() == ""
    assert all(len(fresh.pacs.held[uid]) == 1 for uid in uids)


@pytest.mark.parametrize("seconds", [1, 3600, 3 * 86400], ids=["a second", "an hour", "three days"])
def test_a_pacs_that_was_down_gets_everything_when_it_is_back(fresh: Ward, seconds: int) -> None:
    fresh.pacs.down()
    uids = fresh.owe()
    fresh.turn()
    gone = 0.0
    while gone < seconds:
        step = max(1.0, seconds / 40)
        fresh.turn(step)
        gone += step
    more = fresh.owe()
    fresh.pacs.up()
    for _ in range(3):
        fresh.turn(86400)
    assert fresh.states(uids + more) == ["delivered", "delivered"]
    assert all(fresh.pacs.offered[uid] == 1 for uid in uids + more)


def test_a_pacs_that_is_down_for_ever_is_asked_ever_more_seldom(fresh: Ward) -> None:
    fresh.pacs.down()
    (uid,) = fresh.owe()
    asked: list[str] = []

    def probe(destination: object) -> str:
        asked.append("")
        return "connection refused"

    duty = dataclasses.replace(fresh.duty, probe=probe, _busy={})
    for _ in range(24 * 10):  # ten days, in steps of an hour
        fresh.room.clock.pass_by(3600)
        turn(duty)
    assert fresh.states([uid]) == ["waiting"] and fresh.row(uid)["attempts"] == 3
    assert 10 <= len(asked) <= 15, "once a day in the end, and never given up"
    assert "away since" in fresh.sentence()
