"""Priors: which studies of a peer are taken, whose they must be, what becomes of a peer that fails; they are kept and
not analysed.

The peer is told by a script; a real one is in tests/e2e/test_keeping.py.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from node.composition.following import Following, Ground
from node.composition.tracing import tracing
from node.core import settings
from node.core.errors import PeerAway
from node.core.job import JobKind
from node.core.keeping import Priors as Rules
from node.core.study import Origin
from node.db import jobs
from node.pipeline.completeness import close_quiet_studies
from node.pipeline.header import Received
from node.pipeline.identity import Patient
from node.pipeline.priors import Earlier, Priors, PriorsDuty
from tests.films import MARKER, Film, drawn, encoded, wrap
from tests.pipeline.waiting import SETTINGS, Room

OURS = Patient(MARKER.patient_id, MARKER.issuer, MARKER.patient_name, MARKER.birth_date)
SOURCE = "PACS@127.0.0.1:104"
NOW = Film(drawn(1, 16), "now")  # of 2 January 2020


def film(name: str) -> Film:
    return Film(drawn(1, 16), name)


@dataclass
class Peer:
    """Tells of ``held`` and sends their films; ``failures``: how often it does not answer before."""

    room: Room
    held: Sequence[Earlier] = ()
    parts: dict[str, str] = field(default_factory=dict)
    failures: int = 0
    fetched: list[str] = field(default_factory=list)
    name: str = SOURCE

    def studies(self, patient_id: str) -> Sequence[Earlier]:
        assert patient_id == MARKER.patient_id
        if self.failures:
            self.failures -= 1
            raise PeerAway("PACS did not answer")
        return self.held

    def body_parts(self, study_uid: str) -> frozenset[str]:
        return frozenset({self.parts.get(study_uid, "CHEST")})

    def fetch(self, study_uid: str) -> str:
        self.fetched.append(study_uid)
        name = next(one for one in ("a", "b", "c", "d") if film(one).study_uid == study_uid)
        send(self.room, film(name), "PACS")
        return ""


def send(room: Room, what: Film, aet: str) -> None:
    sent = encoded(wrap(what))
    received = Received(sent.data_set, sent.transfer_syntax_uid, sent.sop_class_uid, sent.sop_instance_uid)
    room.intake.receive(received, Origin("p", aet, "LUNGNODE", "127.0.0.1"))


def earlier(name: str, day: str, modality: str = "DX", patient: Patient = OURS) -> Earlier:
    return Earlier(film(name).study_uid, day, frozenset({modality} - {""}), patient)


def rules(**changes: object) -> Rules:
    return dataclasses.replace(settings.load().priors, source=SOURCE, **changes)  # type: ignore[arg-type]


def close(room: Room, wanted: Rules) -> None:
    room.clock.pass_by(11)
    close_quiet_studies(room.database, SETTINGS, "key", frozenset(), room.clock(), wanted)


def fetched(room: Room, peer: Peer, **changes: object) -> list[str]:
    """Once, for a study of today; what it took, in order."""
    wanted = rules(**changes)
    room.receive(NOW)
    close(room, wanted)
    PriorsDuty(Priors(room.database, room.archive, wanted, peer, room.clock), (1.0,)).work()
    return peer.fetched


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path)


def uids(*names: str) -> list[str]:
    return [film(name).study_uid for name in names]


def test_the_newest_of_the_wanted_are_fetched(room: Room) -> None:
    held = [earlier("a", "20180101"), earlier("b", "20190101"), earlier("c", "20191231"), earlier("d", "20140101")]
    assert fetched(room, Peer(room, held)) == uids("c", "b")


@pytest.mark.parametrize(
    ("held", "changes"),
    [
        (earlier("a", "20140101"), {}),
        (earlier("a", "20200103"), {}),
        (earlier("a", ""), {}),
        (earlier("a", "20190101", "MR"), {}),
        (earlier("a", "20190101"), {"body_parts": ("HEAD",)}),
        (earlier("a", "20190101"), {"max_age_days": 300}),
    ],
    ids=["too old", "later", "without a date", "another modality", "another part", "older than wanted"],
)
def test_what_is_not_wanted_is_not_fetched(room: Room, held: Earlier, changes: dict[str, object]) -> None:
    assert fetched(room, Peer(room, [held]), **changes) == []
    assert "0 priors of PACS" in room.events()


@pytest.mark.parametrize(
    "patient",
    [
        dataclasses.replace(OURS, patient_id="another"),
        dataclasses.replace(OURS, issuer="another"),
        dataclasses.replace(OURS, name="Another^Name"),
        dataclasses.replace(OURS, name=""),
        dataclasses.replace(OURS, birth_date="19000101"),
        dataclasses.replace(OURS, birth_date=""),
    ],
    ids=["id", "issuer", "name", "no name", "birth date", "no birth date"],
)
def test_nothing_of_another_patient_is_fetched(room: Room, patient: Patient) -> None:
    assert fetched(room, Peer(room, [earlier("a", "20190101", patient=patient)])) == []
    assert "1 under this Patient ID left" in room.events()


def test_a_peer_without_issuers_or_modalities_is_met(room: Room) -> None:
    assert fetched(room, Peer(room, [earlier("a", "20190101", "", dataclasses.replace(OURS, issuer=""))])) == uids("a")


@pytest.mark.parametrize("missing", ["patient_id", "patient_name", "birth_date"])
def test_a_study_of_nobody_known_asks_for_nothing(room: Room, missing: str) -> None:
    nobody = dataclasses.replace(MARKER, **{missing: ""})
    room.receive(dataclasses.replace(NOW, identity=nobody))
    close(room, rules())
    peer = Peer(room, [earlier("a", "20190101")])
    PriorsDuty(Priors(room.database, room.archive, rules(), peer, room.clock), (1.0,)).work()
    assert peer.fetched == [] and "No priors were asked for" in room.events()


def states(room: Room) -> dict[str, object]:
    return {str(row["study_uid"]): row["state"] for row in room.rows("SELECT study_uid, state FROM studies")}


@pytest.mark.parametrize("analyse", [False, True])
def test_priors_are_kept_and_have_no_priors_of_their_own(room: Room, analyse: bool) -> None:
    fetched(room, Peer(room, [earlier("a", "20190101")]), analyse=analyse)
    close(room, rules(analyse=analyse))
    assert states(room) == {NOW.study_uid: "queued", film("a").study_uid: "queued" if analyse else "stored"}
    assert (f"Kept as a prior of {NOW.study_uid}" in room.events()) is not analyse
    assert [row["kind"] for row in room.rows("SELECT kind FROM jobs ORDER BY kind")].count("priors") == 1


def test_a_prior_to_which_a_modality_adds_is_a_study_of_its_own(room: Room) -> None:
    fetched(room, Peer(room, [earlier("a", "20190101")]))
    close(room, rules())
    send(room, dataclasses.replace(film("b"), study="a"), "MODALITY")
    close(room, rules())
    assert states(room)[film("a").study_uid] == "queued"


def test_what_is_here_by_another_way_is_let_be(room: Room) -> None:
    room.receive(film("a"))
    assert fetched(room, Peer(room, [earlier("a", "20190101")])) == []
    assert states(room)[film("a").study_uid] == "queued"


def test_a_peer_that_is_away_is_asked_again_and_at_last_given_up(room: Room) -> None:
    peer = Peer(room, [earlier("a", "20190101")], failures=2)
    room.receive(NOW)
    close(room, rules())
    duty = PriorsDuty(Priors(room.database, room.archive, rules(), peer, room.clock), (10.0, 60.0))
    for pause in (9.0, 2.0, 59.0, 2.0):
        duty.work()
        assert peer.fetched == []
        room.clock.pass_by(pause)
    duty.work()
    assert peer.fetched == uids("a")
    with room.database.write() as session:
        jobs.add(session, JobKind.PRIORS, 1, "again", room.clock())
    peer.failures = 3
    for _ in range(3):
        duty.work()
        room.clock.pass_by(61)
    assert [row["state"] for row in room.rows("SELECT state FROM jobs WHERE key = 'again'")] == ["parked"]


def test_what_a_database_that_fails_leaves_claimed_is_done_later(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    peer = Peer(room, [earlier("a", "20190101")])
    room.receive(NOW)
    close(room, rules())
    duty = PriorsDuty(Priors(room.database, room.archive, rules(), peer, room.clock), (1.0,))

    def locked(*_: object) -> bool:
        raise RuntimeError("database is locked")

    with monkeypatch.context() as patch:
        patch.setattr(jobs, "finish", locked)
        go_on(duty)
    assert [row["state"] for row in room.rows("SELECT state FROM jobs WHERE kind = 'priors'")] == ["running"]
    duty.let_go()
    go_on(duty)
    assert [row["state"] for row in room.rows("SELECT state FROM jobs WHERE kind = 'priors'")] == ["done"]
    assert peer.fetched == uids("a", "a")


def test_what_broke_off_before_a_reload_is_let_go_after_it(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing of what the duty of now is at."""
    peer = Peer(room, [earlier("a", "20190101")])
    room.receive(NOW)
    close(room, rules())
    ground = Ground(room.database, room.archive, tracing(settings.load()), "me/", room.board)
    wanted = dataclasses.replace(settings.load(), priors=rules())
    before = Following(wanted, ground)
    assert before.priors is not None
    before.priors._priors = Priors(room.database, room.archive, rules(), peer, room.clock)
    with monkeypatch.context() as patch:
        patch.setattr(jobs, "finish", lambda *_: 1 / 0)
        before.priors._guarded()
    before.stop_priors(0)
    after = Following(wanted, ground, before)
    last = Following(settings.load(), ground, after)
    with room.database.write() as session:
        jobs.add(session, JobKind.PRIORS, 1, "of now", room.clock())
        assert after.priors and jobs.claim(session, JobKind.PRIORS, after.priors._worker, "t", room.clock())
    states = "SELECT state FROM jobs WHERE kind = 'priors' ORDER BY id"
    assert [row["state"] for row in room.rows(states)] == ["running", "running"]
    last.let_go()
    assert [row["state"] for row in room.rows(states)] == ["ready", "running"]


def test_what_is_fetched_is_open_meanwhile(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    peer, seen = Peer(room, [earlier("a", "20190101")]), list[frozenset[str]]()
    fetch = peer.fetch
    monkeypatch.setattr(peer, "fetch", lambda uid: seen.append(room.board.open_studies()) or fetch(uid))
    room.receive(NOW)
    close(room, rules())
    of = Priors(room.database, room.archive, rules(), peer, room.clock, room.board.fetching.announced)
    PriorsDuty(of, (1.0,)).work()
    assert film("a").study_uid in seen[0] and film("a").study_uid not in room.board.open_studies()


def go_on(duty: PriorsDuty) -> None:
    """One more turn, to its end."""
    duty.pump()
    duty._thread.join(30)


def test_without_a_source_there_is_no_job(room: Room) -> None:
    room.receive(NOW)
    close(room, settings.load().priors)
    assert room.rows("SELECT * FROM jobs WHERE kind = 'priors'") == []
