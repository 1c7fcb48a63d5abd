"""The removal of a study: what is left when it is cut off or killed, what a backup sees, and what becomes of a study
that comes again, whole or in part.

Not covered: a power cut (that the folders are synced is not seen).
"""

from __future__ import annotations

import dataclasses
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pydicom import dcmread

from node import cli
from node.core.study import StudyState
from node.db import copy as backup_rows
from node.db import retention as rows
from node.db.session import Database, sqlite_url
from tests.pipeline.removing import (
    DAY,
    PACS,
    analysed,
    assert_whole,
    change,
    deliver,
    film,
    move,
    offered,
    retention,
    stored,
)
from tests.pipeline.test_superseding import Ward, late, wishes
from tests.pipeline.waiting import Room


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path)


class CutOff(BaseException):
    """Stands for the kill."""


STEPS = ("remove", "discard", "settle", "finish")


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("step", STEPS)
def test_cut_off_anywhere_it_is_finished_later(
    room: Room, monkeypatch: pytest.MonkeyPatch, step: str, after: bool
) -> None:
    """And meanwhile no query offers a file that is gone."""
    analysed(room, "cut off", ())
    room.clock.pass_by(31 * DAY)
    where = rows if step in ("remove", "finish") else type(room.archive)
    real = getattr(where, step)

    def cut(*arguments: object) -> object:
        if after:
            real(*arguments)
        raise CutOff

    with monkeypatch.context() as patch:
        patch.setattr(where, step, cut)
        with pytest.raises(CutOff):
            retention(room).turn()
    with room.database.read() as session:
        missing = [one for one in backup_rows.files(session) if not room.archive.path(one).exists()]
    assert missing == []
    offered(room)
    retention(room).turn()
    assert_whole(room)
    assert len(room.rows("SELECT * FROM removals WHERE finished_at IS NOT NULL")) == 1


STEPS_TOLD = [f"{step}\n".encode() for step in STEPS]
TURNS = """
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from node.archive import Archive
from node.core.keeping import Retention as Rules
from node.db import retention as rows
from node.db.session import Database, sqlite_url
from node.pipeline.retention import Retention
def told(where, step):
    real = getattr(where, step)
    def tell(*arguments):
        print(step, flush=True)
        return real(*arguments)
    setattr(where, step, tell)
for where, steps in ((rows, ("remove", "finish")), (Archive, ("discard", "settle"))):
    for step in steps:
        told(where, step)
folder = Path(sys.argv[1])
now = datetime.fromisoformat(sys.argv[2])
rules = Rules(30.0, 0.0, 80.0, 7.0, 100.0, True)
keeper = Retention(Database(sqlite_url(folder)), Archive(folder / "archive"), rules, (), lambda: now)
while keeper.decide().going:
    keeper.turn()
keeper.turn()
"""


def test_killed_at_any_moment_it_is_finished_by_the_next_process(room: Room, tmp_path: Path) -> None:
    """A process is killed a few milliseconds after one of its steps has begun, the one after the next."""
    for number in range(12):
        stored(room, f"killed {number}")
    room.clock.pass_by(31 * DAY)
    chance, command = random.Random(5), [sys.executable, "-c", TURNS, str(tmp_path), room.clock().isoformat()]
    for _ in range(4):
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert [process.stdout.readline() for _ in range(chance.randint(3, 9))][-1] in STEPS_TOLD
            time.sleep(chance.uniform(0.0, 0.02))
            process.kill()
        with room.database.read() as session:
            assert all(room.archive.path(one).exists() for one in backup_rows.files(session))
            left = {path for gone in rows.unfinished(session) for _, path in gone.received}
            named = {*backup_rows.files(session), *left}
        there = {str(path.relative_to(room.archive.root)) for path in room.archive.root.rglob("*.dcm")}
        assert there <= named, "no file that nobody will ever remove"
    assert 4 <= len(room.rows("SELECT * FROM removals")) < 12, "each got on, and none to the end"
    assert subprocess.run(command, check=False, capture_output=True, timeout=60).returncode == 0
    assert len(room.rows("SELECT * FROM removals WHERE finished_at IS NOT NULL")) == 12
    assert_whole(room)


def test_what_comes_again_while_it_is_removed_stays(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows are gone, the files not yet, when the film is sent again."""
    uid = stored(room, "again")
    room.clock.pass_by(31 * DAY)
    with monkeypatch.context() as patch:
        patch.setattr(rows, "unfinished", lambda _: [])
        retention(room).turn()
    assert room.rows("SELECT * FROM instances") == []
    room.receive(film("again"))
    retention(room).turn()
    assert_whole(room)
    assert offered(room) == {uid}


def test_a_backup_is_whole_while_retention_removes(room: Room, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The database is copied, then a study goes, then the files are copied."""
    analysed(room, "copied", ())
    room.clock.pass_by(31 * DAY)
    kept, real = stored(room, "kept"), backup_rows.copy

    def copy(source: Path, target: Path) -> None:
        real(source, target)
        retention(room).turn()

    monkeypatch.setattr(backup_rows, "copy", copy)
    assert cli.main(["backup", "--data", str(tmp_path), "--to", str(tmp_path / "copy")]) == 0
    assert len(room.rows("SELECT * FROM removals")) == 1
    with Database(sqlite_url(tmp_path / "copy")).read() as session:
        named = [tmp_path / "copy" / "archive" / one for one in backup_rows.files(session)]
    assert len(named) == 1 and all(path.exists() for path in named) and offered(room) == {kept}


def test_the_same_study_again_is_known_and_not_analysed_anew(room: Room) -> None:
    two = dataclasses.replace(film("second"), study="first")
    uid = room.receive(film("first"))
    room.receive(two)
    room.clock.pass_by(11)
    room.close()
    change(room, "UPDATE jobs SET state = 'done'")
    move(room, uid, StudyState.ANALYSED)
    for _ in range(2):
        room.clock.pass_by(31 * DAY)
        retention(room).turn()
        assert offered(room) == set()
        assert room.receive(film("first")) == room.receive(two) == uid
        room.clock.pass_by(11)
        room.close()
        assert room.rows("SELECT state FROM studies") == [{"state": "analysed"}]
        assert len(room.rows("SELECT * FROM jobs")) == 1
        assert offered(room) == {uid}
        assert_whole(room)


def test_only_the_layers_of_the_analysis_that_stands_outlive_the_files(tmp_path: Path) -> None:
    """Its images may come again, and then it stands for them; no page shows what it superseded."""
    ward = Ward(tmp_path)
    for number in (1, 2):
        ward.analyse(ward.arrive(number), wishes(PACS))
    standing = ward.rows("SELECT * FROM layers WHERE analysis_id = 2")
    assert standing and len(ward.rows("SELECT * FROM layers")) > len(standing)
    deliver(ward)
    ward.clock.pass_by(31 * DAY)
    retention(ward).turn()
    assert ward.rows("SELECT * FROM layers") == standing
    for number in (1, 2):
        ward.take(late(number))
    ward.clock.pass_by(100)
    ward.close()
    assert ward.rows("SELECT id FROM analyses WHERE NOT superseded") == [{"id": 2}], "and is not made again"


def test_a_part_of_what_was_removed_is_kept_and_takes_no_ones_place(room: Room) -> None:
    """One of two films comes again: its own analysis would stand for the whole. With something new it is analysed."""
    two, three = (dataclasses.replace(film(name), study="first") for name in ("second", "third"))
    uid = room.receive(film("first"))
    room.receive(two)
    room.clock.pass_by(11)
    room.close()
    change(room, "UPDATE jobs SET state = 'done'")
    move(room, uid, StudyState.ANALYSED)
    room.clock.pass_by(31 * DAY)
    retention(room).turn()
    room.receive(two)
    room.clock.pass_by(11)
    room.close()
    assert room.rows("SELECT state FROM studies") == [{"state": "stored"}]
    assert "not analysed by itself" in room.events()
    room.receive(three)
    room.clock.pass_by(11)
    room.close()
    assert room.rows("SELECT state FROM studies") == [{"state": "queued"}]
    with room.database.read() as session:
        absent = [one.sop_instance_uid for one in rows.absent(session, 1)]
    assert absent == [film("first").sop_instance_uid]


def test_a_report_on_what_is_left_names_what_was_removed(tmp_path: Path) -> None:
    """Two films are analysed, delivered and removed; a third comes. Its report follows theirs and counts them."""
    ward = Ward(tmp_path)
    wanted = wishes(PACS, kinds=("summary", "heat-maps", "rejection-notes"))
    for number in (1, 2, 3):
        if number == 3:
            deliver(ward)
            ward.clock.pass_by(31 * DAY)
            retention(ward).turn()
            assert ward.rows("SELECT * FROM instances") == []
        ward.analyse(ward.arrive(number), wanted)
    assert ward.rows("SELECT instances_used, instances_left_out FROM analyses ORDER BY id DESC LIMIT 1") == [
        {"instances_used": 1, "instances_left_out": 2}
    ]
    (path,) = ward.rows("SELECT path FROM outputs WHERE kind = 'sr' ORDER BY id DESC LIMIT 1")
    report = dcmread(ward.archive.path(str(path["path"])))
    texts = " ".join(str(one.value) for one in report.iterall() if one.keyword == "TextValue")
    assert "removed from the archive of this node" in texts and len(report.PredecessorDocumentsSequence) == 1
    assert_whole(ward)
