"""Delivery to a destination that is asked whose a study is: sent, held or kept back, and never sent unchecked.

The destination's answers are scripted here; how real ones answer is tests/dimse/test_query.py. What is compared without
asking anybody is in test_deliver.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from node.core import settings
from node.core.settings import Destination
from node.pipeline.deliver import Deliver
from node.pipeline.gate import UNKNOWN_THERE
from node.pipeline.identity import Known, Patient
from tests.films import MARKER, Film, drawn
from tests.pipeline.test_deliver import PACS, TAKEN, Peer, ledger, turn
from tests.pipeline.waiting import Room

SAME = Patient(MARKER.patient_id, MARKER.issuer, MARKER.patient_name, MARKER.birth_date)
AWAY = Known(problem="it did not answer")


class Asked:
    """Answers each study by the next of its script, the last one for ever; ``studies`` is what it was asked for."""

    def __init__(self, *script: Known) -> None:
        self.script, self.studies = list(script), []  # type: list[Known], list[str]

    def __call__(self, destination: Destination, study_uids: Sequence[str]) -> Mapping[str, Known]:
        assert destination.objects is not None and destination.objects.identity_check == "c-find"
        self.studies += study_uids
        answer = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        return dict.fromkeys(study_uids, answer)


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path)


def deliver(room: Room, peer: Peer, asked: Asked, check: str = "c-find") -> Deliver:
    usual = dataclasses.replace(settings.load().objects, identity_check=check)

    def known(name: str) -> Destination:
        return dataclasses.replace(Destination.parse(name), objects=usual)

    wanted = dataclasses.replace(settings.load().delivery, backoff_seconds=(5,))
    return Deliver(room.database, room.archive, wanted, peer, room.clock, lambda: 1.0, peer=known, ask=asked)


def test_a_study_known_as_ours_is_sent(room: Room) -> None:
    outputs = room.analysed([PACS], kinds=("summary", "heat-maps"))
    peer, asked = Peer(TAKEN), Asked(Known((SAME,)))
    turn(deliver(room, peer, asked))
    assert [uid for _, uid in peer.got] == outputs and len(asked.studies) == 1, "asked once for all of a study"
    assert {(row["state"], row["comment"]) for row in ledger(room)} == {("delivered", "")}


def test_a_study_that_is_unknown_there_is_sent_with_a_note(room: Room) -> None:
    room.analysed([PACS], kinds=("summary",))
    turn(deliver(room, Peer(TAKEN), Asked(Known())))
    assert [(row["state"], row["comment"]) for row in ledger(room)] == [("delivered", UNKNOWN_THERE)]


@pytest.mark.parametrize(
    "theirs, keyword",
    [
        (dataclasses.replace(SAME, patient_id="SOMEBODY"), "PatientID"),
        (dataclasses.replace(SAME, name="Somebody^Else"), "PatientName"),
        (dataclasses.replace(SAME, birth_date="20000101"), "PatientBirthDate"),
        (dataclasses.replace(SAME, issuer="SOMEBODY"), "IssuerOfPatientID"),
    ],
)
def test_a_study_of_another_patient_there_is_held(room: Room, theirs: Patient, keyword: str) -> None:
    """Also where it is known twice, once rightly: nobody can say under whom our result would be filed."""
    room.analysed([PACS], kinds=("summary", "heat-maps"))
    peer = Peer(TAKEN)
    duty = deliver(room, peer, Asked(Known((SAME, theirs))))
    turn(duty)
    room.clock.pass_by(100)
    turn(duty)
    assert peer.got == []
    assert {row["state"] for row in ledger(room)} == {"failed"}
    said = {str(row["comment"]) for row in ledger(room)}
    assert said == {f"Held: The destination knows the study with another {keyword}."}
    told = room.events() + "".join(said)
    assert "is held" in told and not [word for word in (*MARKER.words(), "SOMEBODY", "Somebody") if word in told]


def test_nothing_is_sent_before_there_is_an_answer(room: Room) -> None:
    outputs = room.analysed([PACS], kinds=("summary", "heat-maps"))
    peer, asked = Peer(TAKEN), Asked(AWAY, AWAY, Known((SAME,)))
    duty = deliver(room, peer, asked)
    for attempts in (1, 2):
        turn(duty)
        assert peer.got == []
        assert {(row["state"], row["attempts"]) for row in ledger(room)} == {("waiting", attempts)}
        assert all("it did not answer" in str(row["comment"]) for row in ledger(room))
        turn(duty)
        assert len(asked.studies) == attempts, "too early"
        room.clock.pass_by(6)
    turn(duty)
    assert [uid for _, uid in peer.got] == outputs and {row["state"] for row in ledger(room)} == {"delivered"}


def test_an_asker_that_forgets_a_study_has_not_answered(room: Room) -> None:
    room.analysed([PACS], kinds=("summary",))

    def silent(destination: Destination, study_uids: Sequence[str]) -> Mapping[str, Known]:
        return {}

    peer = Peer(TAKEN)
    turn(dataclasses.replace(deliver(room, peer, Asked(AWAY)), ask=silent))
    assert peer.got == [] and {row["state"] for row in ledger(room)} == {"waiting"}


def test_one_study_s_mix_up_does_not_hold_another(room: Room) -> None:
    room.analysed([PACS], Film(drawn(1, 96), "mixed up"), kinds=("summary",))
    outputs = room.analysed([PACS], Film(drawn(2, 96), "sound"), kinds=("summary",))
    (first, *_) = room.rows("SELECT study_uid FROM studies ORDER BY id")

    def asked(destination: Destination, study_uids: Sequence[str]) -> Mapping[str, Known]:
        other = dataclasses.replace(SAME, patient_id="SOMEBODY")
        return {uid: Known((other if uid == first["study_uid"] else SAME,)) for uid in study_uids}

    peer = Peer(TAKEN)
    turn(dataclasses.replace(deliver(room, peer, Asked(AWAY)), ask=asked))
    assert [uid for _, uid in peer.got] == outputs


def test_where_no_check_is_wanted_nobody_is_asked(room: Room) -> None:
    outputs = room.analysed([PACS], kinds=("summary",))
    peer, asked = Peer(TAKEN), Asked(AWAY)
    turn(deliver(room, peer, asked, check=""))
    assert [uid for _, uid in peer.got] == outputs and asked.studies == []
