"""Files that no row knows are cleared away, those that rows know and those about to be known are not.

A pull that runs beside is another process in truth; here it is a thread that holds the same lock. Kills that leave such
files behind are in tests/faults.
"""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from sqlalchemy import text

from node.db import anew
from node.incoming import Incoming
from node.pipeline import strays
from tests.films import CR, Film, drawn
from tests.pipeline.waiting import Room

STRAY = "1.2.3.4"


@pytest.fixture
def room(tmp_path: Path) -> Room:
    made = Room(tmp_path)
    made.analysed(["PACS@host:104"])
    return made


def left_behind(room: Room) -> Path:
    """A received file whose row was never committed."""
    return room.archive.path(room.archive.keep(_written(room), STRAY))


def _written(room: Room) -> Incoming:
    incoming = room.archive.incoming(b"")
    incoming.room(4)[:] = b"DATA"
    incoming.took(4)
    incoming.finish()
    return incoming


def test_only_what_no_row_knows_goes(room: Room) -> None:
    known = room.archive.files()
    received, built = left_behind(room), room.archive.path(room.archive.put_bytes(STRAY, b"RESULT"))
    assert strays.clear(room.database, room.archive) == 2
    assert not received.exists() and not built.exists()
    assert room.archive.files() == known and len(known) > 1
    assert strays.clear(room.database, room.archive) == 0


def test_more_than_a_crash_leaves_stay(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strays, "MOST", 1)
    for number in range(2):
        room.archive.put_bytes(f"{STRAY}.{number}", b"RESULT")
    found = room.archive.files()
    assert strays.clear(room.database, room.archive) == 0 and room.archive.files() == found


def test_other_files_are_not_looked_at(room: Room) -> None:
    other = room.archive.root / "received" / "note.txt"
    other.write_text("of an operator")
    assert strays.clear(room.database, room.archive) == 0
    assert other.exists()


def test_a_file_that_is_about_to_be_committed_stays(room: Room) -> None:
    """It has its name and no row while the clearing looks; the clearing waits, and then finds the row."""
    film = Film(drawn(2, 64), "about to be", "study", sop_class=CR)
    named, go_on = threading.Event(), threading.Event()
    commit = room.intake._commit

    def slow(*arguments: object) -> None:
        named.set()
        assert go_on.wait(20)
        commit(*arguments)  # type: ignore[arg-type]

    room.intake._commit = slow  # type: ignore[assignment, method-assign]
    receiving = threading.Thread(target=room.receive, args=(film,))
    receiving.start()
    assert named.wait(20)
    clearing = threading.Thread(target=strays.clear, args=(room.database, room.archive))
    clearing.start()
    clearing.join(0.3)
    assert clearing.is_alive(), "it did not wait for who holds the folder"
    go_on.set()
    receiving.join(20)
    clearing.join(20)
    (row,) = room.rows("SELECT path FROM instances WHERE sop_uid = :uid", uid=film.sop_instance_uid)
    assert room.archive.path(str(row["path"])).is_file()


def test_an_object_whose_file_is_gone_is_stored_again(room: Room) -> None:
    """Its row came back with a crash after a commit that had failed: no duplicate, whatever the row says."""
    film = Film(drawn(3, 64), "came back", "study", sop_class=CR)
    room.receive(film)
    (row,) = room.rows("SELECT path FROM instances WHERE sop_uid = :uid", uid=film.sop_instance_uid)
    file = room.archive.path(str(row["path"]))
    content = file.read_bytes()
    file.unlink()
    room.receive(film)
    assert file.read_bytes() == content
    assert len(room.rows("SELECT 1 FROM instances WHERE sop_uid = :uid", uid=film.sop_instance_uid)) == 1


def test_a_study_that_was_judged_without_a_file_is_judged_again_once_it_came(room: Room) -> None:
    """A worker that has not begun will see the file; one that has, or is at it, has not."""
    film = Film(drawn(4, 64), "judged without", "study", sop_class=CR)
    room.receive(film)

    def lost_and_sent_again() -> list[object]:
        """The states of its analyses, the oldest first."""
        (row,) = room.rows("SELECT path FROM instances WHERE sop_uid = :uid", uid=film.sop_instance_uid)
        room.archive.path(str(row["path"])).unlink()
        room.receive(film)
        made = "SELECT jobs.state FROM jobs JOIN studies ON studies.id = subject_id WHERE kind = 'analyse'"
        return [one["state"] for one in room.rows(f"{made} AND study_uid = :uid ORDER BY jobs.id", uid=film.study_uid)]

    def became(job: str, study: str) -> None:
        with room.database.write() as session:
            session.execute(text("UPDATE jobs SET state = :job WHERE kind = 'analyse'"), {"job": job})
            now = text("UPDATE studies SET state = :study WHERE study_uid = :uid")
            session.execute(now, {"study": study, "uid": film.study_uid})

    def state() -> object:
        return room.rows("SELECT state FROM studies WHERE study_uid = :uid", uid=film.study_uid)[0]["state"]

    assert lost_and_sent_again() == [], "it is being received still"
    room.clock.pass_by(11)
    assert film.study_uid in room.close()
    assert lost_and_sent_again() == ["ready"]
    became("done", "analysed")
    assert lost_and_sent_again() == ["done", "ready"] and state() == "queued"
    assert lost_and_sent_again() == ["done", "ready"], "another file of it: once is enough"
    assert anew.CAME_AGAIN in room.events()
    became("running", "analysing")
    assert lost_and_sent_again()[2:] == ["ready"] and state() == "queued", "what is being judged does not stand"
