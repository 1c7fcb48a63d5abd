"""Each thing that can be stuck is made stuck; the command of its sentence is run as it stands; then nothing is stuck.

Also that a sentence is there at all where an operator looks: ``lungnode status`` and ``/health/ready``. The analysis
itself does not take place (no models are loaded), and what a destination does is told by a script; both are real in the
other modules of this folder.
"""

from __future__ import annotations

import contextlib
import json
import shlex
import shutil
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from node import cli
from node.app import Folders
from node.core import settings
from node.core.job import JobKind
from node.core.study import StudyState
from node.db import commitments, jobs, upgrade
from node.db import deliveries as ledger
from node.db import intake as study_rows
from node.db.session import Database, sqlite_url
from node.pipeline.deliver import Deliver, Outcome
from tests.faults.struck import MODELS
from tests.films import CR, Film, Identity, drawn
from tests.peers import Orthanc, wait_until
from tests.pipeline.removing import retention, stored
from tests.pipeline.test_deliver import FULL, PACS, TAKEN, Peer, turn
from tests.pipeline.waiting import Room
from tests.served import LungnodeProcess

NOT_TAKEN = Outcome(0x0122, "SOP class not supported", False)
STANDIN_NAMES = {
    "LUNGNODE_ANALYSIS_SEGMENTER": "standin-lungs", "LUNGNODE_ANALYSIS_SYSTEMS": "standin-film",
    "LUNGNODE_ANALYSIS_BIOMARKERS": "", "LUNGNODE_ANALYSIS_CT_SYSTEMS": "", "LUNGNODE_ANALYSIS_INDICATORS": "",
}  # fmt: skip
ANY_PORT = {"LUNGNODE_NODE_DICOM_PORT": "0", "LUNGNODE_NODE_HTTP_PORT": "0", "LUNGNODE_NODE_DICOM_HOST": "127.0.0.1"}


@pytest.fixture
def room(tmp_path: Path) -> Room:
    made = Room(tmp_path)
    made.clock.now = datetime.now(UTC)
    return made


def deliver(room: Room, peer: Peer, **changes: object) -> None:
    """One turn."""
    wanted = settings.load(flags={("delivery", name): value for name, value in changes.items()}).delivery
    turn(Deliver(room.database, room.archive, wanted, peer, room.clock, lambda: 1.0))


def stuck(data: Path, capsys: pytest.CaptureFixture[str]) -> list[tuple[str, list[str]]]:
    """(sentence, arguments of the command) of all that ``lungnode status`` calls stuck."""
    capsys.readouterr()
    assert cli.main(["status", "--data", str(data)]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("stuck: ")]
    return [(line, shlex.split(line.rpartition(" To mend it: lungnode ")[2])) for line in lines]


def mend(data: Path, capsys: pytest.CaptureFixture[str], *words: str) -> None:
    """Run the command of the one sentence that holds these words, and that is not of the node that does not run."""
    found = [(said, command) for said, command in stuck(data, capsys) if all(word in said for word in words)]
    assert len(found) == 1, stuck(data, capsys)
    assert cli.main(found[0][1]) == 0


def about(data: Path, capsys: pytest.CaptureFixture[str], subject: str) -> list[str]:
    return [said for said, _ in stuck(data, capsys) if subject in said]


def test_an_analysis_that_was_given_up(room: Room, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    uid = room.receive(Film(drawn(1, 64), "given up", "study", sop_class=CR))
    room.clock.pass_by(11)
    room.close()
    with room.database.write() as session:
        job = jobs.claim(session, JobKind.ANALYSE, "w", "t", room.clock())
        assert job is not None and jobs.park(session, job, room.clock(), "OSError in attempt 4")
        study_rows.move_study(session, job.subject_id, StudyState.QUEUED, StudyState.ANALYSING)
        study_rows.move_study(session, job.subject_id, StudyState.ANALYSING, StudyState.FAILED)
    assert cli.main(["status", uid, "--data", str(tmp_path)]) == 0
    assert f"lungnode retry {uid} --data {tmp_path}" in capsys.readouterr().out
    mend(tmp_path, capsys, uid, "given up after 1 attempt", "OSError")
    assert about(tmp_path, capsys, uid) == []
    room.clock.now = datetime.now(UTC)
    with room.database.write() as session:
        again = jobs.claim(session, JobKind.ANALYSE, "w", "u", room.clock())
    assert again is not None and again.id == job.id and again.attempts == 1
    assert cli.main(["retry", uid, "--data", str(tmp_path)]) == 0
    assert "nothing is tried again" in capsys.readouterr().out
    assert cli.main(["retry", "1.2.3", "--data", str(tmp_path)]) == 1


def test_status_names_the_newest_studies_and_how_many_there_are(
    room: Room, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    uids = []
    for number in range(3):
        uids.append(room.receive(Film(drawn(1, 64), f"newest {number}", f"study {number}", sop_class=CR)))
        room.clock.pass_by(11)
    assert cli.main(["status", "--data", str(tmp_path), "--studies", "2"]) == 0
    said = capsys.readouterr().out
    assert [f"\n{uid}  " in said for uid in uids] == [False, True, True]
    assert "newest 2 of 3 studies" in said
    assert cli.main(["status", "--data", str(tmp_path)]) == 0
    assert f"\n{uids[0]}  " in capsys.readouterr().out


def test_priors_that_were_not_fetched(
    room: Room, orthanc: Orthanc, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    orthanc.know("mending", "LUNGNODE", 11112)
    unknown = Identity(patient_id="PIDMARKER77121")  # to Orthanc, which has films of others by other tests
    uid = room.receive(Film(drawn(1, 64), "without priors", "study", sop_class=CR, identity=unknown))
    Folders(tmp_path).make()
    Folders(tmp_path).write_worker_settings(settings.load(flags={("priors", "source"): orthanc.address}))
    with room.database.write() as session:
        jobs.add(session, JobKind.PRIORS, 1, uid, room.clock())
        job = jobs.claim(session, JobKind.PRIORS, "w", "t", room.clock())
        assert job is not None and jobs.park(session, job, room.clock(), "it did not answer")
    mend(tmp_path, capsys, uid, "priors", "not fetched; given up after 1 attempt", "did not answer")
    assert "priors" not in " ".join(about(tmp_path, capsys, uid))
    assert f"0 priors of {orthanc.address}" in room.events()


def test_retention_that_would_remove_much_at_once(
    room: Room, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keeper = retention(room)
    for number in range(3):
        stored(room, f"much {number}")
    room.clock.now += timedelta(days=-31)  # they came then
    with room.database.write() as session:
        session.execute(text("UPDATE studies SET last_received_at = :at"), {"at": room.clock().replace(tzinfo=None)})
    room.clock.now = datetime.now(UTC)
    keeper.turn()
    mend(tmp_path, capsys, "3 studies are older", "Is the clock right?", "retention allow")
    keeper.turn()
    assert about(tmp_path, capsys, "older") == [] and len(room.rows("SELECT * FROM removals")) == 3


def test_a_destination_that_answers_with_a_failure(
    room: Room, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    count = len(room.analysed([PACS]))
    assert about(tmp_path, capsys, "could not be delivered") == [], "what is on its way is not stuck"
    deliver(room, Peer(FULL), backoff_seconds=(86400.0,))
    mend(tmp_path, capsys, PACS, f"{count} results could not be delivered", "1 attempt", "out of resources")
    assert_delivered(room, tmp_path, capsys)


def test_a_destination_that_was_given_up(room: Room, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    room.analysed([PACS])
    deliver(room, Peer(FULL), max_attempts=1)
    mend(tmp_path, capsys, PACS, "held back or given up")
    assert_delivered(room, tmp_path, capsys)


def test_a_result_that_is_held_because_its_file_changed(
    room: Room, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    room.analysed([PACS])
    path = room.archive.path(str(room.rows("SELECT path FROM outputs LIMIT 1")[0]["path"]))
    content = path.read_bytes()
    path.write_bytes(content[:-2])
    deliver(room, Peer(TAKEN))
    assert "not the one that was built" in "".join(about(tmp_path, capsys, "held back or given up"))
    path.write_bytes(content)  # as the backup has it
    mend(tmp_path, capsys, PACS, "held back or given up")
    assert_delivered(room, tmp_path, capsys)


def test_a_class_that_a_destination_does_not_take(
    room: Room, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    room.analysed([PACS], kinds=["heat-maps"])
    deliver(room, Peer(NOT_TAKEN))
    mend(tmp_path, capsys, PACS, "does not take Secondary Capture Image Storage", "destinations forget")
    assert_delivered(room, tmp_path, capsys)


def test_a_destination_that_is_paused(room: Room, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    room.analysed([PACS])
    assert cli.main(["destinations", "pause", PACS, "--data", str(tmp_path)]) == 0
    deliver(room, Peer(TAKEN))
    assert {row["state"] for row in room.rows("SELECT state FROM deliveries")} == {"waiting"}
    mend(tmp_path, capsys, PACS, "paused by an operator")
    assert_delivered(room, tmp_path, capsys)


def test_what_a_destination_took_and_does_not_commit(
    room: Room, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outputs = room.analysed([PACS])
    with room.database.write() as session:
        session.execute(text("UPDATE deliveries SET state = 'committing'"))
        owed = [int(row) for row in session.scalars(text("SELECT id FROM deliveries"))]
        for delivery in owed:
            commitments.ask_later(session, delivery, room.clock() + timedelta(days=1), "it offers no such service")
    mend(tmp_path, capsys, PACS, f"{len(outputs)} results that", "did not say that it keeps them", "no such service")
    with room.database.write() as session:
        assert len(ledger.due(session, datetime.now(UTC), 100)) == len(outputs), "it is asked again now"
        commitments.ask(session, "2.25.1", owed, room.clock())
        commitments.answered(session, "2.25.1", outputs, {}, room.clock(), lambda _: timedelta())
    assert about(tmp_path, capsys, PACS) == []


def assert_delivered(room: Room, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Once the destination takes things, everything that is left goes out and nothing is stuck."""
    room.clock.now = datetime.now(UTC)
    deliver(room, Peer(TAKEN))
    assert {row["state"] for row in room.rows("SELECT state FROM deliveries")} <= {"delivered", "replaced"}
    assert about(data, capsys, PACS) == []


def test_an_older_database(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Database(sqlite_url(tmp_path)).engine.execution_options(lungnode_write=True).begin() as connection:
        upgrade.to(connection, "0001")
    assert cli.main(["status", "--data", str(tmp_path)]) == 2
    assert "lungnode migrate" in capsys.readouterr().err
    assert cli.main(["migrate", "--data", str(tmp_path)]) == 0
    assert stuck(tmp_path, capsys) == []


def test_a_node_that_does_not_run_and_one_without_workers(
    room: Room, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    uid = room.receive(Film(drawn(1, 64), "waits", "study", sop_class=CR))
    ((said, command),) = stuck(tmp_path, capsys)
    assert "does not run" in said and "1 study and no result" in said and command == ["serve", "--data", str(tmp_path)]
    quick = {"LUNGNODE_COMPLETENESS_QUIET_SECONDS_FILM": "0.1", **MODELS, **STANDIN_NAMES}
    with served(*command, LUNGNODE_NODE_WORKERS="0", **quick) as node:
        wait_until(lambda: bool(stuck(tmp_path, capsys)), 20, "the study waits for a worker")
        ((said, command),) = stuck(tmp_path, capsys)
        assert "without workers" in said and command[:3] == ["serve", "--workers", "1"]
        told = json.loads(node.http("/health/ready")[1])
        assert told["backlog"]["oldest_study_uid"] == uid and told["backlog"]["studies"] == {"queued": 1}
        assert [one["command"] for one in told["stuck"]] == [shlex.join(["lungnode", *command])]
        assert told["disk"]["free_bytes"] > 0 and told["destinations"] == []
    with served(*command, **quick) as node:
        wait_until(lambda: any("worker" in one.cmdline() for one in node.processes()), 20, "a worker runs")
        assert stuck(tmp_path, capsys) == [] and json.loads(node.http("/health/ready")[1])["stuck"] == []


@contextlib.contextmanager
def served(*command: str, **environment: str) -> Iterator[LungnodeProcess]:
    """The command as an operator would give it, on ports that are free; ended by its own process id."""
    data = Path(command[command.index("--data") + 1])
    flags = [word for word in command[1:] if word not in ("--data", str(data))]
    with LungnodeProcess(*flags, data=data, environment=ANY_PORT | environment) as node:
        yield node


def test_a_full_disk(capsys: pytest.CaptureFixture[str]) -> None:
    with contextlib.ExitStack() as stack:
        folders = [Path(stack.enter_context(tempfile.TemporaryDirectory(dir=at))) for at in ("/dev/shm", "/var/tmp")]
        free = {folder: shutil.disk_usage(folder).free for folder in folders}
        small, large = sorted(folders, key=lambda folder: free[folder])
        if free[large] - free[small] < 2**30:
            pytest.skip("needs two disks with unlike room")
        room = Room(small)
        outputs = room.analysed([])
        Folders(small).make()
        floor = free[small] + (free[large] - free[small]) // 2
        effective = settings.load(flags={("receive", "min_free_bytes"): floor})
        Folders(small).write_worker_settings(effective)
        ((said, command),) = [one for one in stuck(small, capsys) if "disk" in one[0]]
        assert "0xA700" in said and "backup" in command
        place = str(large / "copy")
        assert cli.main([place if word == "DIR-ON-A-LARGER-DISK" else word for word in command]) == 0
        Folders(Path(place)).make()
        Folders(Path(place)).write_worker_settings(effective)
        assert about(Path(place), capsys, "disk") == []
        assert cli.main(["query", "--deliveries", "--data", place]) == 0
        results = list((Path(place) / "archive" / "results").rglob("*.dcm"))
        assert len(results) == len(outputs) and all(path.stat().st_size for path in results)


def test_a_filling_disk_is_said_before_anything_is_refused(
    room: Room, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Folders(tmp_path).make()
    floor = shutil.disk_usage(tmp_path).free // 2  # three times as much is more than there is
    Folders(tmp_path).write_worker_settings(settings.load(flags={("receive", "min_free_bytes"): floor}))
    assert about(tmp_path, capsys, "disk") == []
    assert cli.main(["status", "--data", str(tmp_path)]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("disk: ")]
    assert "archive and the database" in line and "set retention.high_watermark_percent" in line


def test_status_of_a_node_says_how_it_does(room: Room, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outputs = room.analysed([PACS])
    deliver(room, Peer(TAKEN))
    capsys.readouterr()
    assert cli.main(["status", "--data", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert "node: does not run" in text and "disk: " in text and "studies: 1 receiving; oldest " in text
    assert f"destination {PACS}: delivered; {len(outputs)} delivered, 0 waiting, 0 given up" in text
