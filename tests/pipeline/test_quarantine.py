"""A study that kills its worker is given up with a report, named with the command that mends it, and the rest goes on.

A system that is made up kills the process that judges, which is a real one. Not covered: the supervisor that starts
workers again (tests/e2e, tests/queue).
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from pathlib import Path

import pytest

from models.api import ImageInput, LungField, Prediction
from node.core.job import MOST_KILLS, JobKind
from node.db import jobs, quarantine, stuck
from node.pipeline.analyse import Analyse
from tests.films import Film, drawn, uid
from tests.pipeline.fakes import Fake
from tests.pipeline.test_judge import registry
from tests.pipeline.test_superseding import wishes
from tests.pipeline.waiting import Room

PACS = "PACS@127.0.0.1:104"
DEADLY, HARMLESS = uid("study", "deadly"), uid("study", "harmless")
SIDE = 96  # pixels of the film that kills


class Killer(Fake):
    """Kills its process at sight of a film of one size."""

    def predict(self, given: object, lungs: LungField | None = None) -> Prediction:
        if isinstance(given, ImageInput) and given.shape == (SIDE, SIDE):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().predict(given, lungs)  # type: ignore[arg-type]


@pytest.fixture
def room(tmp_path: Path) -> Room:
    """The study that kills is first in the queue."""
    room = Room(tmp_path)
    room.receive(Film(drawn(1, SIDE), "deadly"))
    room.receive(Film(drawn(2, 128), "harmless"))
    room.clock.pass_by(100)
    room.close()
    return room


def worker(folder: Path, deadly: bool) -> None:
    """One worker process: everything that is due."""
    room = Room(folder)
    room.clock.pass_by(200)
    systems = registry(one=Killer("one", "film", 0.9)) if deadly else registry()
    while True:
        with room.database.write() as session:
            job = jobs.claim(session, JobKind.ANALYSE, "w", "t", room.clock())
        if job is None:
            os._exit(0)
        Analyse(room.database, room.archive, systems, wishes(PACS), "0.1.0", room.clock)(job)


def run(room: Room, folder: Path, deadly: bool = True) -> int:
    """A worker to its end, as its supervisor sees it; the exit status."""
    room.database.close()
    process = multiprocessing.get_context("fork").Process(target=worker, args=(folder, deadly))
    process.start()
    process.join(60)
    with room.database.write() as session:
        jobs.release(session, "w", "its worker died")
    return process.exitcode if process.exitcode is not None else 1


def states(room: Room) -> dict[object, object]:
    return {row["study_uid"]: row["state"] for row in room.rows("SELECT study_uid, state FROM studies")}


def test_the_rest_goes_on_and_the_study_has_a_report_and_a_command(room: Room, tmp_path: Path) -> None:
    codes = [run(room, tmp_path) for _ in range(MOST_KILLS + 1)]
    assert codes == [-signal.SIGKILL] * MOST_KILLS + [0]
    assert states(room) == {DEADLY: "analysed", HARMLESS: "analysed"}
    said = quarantine.sentence(MOST_KILLS, "its worker died")
    assert said in room.events() and "the study is quarantined" in said
    (report,) = room.rows(
        "SELECT path FROM outputs JOIN analyses ON analyses.id = analysis_id JOIN deliveries ON output_id = outputs.id"
        " WHERE kind = 'sr' AND reason = :said",
        said=said,
    )
    assert said.encode() in room.archive.path(str(report["path"])).read_bytes()
    with room.database.read() as session:
        (one,) = stuck.stuck(session)
    assert (one.subject, one.command) == (DEADLY, ("retry", DEADLY)) and said in one.sentence


def test_the_command_that_mends_it_has_the_study_analysed(room: Room, tmp_path: Path) -> None:
    """As with a node whose model was mended."""
    for _ in range(MOST_KILLS + 1):
        run(room, tmp_path)
    with room.database.write() as session:
        assert stuck.study_again(session, DEADLY, room.clock())
        assert stuck.study_again(session, DEADLY, room.clock()) is False
        assert stuck.study_again(session, HARMLESS, room.clock()) is False
        assert not stuck.stuck(session)
    assert run(room, tmp_path, deadly=False) == 0
    assert states(room)[DEADLY] == "analysed"
    sql = "SELECT reason, superseded FROM analyses JOIN studies ON studies.id = study_id WHERE study_uid = :uid"
    rows = room.rows(f"{sql} ORDER BY analyses.id", uid=DEADLY)
    assert [(bool(row["reason"]), bool(row["superseded"])) for row in rows] == [(True, True), (False, False)]
    with room.database.read() as session:
        assert not stuck.stuck(session)
