"""A PACS that does not take a SOP class: what it gets instead, what is remembered, what a kill between steps leaves.

The peer does as it is told. Whether the other forms are valid is tests/results/test_downgrade.py; a real peer that
takes pictures alone is in tests/e2e/test_destinations.py.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.uid import (
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    EnhancedSRStorage,
    SecondaryCaptureImageStorage,
)
from sqlalchemy import text

from node.archive import Archive
from node.core import settings
from node.core.errors import OutOfResources
from node.core.settings import Destination
from node.db import deliveries as ledger_rows
from node.db import fallback as rows
from node.db import jobs, story
from node.pipeline import fallback
from node.pipeline.deliver import Deliver, Outcome
from node.pipeline.fallback import FallBack
from node.results.downgrade import Inexpressible
from tests.films import Film, drawn
from tests.pipeline.test_deliver import ledger, turn
from tests.pipeline.waiting import Room

PACS, ARCHIVE = "PACS@127.0.0.1:104", "ARCHIVE@127.0.0.1:105"
SR_3D, SR, ENHANCED, SC = (
    str(uid)
    for uid in (Comprehensive3DSRStorage, ComprehensiveSRStorage, EnhancedSRStorage, SecondaryCaptureImageStorage)
)
KINDS = ("summary", "heat-maps")  # one report, one heat map
REFUSAL = Outcome(0x0122, "the peer does not accept this SOP class", False)


class Picky:
    """Takes some SOP classes; remembers each association as the list of (class, instance) that it was offered."""

    def __init__(self, *takes: str, other: Collection[str] = (SR_3D, SR, ENHANCED, SC)) -> None:
        self.takes = {PACS: set(takes), ARCHIVE: set(other)}
        self.calls: list[list[tuple[str, str]]] = []
        self.held: dict[str, list[bytes]] = {}

    def __call__(self, destination: Destination, files: Sequence[Path]) -> list[Outcome]:
        seen, answers = [], []
        for path in files:
            ds = dcmread(path)
            taken = ds.SOPClassUID in self.takes[destination.name]
            seen.append((str(ds.SOPClassUID), str(ds.SOPInstanceUID)))
            answers.append(Outcome(0x0000, "", True) if taken else REFUSAL)
            if taken:
                self.held.setdefault(str(ds.SOPInstanceUID), []).append(path.read_bytes())
        self.calls.append(seen)
        return answers

    @property
    def offered(self) -> Counter[str]:
        return Counter(sop_class for call in self.calls for sop_class, _ in call)


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path)


def deliver(room: Room, peer: Picky, **objects: object) -> Deliver:
    usual = dataclasses.replace(settings.load().objects, **objects)  # type: ignore[arg-type]

    def known(name: str) -> Destination:
        return dataclasses.replace(Destination.parse(name), objects=usual)

    wanted = settings.load().delivery
    return Deliver(room.database, room.archive, wanted, peer, room.clock, lambda: 1.0, peer=known)


def settle(room: Room, duty: Deliver, turns: int = 6) -> None:
    for _ in range(turns):
        turn(duty)
        room.clock.pass_by(1)


def another(number: int) -> Film:
    return Film(drawn(number, 96), f"fall-back {number}")


def states(room: Room) -> list[tuple[str, str, str]]:
    """(kind, SOP class, state) of every delivery."""
    found = room.rows(
        "SELECT kind, sop_class_uid, state FROM deliveries JOIN outputs ON outputs.id = output_id"
        " ORDER BY deliveries.id"
    )
    return [(str(row["kind"]), str(row["sop_class_uid"]), str(row["state"])) for row in found]


def remembered(room: Room, destination: str = PACS) -> set[str]:
    with room.database.read() as session:
        return set(rows.refused_classes(session, destination))


CHAINS: list[tuple[Collection[str], list[tuple[str, str, str]]]] = [
    ({SR_3D, SC}, [("sr", SR_3D, "delivered"), ("sc", SC, "delivered")]),
    ({SR, SC}, [("sr", SR_3D, "replaced"), ("sc", SC, "delivered"), ("sr", SR, "delivered")]),
    (
        {ENHANCED, SC},
        [
            ("sr", SR_3D, "replaced"), ("sc", SC, "delivered"), ("sr", SR, "replaced"), ("sr", ENHANCED, "delivered"),
        ],
    ),
    (
        {SC},
        [
            ("sr", SR_3D, "replaced"), ("sc", SC, "delivered"), ("sr", SR, "replaced"), ("sr", ENHANCED, "replaced"),
            ("page", SC, "delivered"),
        ],
    ),
    (
        set(),
        [("sr", SR_3D, "replaced"), ("sc", SC, "refused"), ("sr", SR, "replaced"), ("sr", ENHANCED, "refused")],
    ),
]  # fmt: skip


@pytest.mark.parametrize("takes, ends", CHAINS, ids=["3D SR", "SR", "Enhanced SR", "pictures", "nothing"])
def test_a_report_goes_out_in_the_best_form_that_is_taken(
    room: Room, takes: Collection[str], ends: list[tuple[str, str, str]]
) -> None:
    room.analysed([PACS], kinds=KINDS, page_for=[PACS])
    peer = Picky(*takes)
    settle(room, deliver(room, peer))
    assert states(room) == ends
    assert remembered(room) == {sop_class for _, sop_class, state in ends if state in ("replaced", "refused")}
    assert all(len(copies) == 1 for copies in peer.held.values()), "nothing is sent twice"
    assert all(peer.offered[sop_class] == 1 for sop_class in remembered(room)), "what is refused is offered once"
    owed = room.rows("SELECT state FROM jobs WHERE kind = 'deliver'")
    assert {row["state"] for row in owed} <= {"done", "parked"}, "nothing is tried for ever"


def test_an_archive_that_takes_no_other_form_now_costs_nothing_that_was_taken(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    room.analysed([PACS], kinds=KINDS, page_for=[PACS])
    peer = Picky(SR, SC)
    duty = deliver(room, peer)

    def full(*_: object, **__: object) -> None:
        raise OutOfResources("The archive has no room left.")

    with monkeypatch.context() as patch:
        patch.setattr(FallBack, "refused", full)
        turn(duty)
        turn(duty)
        assert states(room) == [("sr", SR_3D, "waiting"), ("sc", SC, "delivered")]
        assert "no room" in str(ledger(room)[0]["comment"])
        assert len(peer.calls) == 1, "it waits before it is tried again"
    for _ in range(6):
        room.clock.pass_by(86400)
        turn(duty)
    assert sorted(states(room)) == sorted(CHAINS[1][1])
    assert peer.offered[SC] == 1


def test_the_ledger_says_what_took_the_place(room: Room) -> None:
    film = another(1)
    room.analysed([PACS], film, kinds=KINDS, page_for=[PACS])
    settle(room, deliver(room, Picky(SC)))
    said = [str(row["comment"]) for row in ledger(room)]
    assert (
        said[0]
        == "the PACS does not take SOP class Comprehensive 3D SR Storage; Comprehensive SR Storage takes its place"
    )
    assert said[3].endswith("Enhanced SR Storage; a page of the report takes its place") and said[4] == ""
    assert [row["last_status"] for row in ledger(room)] == [0x0122, 0, 0x0122, 0x0122, 0]
    with room.database.write() as session:
        session.execute(text("UPDATE studies SET state = 'analysed'"))
        told = "\n".join(story.story(session, film.study_uid) or ())
    assert "3 in another form for PACS@127.0.0.1:104" in told and "2 delivered to PACS" in told
    assert "replaced after 1 attempt, status 0x0122, the PACS does not take" in told
    assert told.count("takes its place.") == 3, "one event for each class that was new"


def test_the_next_study_goes_straight_to_what_is_taken_and_in_order(room: Room) -> None:
    first = room.analysed([PACS], another(1), kinds=KINDS, page_for=[PACS])
    peer = Picky(ENHANCED, SC)
    duty = deliver(room, peer)
    settle(room, duty)
    events = room.events()
    peer.calls.clear()
    second = room.analysed([PACS], another(2), kinds=KINDS, page_for=[PACS])
    assert not set(first) & set(second)
    settle(room, duty)
    assert [[sop_class for sop_class, _ in call] for call in peer.calls] == [[ENHANCED, SC]], (
        "one association, report first"
    )
    assert room.events() == f"{events} made up", "known refusals are no news"
    assert states(room)[4:] == [("sr", SR_3D, "replaced"), ("sc", SC, "delivered"), ("sr", ENHANCED, "delivered")]
    assert ledger(room)[4]["last_status"] is None and ledger(room)[4]["attempts"] == 0


def test_a_form_has_one_uid_whichever_way_led_to_it(room: Room, tmp_path: Path) -> None:
    """Step by step for a stranger, at once for one that is known."""
    room.analysed([PACS], kinds=KINDS)
    stranger = Picky(ENHANCED, SC)
    settle(room, deliver(room, stranger))
    (tmp_path / "other").mkdir()
    other = Room(tmp_path / "other")
    other.analysed([PACS], kinds=KINDS)
    with other.database.write() as session:
        for sop_class in (SR_3D, SR):
            rows.remember(session, PACS, sop_class, other.clock())
    known = Picky(ENHANCED, SC)
    settle(other, deliver(other, known))
    assert known.held == stranger.held


def test_two_destinations_share_the_other_forms(room: Room) -> None:
    room.analysed([PACS, ARCHIVE], kinds=KINDS, page_for=[PACS, ARCHIVE])
    peer = Picky(SR, SC, other={ENHANCED, SC})
    settle(room, deliver(room, peer))
    assert remembered(room) == {SR_3D} and remembered(room, ARCHIVE) == {SR_3D, SR}
    made = Counter(
        str(row["sop_class_uid"]) for row in room.rows("SELECT sop_class_uid FROM outputs WHERE kind = 'sr'")
    )
    assert made == {SR_3D: 1, SR: 1, ENHANCED: 1}
    delivered = room.rows(
        "SELECT destination, sop_class_uid FROM deliveries JOIN outputs ON outputs.id = output_id"
        " WHERE kind = 'sr' AND state = 'delivered' ORDER BY destination"
    )
    assert [tuple(row.values()) for row in delivered] == [(ARCHIVE, ENHANCED), (PACS, SR)]


def test_without_fall_back_a_refusal_is_the_end_of_it(room: Room) -> None:
    room.analysed([PACS], kinds=KINDS, page_for=[PACS])
    peer = Picky(SR, ENHANCED, SC)
    settle(room, deliver(room, peer, fall_back=False))
    assert states(room) == [("sr", SR_3D, "refused"), ("sc", SC, "delivered")]
    assert ledger(room)[0]["comment"] == "refused: the PACS does not take SOP class Comprehensive 3D SR Storage"


def test_what_has_no_other_form_is_refused_once_and_said_once(room: Room) -> None:
    peer = Picky(SR_3D)
    duty = deliver(room, peer)
    for number in (1, 2):
        room.analysed([PACS], another(number), kinds=KINDS, page_for=[PACS])
        settle(room, duty)
    assert [state for _, sop_class, state in states(room) if sop_class == SC] == ["refused", "refused"]
    assert peer.offered[SC] == 1
    assert room.events().count("does not take SOP class Secondary Capture Image Storage") == 1


def test_a_report_that_no_simpler_class_can_hold_becomes_the_page(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    def too_rich(*_: object) -> None:
        raise Inexpressible("a reference to another content item")

    monkeypatch.setattr(fallback, "downgrade", too_rich)
    room.analysed([PACS], kinds=KINDS, page_for=[PACS])
    settle(room, deliver(room, Picky(SR, ENHANCED, SC)))
    assert states(room)[-1] == ("page", SC, "delivered") and remembered(room) == {SR_3D}


def test_a_page_that_is_sent_anyway_takes_the_place_once(room: Room) -> None:
    """Two reports refused, one page."""
    room.analysed([PACS], kinds=("summary", "regions", "heat-maps"), page_for=[PACS])
    settle(room, deliver(room, Picky(SC)))
    assert [state for kind, _, state in states(room) if kind == "page"] == ["delivered"]
    assert {state for kind, _, state in states(room) if kind in ("sr", "regions")} == {"replaced"}


def test_forgetting_tries_again_what_was_refused(room: Room) -> None:
    room.analysed([PACS], kinds=KINDS)
    strict = Picky()
    settle(room, deliver(room, strict))
    assert {state for _, _, state in states(room)} == {"replaced", "refused"}
    with room.database.write() as session:
        assert rows.forget(session, PACS, room.clock()) == (4, 2)
        assert rows.refusals(session) == []
    settle(room, deliver(room, Picky(SR_3D, SR, ENHANCED, SC)))
    assert [state for _, _, state in states(room)] == ["replaced", "delivered", "replaced", "delivered"]
    with room.database.write() as session:
        assert rows.forget(session, PACS, room.clock()) == (0, 0)


class Killed(BaseException):
    """What a power cut would do here."""


def kill_after(call: Callable[..., Any]) -> Callable[..., Any]:
    def wrapped(*args: Any, **named: Any) -> Any:
        call(*args, **named)
        raise Killed

    return wrapped


STEPS: dict[str, tuple[object, str]] = {
    "the other form is made": (fallback, "downgrade"),
    "its file is written": (Archive, "put_bytes"),
    "the refused job is finished": (jobs, "finish"),
    "the refusal is noted": (ledger_rows, "note_attempt"),
    "the other form has its row": (rows, "add_stand_in"),
    "the other form is owed": (ledger_rows, "owe"),
    "the class is remembered": (rows, "remember"),
    "all is committed": (fallback.log, "event"),
}


@pytest.mark.parametrize("step", list(STEPS))
def test_a_kill_after_any_step_neither_loses_nor_doubles(
    room: Room, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    (tmp_path / "undisturbed").mkdir()
    undisturbed = Room(tmp_path / "undisturbed")
    for one in (undisturbed, room):
        one.analysed([PACS], kinds=KINDS, page_for=[PACS])
    smooth, peer = Picky(ENHANCED, SC), Picky(ENHANCED, SC)
    settle(undisturbed, deliver(undisturbed, smooth))

    owner, name = STEPS[step]
    with monkeypatch.context() as patched:
        patched.setattr(owner, name, kill_after(getattr(owner, name)))
        with room.database.read() as session:
            due = ledger_rows.due(session, room.clock(), 100)
        with pytest.raises(Killed):
            deliver(room, peer).deliver(PACS, due)
    with room.database.write() as session:
        jobs.release(session, None, "the node was stopped")  # as at start-up
    settle(room, deliver(room, peer))

    assert sorted(states(room)) == sorted(states(undisturbed))
    assert room.rows("SELECT sop_uid, sha256 FROM outputs ORDER BY sop_uid") == undisturbed.rows(
        "SELECT sop_uid, sha256 FROM outputs ORDER BY sop_uid"
    )
    assert {uid: set(copies) for uid, copies in peer.held.items()} == {
        uid: set(copies) for uid, copies in smooth.held.items()
    }, "whatever was sent again had the same bytes under the same UID"
    assert remembered(room) == remembered(undisturbed)
