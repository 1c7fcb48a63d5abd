"""A node that is full says so for now and recovers by itself: too long a queue, a floor of free disk, a full disk.

The disk is a small tmpfs, so root is needed; without, those tests are skipped. Not covered: a disk that fails, or fills
while results are written (tests/archive, tests/faults).
"""

from __future__ import annotations

import dataclasses
import errno
import os
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import text

from node.core import settings
from node.core.job import JobKind
from node.core.limits import Limits
from node.db import jobs, schema
from node.db.session import Database, sqlite_url
from node.pipeline.pressure import Pressure
from tests.dimse.station import Station, film, station
from tests.sending import Encoded, associate, store, store_encoded

MIB = 1 << 20
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """48 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=48m", "none", folder], capture_output=True, timeout=20, check=False
    )
    if done.returncode:
        pytest.skip("a small disk cannot be mounted: root is needed")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], timeout=20, check=True)


def _limits(**changes: object) -> Limits:
    return dataclasses.replace(settings.load().limits, **changes)  # type: ignore[arg-type]


def _wait(node: Station, number: int) -> None:
    """So many studies wait to be analysed."""
    with node.database.write() as session:
        for one in range(number):
            jobs.add(session, JobKind.ANALYSE, one, f"waits {one}", NOW)


def _whole(node: Station, instances: list[Encoded], statuses: list[int | None]) -> None:
    """What was acknowledged is there, nothing else is, and no file is nobody's."""
    for instance, status in zip(instances, statuses, strict=True):
        assert status in (0x0000, 0xA700)
        assert node.stored(instance.sop_instance_uid) == (instance.data_set if status == 0x0000 else None)
    named = {node.archive.path(str(row["path"])) for row in node.rows("SELECT path FROM instances")}
    assert set(node.files()) == named


def test_with_too_long_a_queue_new_senders_come_later_and_old_ones_finish(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.pipeline.pressure.RECOUNT_SECONDS", 0.0)
    one, two = film("begun", study="long"), film("goes on", study="long")
    three, other = film("new"), film("begun by the old association")
    kind = [(one.sop_class_uid, one.transfer_syntax_uid)]
    with station(tmp_path, limits=_limits(max_waiting_studies=3)) as node:
        with associate(node.port, kind) as association:
            assert store_encoded(association, one) == 0x0000
            _wait(node, 3)
            assert store(node.port, [three]) == [0x0000], "three may wait"
            _wait(node, 4)
            new = film("newer")
            assert store(node.port, [new]) == [0xA700]
            assert store_encoded(association, two) == 0x0000, "what was begun is finished"
            assert store_encoded(association, other) == 0xA700, "and nothing else, on the association of before too"
            assert store_encoded(association, two) == 0x0000, "what is here is here"
        assert node.stored(other.sop_instance_uid) is None
        assert "more than 3 studies wait" in node.refusals()[-1][1]
        with node.database.write() as session:
            jobs.claim(session, JobKind.ANALYSE, "worker", "token", NOW)
        assert store(node.port, [new, other]) == [0x0000] * 2, "the queue is shorter"


def test_no_limit_counts_nothing(tmp_path: Path) -> None:
    with station(tmp_path, limits=_limits(max_waiting_studies=0)) as node:
        _wait(node, 50)
        assert store(node.port, [film("any queue")]) == [0x0000]


def test_the_queue_is_not_counted_for_every_object(tmp_path: Path) -> None:
    now = [0.0]
    with station(tmp_path) as node:
        pressure = Pressure(node.database, node.archive, _limits(max_waiting_studies=1), lambda: now[0])
        assert pressure.refusal() == ""
        _wait(node, 2)
        assert pressure.refusal() == "", "as counted a moment ago"
        now[0] += 1.0
        assert pressure.refusal()
        assert len(pressure.problems()) == 1


def test_the_operator_hears_of_a_filling_disk_before_anybody_is_refused(small_disk: Path) -> None:
    with station(small_disk, min_free_bytes=10 * MIB) as node:
        pressure = Pressure(node.database, node.archive, _limits(warn_free_factor=3.0))
        assert pressure.problems() == []
        filler = small_disk / "filler"
        filler.write_bytes(bytes(25 * MIB))
        (sentence,) = pressure.problems()
        assert "MiB left" in sentence and "retention.high_watermark_percent" in sentence
        assert store(node.port, [film("still taken")]) == [0x0000]
        filler.write_bytes(bytes(40 * MIB))
        (sentence,) = pressure.problems()
        assert "0xA700" in sentence
        filler.unlink()
        assert pressure.problems() == []


def test_the_disk_of_the_database_has_the_same_marks(small_disk: Path, tmp_path: Path) -> None:
    """It is a small one; the archive has all the room there is."""
    with station(tmp_path / "large", min_free_bytes=10 * MIB) as node:
        database = Database(sqlite_url(small_disk))
        schema.migrate(database.engine)
        pressure = Pressure(database, node.archive, _limits(warn_free_factor=3.0))
        assert [disk.holds for disk in pressure.disks()] == ["archive", "database"]
        filler = small_disk / "filler"
        filler.write_bytes(bytes(25 * MIB))
        (sentence,) = pressure.problems()
        assert "The disk of the database has" in sentence and pressure.refusal() == ""
        filler.write_bytes(bytes(40 * MIB))
        (sentence,) = pressure.problems()
        assert "0xA700" in sentence and "disk of the database" in pressure.refusal()
        filler.unlink()
        assert pressure.problems() == [] and pressure.refusal() == ""
        database.close()


@pytest.mark.parametrize("floor", [0, 16 * MIB], ids=["to the last byte", "with a floor"])
def test_a_disk_that_fills_refuses_for_now_and_takes_again(small_disk: Path, floor: int) -> None:
    """In mid-stream; twice, since the first fill must leave nothing that keeps the node from recovering."""
    with station(small_disk, min_free_bytes=floor) as node:
        filler = small_disk / "filler"
        for turn in range(2):
            filler.write_bytes(bytes(node.archive.free_bytes() - floor - 4 * MIB))
            instances = [film(f"fills {turn} {number} {floor}", 1024) for number in range(6)]
            statuses = store(node.port, instances)
            _whole(node, instances, statuses)
            assert 0xA700 in statuses
            assert node.archive.free_bytes() >= floor // 2, "one object and the database's log go below it"
            filler.unlink()
            refused = [i for i, status in zip(instances, statuses, strict=True) if status == 0xA700]
            assert store(node.port, refused[:2]) == [0x0000] * 2
        assert node.rows("PRAGMA integrity_check") == [{"integrity_check": "ok"}]


@pytest.mark.parametrize("number", [errno.EIO, errno.EROFS, errno.ENOSPC, errno.ESTALE])
def test_a_disk_that_fails_is_no_end_of_the_association(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """The sync of one file fails: it is refused for now, with a sentence; the next one on the association is taken."""
    one, two = film("its sync fails"), film("its sync does not")
    with station(tmp_path) as node, associate(node.port, [(one.sop_class_uid, one.transfer_syntax_uid)]) as association:
        with monkeypatch.context() as failing:
            failing.setattr("node.incoming.os.fsync", _fails(number))
            assert store_encoded(association, one) == 0xA700
        assert [status for status, reason in node.refusals() if reason.startswith("The archive ")] == [0xA700]
        assert store_encoded(association, two) == 0x0000 and store_encoded(association, one) == 0x0000
        _whole(node, [one, two], [0x0000, 0x0000])


def _fails(number: int) -> Callable[[int], None]:
    def sync(_: int) -> None:
        raise OSError(number, os.strerror(number))

    return sync


def test_without_sync_the_database_is_not_synced_either(tmp_path: Path) -> None:
    """SQLite's synchronous: 0 is OFF, 2 is FULL. Processes of the node open it so (node/receiving.py, node/app.py)."""
    for durable, wanted in ((True, 2), (False, 0)):
        database = Database(sqlite_url(tmp_path), durable)
        with database.read() as session:
            assert session.scalar(text("PRAGMA synchronous")) == wanted
        database.close()
