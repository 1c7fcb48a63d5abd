"""When a study closes: quiet time, open associations, the hard limit, late instances, one job for each set."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from tests.films import CR, MARKER, Film, drawn
from tests.pipeline.waiting import Room

ONE = Film(drawn(1, 64), "one", "study", sop_class=CR)
TWO = dataclasses.replace(ONE, seed="two")


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path)


def jobs(room: Room) -> list[dict[str, object]]:
    return room.rows("SELECT key, payload, priority, state FROM jobs ORDER BY id")


def test_a_film_waits_its_own_quiet_time(room: Room) -> None:
    uid = room.receive(ONE)
    room.clock.pass_by(9.9)
    assert room.close() == []
    room.clock.pass_by(0.2)
    assert room.close() == [uid]
    assert room.close() == [] and len(jobs(room)) == 1
    assert room.rows("SELECT state FROM studies") == [{"state": "queued"}]


def test_each_instance_starts_the_quiet_time_anew(room: Room) -> None:
    room.receive(ONE)
    room.clock.pass_by(8)
    uid = room.receive(TWO)
    room.clock.pass_by(8)
    assert room.close() == []
    room.clock.pass_by(3)
    assert room.close() == [uid]


def test_an_open_association_holds_the_study_until_the_hard_limit(room: Room) -> None:
    room.board.enter("a", "MODALITY", 0, 0)
    uid = room.receive(ONE)
    room.clock.pass_by(599)
    assert room.close() == []
    room.clock.pass_by(1)
    assert room.close() == [uid]


def test_a_released_association_lets_it_go(room: Room) -> None:
    room.board.enter("a", "MODALITY", 0, 0)
    uid = room.receive(ONE)
    room.clock.pass_by(30)
    room.board.leave("a")
    assert room.close() == [uid]


def test_a_late_instance_reopens_and_makes_another_job(room: Room) -> None:
    room.receive(ONE)
    room.clock.pass_by(11)
    room.close()
    room.receive(TWO)
    assert room.rows("SELECT state FROM studies") == [{"state": "receiving"}]
    assert "opened again" in room.events()
    room.clock.pass_by(11)
    room.close()
    found = jobs(room)
    assert len(found) == 2 and found[0]["payload"] != found[1]["payload"]


def test_a_repeat_of_the_same_bytes_changes_nothing(room: Room) -> None:
    room.receive(ONE)
    room.clock.pass_by(11)
    room.close()
    room.receive(ONE)
    assert room.rows("SELECT state FROM studies") == [{"state": "queued"}]
    room.clock.pass_by(11)
    assert room.close() == [] and len(jobs(room)) == 1


def test_another_pipeline_is_another_job(room: Room) -> None:
    room.receive(ONE)
    room.clock.pass_by(11)
    room.close("models of today")
    room.receive(TWO)
    room.clock.pass_by(11)
    room.close("models of tomorrow")
    assert len({row["key"] for row in jobs(room)}) == 2


def test_a_second_patient_in_a_study_is_noted(room: Room) -> None:
    room.receive(ONE)
    room.receive(dataclasses.replace(TWO, identity=dataclasses.replace(MARKER, patient_id="OTHERMARKER")))
    assert "another patient" in room.events()
    assert "OTHERMARKER" not in room.events()
