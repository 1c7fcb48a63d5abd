"""Destinations that must commit what they took: delivered only then, asked again, delivered again.

A scripted destination and committer, a simulated clock. Not covered: the wire (tests/dimse/test_commitment.py, and
tests/e2e/test_commitment.py with Orthanc).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from node.core import settings
from node.core.settings import Destination
from node.db.commitments import Asked, Named
from node.pipeline.commitment import Commitments, Committing, Report
from node.pipeline.deliver import Deliver
from tests.films import CR, Film, drawn
from tests.pipeline.test_deliver import ARCHIVE, PACS, TAKEN, Peer, ledger, turn
from tests.pipeline.waiting import Room

AGAIN = 300.0
Answer = Callable[["Committer", str, list[str]], str]


class Committer:
    """Does with each request what the next of its script says, the last one for ever."""

    def __init__(self, room: Room, *script: Answer) -> None:
        self.script, self.asked = list(script), []  # type: list[Answer], list[tuple[str, list[str]]]
        self.commitments = Commitments(room.database, room.archive, room.clock, (5.0,))

    def __call__(self, destination: Destination, transaction_uid: str, instances: Sequence[Named]) -> str:
        assert destination.name == PACS
        uids = [instance for _, instance in instances]
        self.asked.append((transaction_uid, uids))
        return (self.script.pop(0) if len(self.script) > 1 else self.script[0])(self, transaction_uid, uids)


def commits(committer: Committer, transaction: str, uids: list[str]) -> str:
    """Reports before the request has returned."""
    assert committer.commitments.taken(transaction, uids, {})
    return ""


def loses_the_first(committer: Committer, transaction: str, uids: list[str]) -> str:
    assert committer.commitments.taken(transaction, uids[1:], {uids[0]: 0x0112})
    return ""


def says_nothing(committer: Committer, transaction: str, uids: list[str]) -> str:
    return ""


def is_away(committer: Committer, transaction: str, uids: list[str]) -> str:
    return "it did not answer"


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path)


def deliver(room: Room, peer: Peer, committer: Committer) -> Deliver:
    usual = settings.load()

    def known(name: str) -> Destination:
        objects = dataclasses.replace(usual.objects, commit=name == PACS)
        return dataclasses.replace(Destination.parse(name), objects=objects)

    committing = Committing(room.database, room.clock, timedelta(seconds=AGAIN), committer)
    wanted = dataclasses.replace(usual.delivery, backoff_seconds=(5.0,))
    return Deliver(
        room.database, room.archive, wanted, peer, room.clock, lambda: 1.0, peer=known, committing=committing
    )


def states(room: Room) -> set[tuple[str, bool]]:
    """(state, whether the time of commitment is there)"""
    found = room.rows("SELECT state, committed_at FROM deliveries WHERE destination = :name", name=PACS)
    return {(str(row["state"]), row["committed_at"] is not None) for row in found}


def jobs_of(room: Room) -> set[str]:
    return {str(row["state"]) for row in room.rows("SELECT state FROM jobs WHERE kind = 'deliver'")}


def test_taken_is_not_delivered_before_it_is_committed(room: Room) -> None:
    outputs = room.analysed([PACS, ARCHIVE])
    peer, committer = Peer(TAKEN), Committer(room, commits)
    duty = deliver(room, peer, committer)
    turn(duty)
    assert states(room) == {("committing", False)} and committer.asked == []
    assert {row["state"] for row in ledger(room) if row["destination"] == ARCHIVE} == {"delivered"}, "not asked to"
    turn(duty)
    assert states(room) == {("delivered", True)} and [uids for _, uids in committer.asked] == [outputs]
    assert jobs_of(room) == {"done"}
    room.clock.pass_by(1e6)
    turn(duty)
    assert len(committer.asked) == 1 and len(peer.got) == 2 * len(outputs)


def test_what_it_did_not_commit_is_delivered_again(room: Room) -> None:
    first, *rest = room.analysed([PACS])
    peer, committer = Peer(TAKEN), Committer(room, loses_the_first, commits)
    duty = deliver(room, peer, committer)
    for _ in range(2):
        turn(duty)
    assert states(room) == {("delivered", True), ("waiting", False)}
    (lost,) = [row for row in ledger(room) if row["state"] == "waiting"]
    assert lost["comment"] == "the destination took it and did not commit it: reason 0x0112"
    room.clock.pass_by(5)
    for _ in range(2):
        turn(duty)
    sent = [uid for _, uid in peer.got]
    assert states(room) == {("delivered", True)} and sent.count(first) == 2
    assert all(sent.count(uid) == 1 for uid in rest)


@pytest.mark.parametrize("script, pause", [(says_nothing, AGAIN), (is_away, 5.0)])
def test_it_is_asked_again_when_no_answer_comes(room: Room, script: Answer, pause: float) -> None:
    outputs = room.analysed([PACS])
    peer, committer = Peer(TAKEN), Committer(room, script, commits)
    duty = deliver(room, peer, committer)
    for _ in range(3):
        turn(duty)
    room.clock.pass_by(pause - 1)
    turn(duty)
    assert len(committer.asked) == 1, "too early"
    room.clock.pass_by(1.1)
    turn(duty)
    assert states(room) == {("delivered", True)} and len(peer.got) == len(outputs), "asked again, not sent again"
    (first, _), (second, _) = committer.asked
    assert first != second


def test_a_late_answer_to_the_first_request_counts(room: Room, caplog: pytest.LogCaptureFixture) -> None:
    outputs = room.analysed([PACS])
    committer = Committer(room, says_nothing)
    duty = deliver(room, Peer(TAKEN), committer)
    for _ in range(2):
        turn(duty)
    room.clock.pass_by(AGAIN + 1)
    turn(duty)
    (first, _), (second, _) = committer.asked
    assert committer.commitments.taken(first, outputs, {})
    assert states(room) == {("delivered", True)}
    assert committer.commitments.taken(second, [], dict.fromkeys(outputs, 0x0112)), "ours, but settled"
    assert states(room) == {("delivered", True)}
    with caplog.at_level("WARNING"):
        assert not committer.commitments.taken("1.2.3", outputs, {}), "nobody began that"
    assert caplog.records[-1].message == "commitment.not_ours", "another node of this AE title may have begun it"


def test_a_crash_after_the_request_was_sent_loses_nothing(room: Room) -> None:
    room.analysed([PACS])

    def dies(committer: Committer, transaction: str, uids: list[str]) -> str:
        raise RuntimeError("power cut")

    committer = Committer(room, dies, commits)
    duty = deliver(room, Peer(TAKEN), committer)
    for _ in range(2):
        turn(duty)
    assert states(room) == {("committing", False)} and jobs_of(room) == {"ready"}
    room.clock.pass_by(AGAIN + 1)
    turn(duty)
    assert states(room) == {("delivered", True)}


def test_what_came_after_the_promise_is_not_said_to_be_committed(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the outcome of a long request is found out, retention knows nothing of what comes."""
    first, second = (Film(drawn(number, 64), f"asked {number}", "asked", sop_class=CR) for number in range(2))
    room.receive(first)
    commitments = Commitments(room.database, room.archive, room.clock, (5.0,))
    named = [(CR, film.sop_instance_uid) for film in (first, second)]
    commitments.take("1.2.3", "MODALITY", "127.0.0.1", named)
    reports: list[Report] = []
    judge = Commitments.judge

    def judged(one: Commitments, asked: Asked) -> Report:
        room.receive(second)
        return judge(one, asked)

    def tell(_: Asked, report: Report) -> str:
        reports.append(report)
        return ""

    monkeypatch.setattr(Commitments, "judge", judged)
    room.clock.pass_by(10)
    commitments.pump(tell)
    (report,) = reports
    kept = {row["sop_uid"] for row in room.rows("SELECT sop_uid FROM instances WHERE committed_at IS NOT NULL")}
    assert {uid for _, uid in report.committed} == kept == {first.sop_instance_uid}
    assert report.failed == ((CR, second.sop_instance_uid, 0x0112),)
