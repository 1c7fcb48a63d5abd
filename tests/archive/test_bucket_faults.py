"""What ails a machine or an object of a bucket is borne: a full disk costs the cache and nothing else, an object with
other bytes costs itself alone and is said, and a store that is away costs no delivery an attempt.

The disk is one that counts: what is free is what the cache leaves of it. Not covered: a real disk that is full, a store
that gives other bytes once and the right ones the next time, damage that nobody has read.
"""

from __future__ import annotations

import dataclasses
import errno
import os
from datetime import timedelta
from pathlib import Path

import pytest

from node.archive.bucket import BucketArchive
from node.archive.cache import SPARED_SECONDS
from node.archive.objects import Damaged
from node.core.errors import OutOfResources
from node.core.settings import Destination, load
from node.core.study import StudyState
from node.db import anew, deliveries
from node.pipeline.commitment import Commitments, Report
from node.pipeline.deliver import Deliver
from node.pipeline.gate import Gate, nobody_asks
from node.pipeline.pressure import Pressure
from tests.archive.test_archive import received
from tests.archive.test_bucket import FILM, UID, BucketRoom, path_of
from tests.archive.test_bucket import archive as archive
from tests.archive.test_bucket import between as between
from tests.archive.test_bucket import elsewhere as elsewhere
from tests.archive.test_bucket import moto as moto
from tests.archive.test_bucket import passing as passing
from tests.archive.test_bucket import prefix as prefix
from tests.archive.test_bucket import room as room
from tests.archive.test_bucket import whole as whole
from tests.films import Film, drawn, encoded, wrap
from tests.object_store import Between, Moto
from tests.pipeline.removing import change, move
from tests.pipeline.test_deliver import PACS, TAKEN, Peer, ledger, turn

FLOOR, DISK = 1000, 10_000


def full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def small_disk(archive: BucketArchive, monkeypatch: pytest.MonkeyPatch) -> None:
    """Much smaller than the cache may become."""
    archive.min_free_bytes = FLOOR

    def free() -> int:
        return DISK - sum(path.stat().st_size for path in archive.root.rglob("*.dcm"))

    monkeypatch.setattr(archive, "free_bytes", free)


def fill(archive: BucketArchive) -> Path:
    """The disk, with what nobody used for long."""
    old = archive.root / "received" / "00" / "old.dcm"
    old.parent.mkdir(parents=True, exist_ok=True)
    old.write_bytes(bytes(DISK))
    os.utime(old, (0, 0))
    return old


def test_the_cache_gives_way_to_what_is_built(archive: BucketArchive, monkeypatch: pytest.MonkeyPatch) -> None:
    small_disk(archive, monkeypatch)
    old = fill(archive)
    path = archive.put_bytes(UID, b"result")
    assert not old.exists() and (archive.root / path).exists() and archive.free_bytes() >= FLOOR


def test_the_cache_gives_way_to_what_is_fetched(
    archive: BucketArchive, elsewhere: BucketArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = archive.put_bytes(UID, bytes(DISK - FLOOR))
    small_disk(elsewhere, monkeypatch)
    old = fill(elsewhere)
    old.write_bytes(bytes(FLOOR))
    os.utime(old, (0, 0))
    assert elsewhere.path(path).exists() and not old.exists(), "as much as the object is large, and it alone knows"


def test_what_the_cache_cannot_take_is_kept_all_the_same(
    archive: BucketArchive, elsewhere: BucketArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "_take", full)
    kept = {archive.put_bytes(UID, b"result"), received(archive, b"image")}
    assert archive.files() == kept and archive.cached() == set(), "each once, and no stray"
    assert list((archive.root / "tmp").iterdir()) == []
    assert all(elsewhere.path(path).exists() for path in kept)


def test_what_cannot_be_written_before_it_is_put_leaves_nothing(
    archive: BucketArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.incoming.Incoming.written", full)
    with pytest.raises(OutOfResources, match="no room left"):
        received(archive, b"image")
    assert archive.files() == set()


def damage(moto: Moto, name: str) -> None:
    moto.client.put_object(Bucket=moto.bucket, Key=name, Body=b"other", Metadata={"sha256": "0" * 64})


def test_of_a_damaged_object_commitment_says_so_and_of_the_others_too(
    room: BucketRoom, moto: Moto, prefix: str
) -> None:
    second = Film(drawn(4, 64), "another film", "study")
    room.receive(FILM)
    damage(moto, f"{prefix}/{path_of(room)}")
    room.receive(second)
    told: list[Report] = []
    service = Commitments(room.database, room.archive, room.clock, [10.0])
    sent = [encoded(wrap(film)) for film in (FILM, second)]
    service.take("1.2.3", "MODALITY", "127.0.0.1", [(one.sop_class_uid, one.sop_instance_uid) for one in sent])
    room.clock.pass_by(20)
    service.pump(lambda _, report: told.append(report) or "")  # type: ignore[func-returns-value]
    (report,) = told
    assert report.failed == ((sent[0].sop_class_uid, sent[0].sop_instance_uid, 0x0110),)
    assert report.committed == ((sent[1].sop_class_uid, sent[1].sop_instance_uid),)


def test_a_damaged_image_is_left_out_and_a_damaged_result_is_held(
    room: BucketRoom, archive: BucketArchive, moto: Moto, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    room.analysed([PACS], FILM)
    damage(moto, f"{prefix}/{path_of(room)}")
    archive.forget([path_of(room)])
    with archive.reading([path_of(room)]):
        assert not archive.path(path_of(room)).exists()
    with room.database.read() as session:
        owed, sources = deliveries.due(session, room.clock(), 10), deliveries.sources(session, 1)
    verdicts = Gate(archive, nobody_asks, lambda _: sources)(Destination.named(PACS), owed)
    assert verdicts and all("cannot be read from the archive" in verdict.held for verdict in verdicts)
    assert "archive.damaged" in caplog.text


def test_what_was_found_damaged_gives_way_to_the_same_instance_and_the_study_is_judged_again(
    room: BucketRoom, archive: BucketArchive, elsewhere: BucketArchive, moto: Moto, prefix: str
) -> None:
    """Whichever machine found it."""
    study = room.receive(FILM)
    room.clock.pass_by(100)
    room.close()
    change(room, "UPDATE jobs SET state = 'done'")
    move(room, study, StudyState.ANALYSED)
    old = path_of(room)
    damage(moto, f"{prefix}/{old}")
    for reader in (elsewhere, elsewhere):  # the second time it is marked already
        with pytest.raises(Damaged):
            reader.opened(old)
    for _ in range(2):
        room.receive(FILM)
        assert room.rows("SELECT state FROM studies") == [{"state": "queued"}]
        assert len(room.rows("SELECT * FROM jobs")) == 2, "the second time it is a duplicate"
        assert elsewhere.path(path_of(room)).read_bytes().endswith(encoded(wrap(FILM)).data_set)
    assert archive.files() == {old, path_of(room)} and anew.CAME_AGAIN in room.events()


def test_a_store_that_is_away_costs_no_attempt(room: BucketRoom, archive: BucketArchive, between: Between) -> None:
    outputs = room.analysed([PACS])
    with room.database.read() as session:
        paths = {one.path for one in deliveries.due(session, room.clock(), 99)}
        paths |= {path for path, _ in deliveries.sources(session, 1).files}
    archive.forget(paths)
    wanted = dataclasses.replace(load().delivery, max_attempts=1, backoff_seconds=(5,))
    peer = Peer(TAKEN)
    duty = Deliver(room.database, archive, wanted, peer, room.clock, lambda: 1.0)
    between.refuses = "SlowDown"
    for _ in range(3):
        turn(duty)
        assert peer.got == [] and {row["state"] for row in ledger(room)} == {"waiting"}
        assert all("SlowDown" in str(row["comment"]) for row in ledger(room))
        room.clock.pass_by(timedelta(hours=1).total_seconds())
    between.refuses = ""
    turn(duty)
    assert [uid for _, uid in peer.got] == outputs and {row["state"] for row in ledger(room)} == {"delivered"}


def test_a_cached_file_that_cannot_be_touched_is_read_all_the_same(
    archive: BucketArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = archive.put_bytes(UID, b"result")

    def refused(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "utime", refused)
    assert archive.path(path).read_bytes() == b"result"


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone gives files away")
def test_what_root_fetches_belongs_to_the_node(archive: BucketArchive, elsewhere: BucketArchive) -> None:
    path = archive.put_bytes(UID, b"result")
    os.chown(elsewhere.root, 12345, 12346)
    found = elsewhere.path(path)
    assert {(one.stat().st_uid, one.stat().st_gid) for one in (found, found.parent)} == {(12345, 12346)}


@pytest.mark.parametrize("code, is_lasting", [("NoSuchKey", True), ("404", False)])
def test_only_the_store_itself_says_that_an_object_is_gone(
    elsewhere: BucketArchive, between: Between, code: str, is_lasting: bool
) -> None:
    between.refuses = code
    if is_lasting:
        assert not elsewhere.path("results/aa/x.dcm").exists()
    else:
        with pytest.raises(OutOfResources, match="404"):
            elsewhere.path("results/aa/x.dcm")


def test_who_asks_often_writes_seldom_and_again_after_a_fault(archive: BucketArchive, between: Between) -> None:
    asked: list[str] = []
    between.before = lambda method, path: asked.append(method)

    def ask() -> str:
        archive._well_until = float("-inf")
        return archive.trouble()

    assert [ask(), ask(), ask()] == ["", "", ""] and asked == ["PUT", "HEAD", "HEAD"]
    between.refuses = "AccessDenied"
    assert ask()
    between.refuses = ""
    assert ask() == "" and asked[3:] == ["PUT"]


def test_the_setting_that_makes_room_is_that_of_the_cache(room: BucketRoom) -> None:
    room.archive.min_free_bytes = 1 << 60
    (found, *_) = Pressure(room.database, room.archive, load().limits).disks()
    assert "archive.cache_bytes" in found.sentence and "retention" not in found.sentence


def test_what_was_used_within_the_hour_stays_on_a_full_disk(
    archive: BucketArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_disk(archive, monkeypatch)
    old = fill(archive)
    now = archive._cache._clock()
    os.utime(old, (now - SPARED_SECONDS / 2,) * 2)
    archive.put_bytes(UID, b"result")
    assert old.exists()
