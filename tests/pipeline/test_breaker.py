"""A destination that does not answer: when it counts as away, who asks for it, what closes the breaker, what an
operator may do. With a scripted peer and a simulated clock.

Not covered: a real peer that comes back (tests/e2e/test_destinations.py), what breaks an association (test_nasty_pacs).
"""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import update

from node.core import settings
from node.core.settings import Destination
from node.db import destinations as standings
from node.db.tables import JobRow
from node.pipeline.deliver import Deliver, Outcome
from tests.films import Film, drawn
from tests.pipeline.test_deliver import ARCHIVE, FULL, PACS, TAKEN, Peer, ledger, turn
from tests.pipeline.waiting import Room

GONE = Outcome(None, "connection refused", False, away=True)
TABLE = (10.0, 60.0, 3600.0)


class Probe:
    """Answers by the next of its script, the last one for ever; ``asked`` counts."""

    def __init__(self, *script: str) -> None:
        self.script, self.asked = list(script), 0

    def __call__(self, destination: Destination) -> str:
        self.asked += 1
        return self.script.pop(0) if len(self.script) > 1 else self.script[0]


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path)


def deliver(room: Room, peer: Peer, probe: Probe) -> Deliver:
    wanted = dataclasses.replace(settings.load().delivery, backoff_seconds=TABLE, away_after=2)
    return Deliver(room.database, room.archive, wanted, peer, room.clock, lambda: 1.0, probe=probe)


def standing(room: Room, name: str = PACS) -> standings.Standing:
    with room.database.read() as session:
        return standings.standing(session, name)


def opened(room: Room, peer: Peer, probe: Probe) -> Deliver:
    """The peer has failed twice; its breaker is open for ten seconds."""
    room.analysed([PACS])
    duty = deliver(room, peer, probe)
    turn(duty)
    assert standing(room).away_since is None, "once is no habit"
    room.clock.pass_by(11)
    turn(duty)
    assert standing(room).away_since == room.clock()
    return duty


def test_one_that_is_away_is_probed_once_a_step_and_sent_nothing(room: Room) -> None:
    peer, probe = Peer(GONE), Probe("no answer")
    duty = opened(room, peer, probe)
    offered = len(peer.got)
    room.analysed([PACS], Film(drawn(2, 96), "new"))
    for number, pause in enumerate((10, 60, 3600, 3600), 1):
        room.clock.pass_by(pause - 1)
        turn(duty)
        assert probe.asked == number - 1, "too early"
        room.clock.pass_by(1.1)
        turn(duty)
        turn(duty)
        assert probe.asked == number
    assert len(peer.got) == offered, "nothing was offered, not even what is new"
    assert {row["state"] for row in ledger(room)} == {"waiting"}
    assert "no answer" in standing(room).sentence and "away since" in standing(room).sentence


def test_the_first_answer_closes_the_breaker_and_all_goes_out(room: Room) -> None:
    peer, probe = Peer(GONE), Probe("no answer", "")
    duty = opened(room, peer, probe)
    room.clock.pass_by(10)
    turn(duty)
    peer.script = [TAKEN]
    room.clock.pass_by(60)
    turn(duty)
    assert {row["state"] for row in ledger(room)} == {"delivered"}
    assert standing(room).failures == 0 and standing(room).sentence == ""
    room.analysed([PACS], Film(drawn(2, 96), "after"))
    turn(duty)
    assert probe.asked == 2 and {row["state"] for row in ledger(room)} == {"delivered"}


def test_what_waited_longer_than_the_probe_goes_out_with_it(room: Room) -> None:
    """An object's own pause may be an hour when the peer is there again after ten seconds."""
    peer = Peer(GONE)
    duty = opened(room, peer, Probe(""))
    with room.database.write() as session:
        session.execute(update(JobRow).values(next_at=room.clock() + timedelta(hours=1)))
    peer.script = [TAKEN]
    room.clock.pass_by(11)
    turn(duty)
    assert {row["state"] for row in ledger(room)} == {"delivered"}


def test_a_peer_that_greets_and_breaks_off_is_asked_ever_more_seldom(room: Room) -> None:
    peer, probe = Peer(GONE), Probe("")
    duty = opened(room, peer, probe)
    for number, pause in enumerate((10, 60, 3600, 3600), 1):
        room.clock.pass_by(pause - 1)
        turn(duty)
        assert probe.asked == number - 1, "too early"
        room.clock.pass_by(1.1)
        turn(duty)
        assert probe.asked == number


def test_an_answer_that_is_a_failure_is_an_answer(room: Room) -> None:
    room.analysed([PACS])
    duty = deliver(room, Peer(FULL), Probe("never asked"))
    for _ in range(5):
        turn(duty)
        room.clock.pass_by(4000)
    assert standing(room).failures == 0
    assert {row["attempts"] for row in ledger(room)} == {5}


def test_the_state_outlives_a_restart_and_is_each_peer_s_own(room: Room) -> None:
    opened(room, Peer(GONE), Probe("no answer"))
    room.analysed([PACS, ARCHIVE], Film(drawn(2, 96), "both"))
    peer, probe = Peer(TAKEN), Probe("no answer")
    turn(deliver(room, peer, probe))  # as a node that was started now
    assert {aet for aet, _ in peer.got} == {"ARCHIVE"} and probe.asked == 0


def test_paused_is_sent_nothing_until_resumed(room: Room) -> None:
    outputs = room.analysed([PACS, ARCHIVE])
    peer = Peer(TAKEN)
    with room.database.write() as session:
        assert standings.pause(session, PACS, room.clock()) and not standings.pause(session, PACS, room.clock())
    duty = deliver(room, peer, Probe(""))
    turn(duty)
    assert {aet for aet, _ in peer.got} == {"ARCHIVE"} and "paused since" in standing(room).sentence
    with room.database.write() as session:
        assert standings.resume(session, PACS) and not standings.resume(session, PACS)
    turn(duty)
    assert [uid for aet, uid in peer.got if aet == "PACS"] == outputs


def test_paused_and_away_is_not_even_probed(room: Room) -> None:
    probe = Probe("no answer")
    duty = opened(room, Peer(GONE), probe)
    with room.database.write() as session:
        standings.pause(session, PACS, room.clock())
    room.clock.pass_by(100)
    turn(duty)
    assert probe.asked == 0


def test_retry_of_one_study_leaves_the_others(room: Room) -> None:
    films = [Film(drawn(number, 96), f"retry {number}") for number in (1, 2)]
    for film in films:
        room.analysed([PACS], film, kinds=("summary",))
    wanted = dataclasses.replace(settings.load().delivery, max_attempts=1)
    turn(Deliver(room.database, room.archive, wanted, Peer(FULL), room.clock, lambda: 1.0))
    assert [row["state"] for row in ledger(room)] == ["failed", "failed"]
    with room.database.write() as session:
        assert standings.retry(session, PACS, room.clock(), films[1].study_uid) == (1, 0)
    turn(deliver(room, Peer(TAKEN), Probe("")))
    assert [row["state"] for row in ledger(room)] == ["failed", "delivered"]


def test_retry_brings_what_waits_forward(room: Room) -> None:
    outputs = room.analysed([PACS])
    turn(deliver(room, Peer(FULL), Probe("")))
    with room.database.write() as session:
        assert standings.retry(session, PACS, room.clock()) == (0, len(outputs))
    turn(deliver(room, Peer(TAKEN), Probe("")))
    assert {row["state"] for row in ledger(room)} == {"delivered"}
