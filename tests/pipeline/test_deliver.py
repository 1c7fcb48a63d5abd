"""Delivery with a peer that does as it is told: what is sent, when again, what is held back, and what the ledger says.

Real peers are in tests/e2e and tests/dimse.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from pydicom import dcmread
from sqlalchemy import text

from node.core import settings
from node.core.settings import Destination
from node.pipeline.deliver import Deliver, Outcome
from tests.pipeline.waiting import Room

PACS, ARCHIVE = "PACS@127.0.0.1:104", "ARCHIVE@127.0.0.1:105"
TAKEN, AWAY = Outcome(0x0000, "", True), Outcome(None, "connection refused", False)
FULL = Outcome(0xA700, "out of resources", False)


class Peer:
    """Answers each file by the next outcome of its script, the last one for ever."""

    def __init__(self, *script: Outcome) -> None:
        self.script, self.got = list(script), []  # type: list[Outcome], list[tuple[str, str]]
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, destination: Destination, files: Sequence[Path]) -> list[Outcome]:
        self.gate.wait(10)
        answers = []
        for path in files:
            answer = self.script.pop(0) if len(self.script) > 1 else self.script[0]
            answers.append(answer)
            self.got.append((str(destination.aet), str(dcmread(path).SOPInstanceUID)))
        return answers


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path)


def deliver(room: Room, peer: Peer, **changes: object) -> Deliver:
    wanted = dataclasses.replace(settings.load().delivery, **changes)  # type: ignore[arg-type]
    return Deliver(room.database, room.archive, wanted, peer, room.clock, lambda: 1.0)


def turn(duty: Deliver) -> None:
    duty.pump()
    duty.drain(10)


def ledger(room: Room) -> list[dict[str, object]]:
    return room.rows("SELECT destination, state, attempts, last_status, comment FROM deliveries ORDER BY id")


def test_everything_goes_to_every_destination_once(room: Room) -> None:
    outputs = room.analysed([PACS, ARCHIVE])
    peer = Peer(TAKEN)
    duty = deliver(room, peer)
    turn(duty)
    turn(duty)
    assert sorted(peer.got) == sorted((aet, uid) for aet in ("PACS", "ARCHIVE") for uid in outputs)
    assert {row["state"] for row in ledger(room)} == {"delivered"}
    assert {row["state"] for row in room.rows("SELECT state FROM jobs WHERE kind = 'deliver'")} == {"done"}


def test_a_peer_that_is_away_is_tried_again_after_growing_pauses(room: Room) -> None:
    room.analysed([PACS])
    peer = Peer(AWAY)
    duty = deliver(room, peer, backoff_seconds=(10, 60))
    turn(duty)
    tried = len(peer.got)
    for pause in (10, 60, 60):
        room.clock.pass_by(pause - 1)
        turn(duty)
        assert len(peer.got) == tried, "too early"
        room.clock.pass_by(1.1)
        turn(duty)
        assert len(peer.got) > tried
        tried = len(peer.got)
    assert {(row["state"], row["attempts"], row["comment"]) for row in ledger(room)} == {
        ("waiting", 4, "connection refused")
    }


def test_what_was_taken_is_not_sent_again_when_the_rest_failed(room: Room) -> None:
    first, *rest = room.analysed([PACS])
    peer = Peer(TAKEN, *(FULL for _ in rest), TAKEN)
    duty = deliver(room, peer, backoff_seconds=(5,))
    turn(duty)
    room.clock.pass_by(6)
    turn(duty)
    sent = [uid for _, uid in peer.got]
    assert sent.count(first) == 1 and all(sent.count(uid) == 2 for uid in rest)
    assert {row["state"] for row in ledger(room)} == {"delivered"}


def test_a_limit_of_attempts_ends_in_failed(room: Room) -> None:
    room.analysed([PACS])
    duty = deliver(room, Peer(FULL), max_attempts=2, backoff_seconds=(1,))
    for _ in range(4):
        turn(duty)
        room.clock.pass_by(2)
    assert {(row["state"], row["attempts"], row["last_status"]) for row in ledger(room)} == {("failed", 2, 0xA700)}
    assert {row["state"] for row in room.rows("SELECT state FROM jobs WHERE kind = 'deliver'")} == {"parked"}


def test_one_destination_does_not_wait_for_another(room: Room) -> None:
    room.analysed([PACS, ARCHIVE])
    slow, quick = Peer(TAKEN), Peer(TAKEN)
    slow.gate.clear()

    def send(destination: Destination, files: Sequence[Path]) -> list[Outcome]:
        return (slow if destination.aet == "PACS" else quick)(destination, files)

    duty = Deliver(room.database, room.archive, settings.load().delivery, send, room.clock, lambda: 1.0)
    duty.pump()
    duty._busy[ARCHIVE].join(10)
    states = {row["destination"]: row["state"] for row in ledger(room)}
    slow.gate.set()
    duty.drain(10)
    assert states == {PACS: "waiting", ARCHIVE: "delivered"}


def test_a_file_that_was_changed_is_held_and_the_rest_of_its_study_with_it(room: Room) -> None:
    room.analysed([PACS])
    (path,) = [room.archive.path(str(row["path"])) for row in room.rows("SELECT path FROM outputs WHERE kind = 'sr'")]
    path.write_bytes(path.read_bytes() + b"\0")
    peer = Peer(TAKEN)
    turn(deliver(room, peer))
    assert {row["state"] for row in ledger(room)} == {"failed"} and peer.got == []
    assert all("not the one that was built" in str(row["comment"]) for row in ledger(room))
    assert "is held" in room.events()


def test_a_result_of_another_patient_is_never_sent(room: Room) -> None:
    """The source in the archive now names another patient than the result: neither may be believed."""
    room.analysed([PACS])
    (row,) = room.rows("SELECT path FROM instances")
    source = room.archive.path(str(row["path"]))
    ds = dcmread(source)
    ds.PatientID = "SOMEBODY ELSE"
    ds.save_as(source, enforce_file_format=True)
    peer = Peer(TAKEN)
    turn(deliver(room, peer))
    assert peer.got == []
    assert {str(row["comment"]) for row in ledger(room)} == {
        "Held: The source it is compared with is not what was received any more."
    }
    assert "SOMEBODY" not in room.events()


def test_a_sender_that_breaks_gives_the_jobs_back(room: Room) -> None:
    room.analysed([PACS])

    def broken(destination: Destination, files: Sequence[Path]) -> list[Outcome]:
        raise RuntimeError("no network card")

    wanted = settings.load().delivery
    turn(Deliver(room.database, room.archive, wanted, broken, room.clock, lambda: 1.0))
    assert {row["state"] for row in room.rows("SELECT state FROM jobs WHERE kind = 'deliver'")} == {"ready"}
    turn(deliver(room, Peer(TAKEN)))
    assert {row["state"] for row in ledger(room)} == {"delivered"}


def test_a_superseded_result_is_not_owed(room: Room) -> None:
    room.analysed([])
    assert ledger(room) == []


def test_jitter_moves_the_pause(room: Room) -> None:
    room.analysed([PACS])
    wanted = dataclasses.replace(settings.load().delivery, backoff_seconds=(100,))
    duty = Deliver(room.database, room.archive, wanted, Peer(AWAY), room.clock, lambda: 0.5)
    turn(duty)
    with room.database.read() as session:
        times = {row[0] for row in session.execute(text("SELECT next_at FROM jobs WHERE kind = 'deliver'"))}
    assert len(times) == 1 and str((room.clock.now + timedelta(seconds=50)).time())[:8] in str(times.pop())
