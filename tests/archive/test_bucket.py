"""The archive in a bucket, against moto's S3 server: nothing counts as kept before the store has it, a name never means
two things, what is not in the cache is fetched and compared, and what fails is a sentence that may be over later.

``tests/cluster/test_bucket.py`` has nodes on it. Not covered: a store that loses what it promised, Amazon's own (no
way there), encryption by a key of one's own, which is the bucket's business.
"""

from __future__ import annotations

import copy
import dataclasses
import io
import os
import threading
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from node.archive.bucket import SETTLED, BucketArchive
from node.archive.folder import SHELVES
from node.archive.objects import Away, Damaged, ObjectStore
from node.commands.backup import backup
from node.commands.choosing import of_stored_study
from node.composition.membership import Membership
from node.core.errors import Misconfigured, OutOfResources
from node.core.settings import Destination, load
from node.db import deliveries, members
from node.folders import Folders
from node.pipeline import strays
from node.pipeline.catalogue import Catalogue, Query
from node.pipeline.commitment import Commitments, Report
from node.pipeline.gate import Gate, nobody_asks
from node.pipeline.intake import Intake
from node.pipeline.query_keys import Level
from node.pipeline.retention import Retention
from tests.archive.test_archive import received
from tests.films import CR, Film, drawn, encoded, wrap
from tests.object_store import KEYS, Between, Moto
from tests.pipeline.removing import change
from tests.pipeline.waiting import Room

UID = "1.2.826.0.1.3680043.2.1"
AT_ONCE = dict.fromkeys(SHELVES, timedelta(days=-1))  # nothing is too young to be taken away
BOUND = 1 << 30


@pytest.fixture(scope="module")
def moto() -> Iterator[Moto]:
    with Moto() as running:
        yield running


@pytest.fixture(scope="module")
def passing(moto: Moto) -> Iterator[Between]:
    with Between(moto) as running, pytest.MonkeyPatch.context() as patched:
        for name, value in KEYS.items():
            patched.setenv(name, value)
        yield running


@pytest.fixture(scope="module")
def whole(passing: Between) -> ObjectStore:
    """The whole bucket: a client takes half a second to make."""
    return ObjectStore("s3://images", passing.endpoint)


@pytest.fixture
def between(passing: Between) -> Iterator[Between]:
    yield passing
    passing.passes_everything()


@pytest.fixture
def prefix(tmp_path: Path) -> str:
    return f"hospital/{tmp_path.name}"


def bucket(whole: ObjectStore, prefix: str, root: Path, settled: Mapping[str, timedelta] = AT_ONCE) -> BucketArchive:
    store = copy.copy(whole)
    store._prefix, store.url = f"{prefix}/", f"s3://images/{prefix}"
    return BucketArchive(root, True, 0, store, BOUND, settled)


@pytest.fixture
def archive(whole: ObjectStore, prefix: str, tmp_path: Path) -> BucketArchive:
    return bucket(whole, prefix, tmp_path / "cache")


@pytest.fixture
def elsewhere(whole: ObjectStore, prefix: str, tmp_path: Path) -> BucketArchive:
    """Of another machine."""
    return bucket(whole, prefix, tmp_path / "other cache")


def temporaries(archive: BucketArchive) -> list[Path]:
    return list((archive.root / "tmp").iterdir())


def test_what_is_kept_is_in_the_bucket_and_read_elsewhere(
    archive: BucketArchive, elsewhere: BucketArchive, moto: Moto, prefix: str
) -> None:
    path = received(archive, b"one", b"two")
    assert moto.content(f"{prefix}/{path}") == archive.path(path).read_bytes() == bytes(128) + b"DICMmetaonetwo"
    assert not (elsewhere.root / path).exists()
    assert elsewhere.path(path).read_bytes() == archive.path(path).read_bytes()
    assert elsewhere.holds(path, "") and elsewhere.files() == {path}
    assert temporaries(archive) == temporaries(elsewhere) == []


def test_a_result_is_in_the_bucket_too(archive: BucketArchive, elsewhere: BucketArchive) -> None:
    path = archive.put_bytes(UID, b"result")
    assert path.startswith("results/")
    with elsewhere.reading([path]):
        assert elsewhere.path(path).read_bytes() == b"result"


def test_no_name_is_given_twice_and_none_holds_what_a_peer_wrote(archive: BucketArchive) -> None:
    names = [
        archive.put_bytes("../../x", b"one"),
        archive.put_bytes("../../x", b"one"),
        received(archive, b"", uid="../x"),
    ]
    assert len(set(names)) == 3 and not any(".." in name for name in names)
    archive.discard(names[0])
    assert not archive.holds(names[0], "") and archive.holds(names[1], "")
    assert not (archive.root / names[0]).exists()


@pytest.mark.parametrize("refused", ["SlowDown", "AccessDenied", "NoSuchKey"])
def test_what_the_store_refuses_is_not_kept_and_nothing_is_left_of_it(
    archive: BucketArchive, between: Between, refused: str
) -> None:
    between.refuses = refused
    with pytest.raises(OutOfResources, match=f"The archive cannot be written: the object store .*{refused}"):
        received(archive, b"x")
    with pytest.raises(OutOfResources, match=refused):
        archive.put_bytes(UID, b"x")
    assert refused in archive.trouble()
    between.refuses = ""
    assert archive.trouble() == "" and archive.files() == archive.cached() == set()
    assert temporaries(archive) == []


def away(between: Between, tmp_path: Path, url: str = "s3://images/x", endpoint: str = "") -> BucketArchive:
    return BucketArchive(tmp_path / "away", True, 0, ObjectStore(url, endpoint or between.endpoint), BOUND)


def test_a_store_that_is_away_is_said(between: Between, tmp_path: Path) -> None:
    archive = away(between, tmp_path, endpoint="http://127.0.0.1:1")
    assert archive.trouble() == "the object store cannot be reached"
    with pytest.raises(OutOfResources, match="cannot be read: the object store cannot be reached"):
        archive.path("received/aa/x.dcm")
    with pytest.raises(OutOfResources), archive.reading(["received/aa/x.dcm"]):
        pytest.fail("an analysis has nothing to read")


def test_a_bucket_that_is_not_there_is_said(between: Between, tmp_path: Path) -> None:
    assert away(between, tmp_path, "s3://no-such-bucket").trouble() == "there is no such bucket"


def test_a_store_that_is_silent_is_said(between: Between, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.archive.objects.ATTEMPTS", 1)
    monkeypatch.setattr("node.archive.objects.ANSWER_SECONDS", 0.3)
    go_on = threading.Event()
    between.before = lambda *_: go_on.wait(20)
    assert away(between, tmp_path).trouble() == "the object store does not answer"
    go_on.set()


def test_bytes_that_come_short_or_changed_are_not_taken(
    archive: BucketArchive, elsewhere: BucketArchive, between: Between, moto: Moto, prefix: str
) -> None:
    path = received(archive, bytes(5000))
    between.short = True
    with pytest.raises(OutOfResources, match="The archive cannot be read"):
        elsewhere.path(path)
    between.short = False
    moto.client.put_object(Bucket=moto.bucket, Key=f"{prefix}/{path}", Body=b"other", Metadata={"sha256": "0" * 64})
    with pytest.raises(Damaged, match="other bytes than were stored"):
        elsewhere.opened(path)
    assert not elsewhere.path(path).exists() and temporaries(elsewhere) == []


class Changing(io.BytesIO):
    """Other bytes the second time, as from a disk that fails."""

    def seek(self, position: int, whence: int = 0) -> int:
        self.getbuffer()[:] = b"other"
        return super().seek(position, whence)


def test_other_bytes_than_those_that_were_counted_are_refused_by_the_store(archive: BucketArchive) -> None:
    with pytest.raises(Away, match="BadDigest"):
        archive._store.put("changed", Changing(b"whole"))


def test_an_object_that_is_gone_is_a_path_without_a_file(archive: BucketArchive, elsewhere: BucketArchive) -> None:
    path = archive.put_bytes(UID, b"x")
    archive.discard(path)
    assert not elsewhere.path(path).exists()
    with pytest.raises(FileNotFoundError):
        elsewhere.opened(path)
    archive.discard(path)


def test_a_copy_says_nothing_of_the_bucket(archive: BucketArchive, moto: Moto, prefix: str) -> None:
    path = archive.put_bytes(UID, b"x")
    with archive.opened(path) as file:
        assert file.read() == b"x"
    moto.remove(f"{prefix}/{path}")
    assert archive.path(path).read_bytes() == b"x"
    with pytest.raises(FileNotFoundError):
        archive.opened(path)


def test_what_is_young_may_be_about_to_get_its_row(
    archive: BucketArchive, whole: ObjectStore, prefix: str, tmp_path: Path
) -> None:
    path = received(archive, b"x")
    assert archive.files() == {path}
    careful = bucket(whole, prefix, tmp_path / "careful", SETTLED)
    assert careful.files() == set() and careful.names() == {path}


class BucketRoom(Room):
    """Whose archive is in a bucket."""

    def __init__(self, folder: Path, archive: BucketArchive) -> None:
        super().__init__(folder)
        self.archive = archive
        self.intake = Intake(self.database, archive, 2**30, self.clock, board=self.board)


@pytest.fixture
def room(tmp_path: Path, archive: BucketArchive) -> BucketRoom:
    return BucketRoom(tmp_path, archive)


FILM = Film(drawn(3, 64), "a film", "study", sop_class=CR)


def path_of(room: Room, film: Film = FILM) -> str:
    (row,) = room.rows("SELECT path FROM instances WHERE sop_uid = :uid", uid=film.sop_instance_uid)
    return str(row["path"])


def test_an_instance_is_stored_once_and_again_where_its_object_is_gone(
    room: BucketRoom, archive: BucketArchive
) -> None:
    room.receive(FILM)
    first = path_of(room)
    room.receive(FILM)
    assert path_of(room) == first and archive.files() == {first}
    archive.discard(first)
    room.receive(FILM)
    assert path_of(room) != first and archive.files() == {path_of(room)}


def test_of_what_two_machines_receive_at_once_one_object_stays(
    room: BucketRoom, archive: BucketArchive, elsewhere: BucketArchive
) -> None:
    """Each has locks of its own, and the second looks before the first has committed."""
    twin = copy.copy(room)
    twin.intake = Intake(room.database, elsewhere, 2**30, room.clock, board=room.board)
    known = twin.intake._known

    def early(*arguments: Any) -> object:
        found = known(*arguments)
        room.receive(FILM)
        return found

    twin.intake._known = early  # type: ignore[assignment, method-assign]
    with pytest.raises(OutOfResources):
        twin.receive(FILM)
    assert archive.files() == {path_of(room)}
    twin.intake._known = known  # type: ignore[method-assign]
    twin.receive(FILM)
    assert archive.files() == {path_of(room)}, "sent again, it is a duplicate"


def test_strays_go_from_the_bucket_and_what_another_node_removed_from_the_cache(
    room: BucketRoom, archive: BucketArchive, elsewhere: BucketArchive
) -> None:
    room.receive(FILM)
    stray, kept = received(archive, b"x"), path_of(room)
    for path in (stray, kept):
        elsewhere.path(path)
    assert strays.clear_bucket(room.database, archive, lambda: True) == 1
    assert archive.files() == {kept}
    assert elsewhere.cached() == {stray, kept}
    assert strays.forget(room.database, elsewhere) == 1
    assert elsewhere.cached() == {kept} and elsewhere.files() == {kept}


def test_retention_removes_objects(room: BucketRoom, archive: BucketArchive) -> None:
    room.analysed([])
    change(room, "UPDATE studies SET state = 'analysed'")
    change(room, "UPDATE jobs SET state = 'done'")
    assert len(archive.files()) > 1
    room.clock.pass_by(100 * 86400)
    rules = dataclasses.replace(load().retention, remove_after_days=1.0, max_percent_per_day=100.0)
    Retention(room.database, archive, rules, (), room.clock).turn()
    assert archive.files() == archive.cached() == set()


def test_commitment_looks_into_the_bucket_and_waits_for_it(
    room: BucketRoom, archive: BucketArchive, between: Between, moto: Moto, prefix: str
) -> None:
    room.receive(FILM)
    told: list[Report] = []
    service = Commitments(room.database, archive, room.clock, [10.0])
    sent = encoded(wrap(FILM))
    service.take("1.2.3", "MODALITY", "127.0.0.1", [(sent.sop_class_uid, sent.sop_instance_uid)])

    def pump() -> None:
        room.clock.pass_by(20)
        service.pump(lambda _, report: told.append(report) or "")  # type: ignore[func-returns-value]

    between.refuses = "SlowDown"
    pump()
    assert told == []
    between.refuses = ""
    pump()
    assert [len(report.committed) for report in told] == [1]
    moto.remove(f"{prefix}/{path_of(room)}")
    service.take("1.2.4", "MODALITY", "127.0.0.1", [(sent.sop_class_uid, sent.sop_instance_uid)])
    pump()
    assert [len(report.failed) for report in told] == [0, 1], "whatever the cache holds"


def test_what_cannot_be_looked_at_is_delivered_later(
    room: BucketRoom, elsewhere: BucketArchive, between: Between
) -> None:
    room.analysed(["PACS@host:104"])
    with room.database.read() as session:
        owed, sources = deliveries.due(session, room.clock(), 10), deliveries.sources(session, 1)
    gate, to = Gate(elsewhere, nobody_asks, lambda _: sources), Destination.named("PACS@host:104")
    between.refuses = "SlowDown"
    verdicts = gate(to, owed)
    assert verdicts and all("SlowDown" in verdict.later and not verdict.held for verdict in verdicts)
    between.refuses = ""
    assert {(verdict.held, verdict.later) for verdict in gate(to, owed)} == {("", "")}


def test_texts_that_cannot_be_read_now_are_read_later(
    room: BucketRoom, elsewhere: BucketArchive, between: Between
) -> None:
    room.receive(FILM)
    catalogue, asked = Catalogue(room.database, elsewhere), Query(Level.STUDY, {"PatientName": ""}, patient_root=False)
    between.refuses = "AccessDenied"
    with pytest.raises(OutOfResources):
        list(catalogue.find(asked))
    between.refuses = ""
    (found,) = catalogue.find(asked)
    assert found["PatientName"] == wrap(FILM).PatientName


def ran_with(data: Path, endpoint: str, prefix: str) -> None:
    """As if a node had run on this folder."""
    flags = {("archive", "url"): f"s3://images/{prefix}", ("archive", "endpoint"): endpoint}
    Folders(data).run.mkdir()
    Folders(data).write_worker_settings(load(flags=flags))


def test_commands_read_from_the_bucket(room: BucketRoom, between: Between, prefix: str, tmp_path: Path) -> None:
    study_uid = room.receive(FILM)
    ran_with(tmp_path, between.endpoint, prefix)
    (found,) = of_stored_study(tmp_path, study_uid)
    assert found.path.is_relative_to(tmp_path / "cache") and found.path.read_bytes().endswith(
        encoded(wrap(FILM)).data_set
    )


def test_a_backup_leaves_the_objects_where_they_are(
    room: BucketRoom, between: Between, prefix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    room.receive(FILM)
    ran_with(tmp_path, between.endpoint, prefix)
    assert backup(tmp_path, tmp_path / "copy") == 0
    assert f"what is in s3://images/{prefix} stays there" in capsys.readouterr().out
    assert [path.name for path in (tmp_path / "copy").iterdir()] == ["lungnode.sqlite"]


def member(number: int) -> members.Node:
    return members.Node(str(number), "i", "machine:1", "AET", ("all",), 1, "pipeline", "version")


def join(room: Room, archive: BucketArchive) -> None:
    Membership(room.database, archive, room.board, member(1), 15.0).start(lambda: None)


def test_a_database_has_one_bucket_and_a_bucket_one_database(
    room: BucketRoom, archive: BucketArchive, whole: ObjectStore, prefix: str, tmp_path: Path
) -> None:
    room.receive(FILM)
    join(room, archive)
    join(room, archive)
    with pytest.raises(Misconfigured, match=r"images/other is not that of the database.*archive\.url.*1 of 1 files"):
        join(room, bucket(whole, "other", tmp_path / "other"))
    (tmp_path / "second").mkdir()
    second = BucketRoom(tmp_path / "second", bucket(whole, prefix, tmp_path / "third"))
    with pytest.raises(Misconfigured, match="is that of another database"):
        join(second, second.archive)  # type: ignore[arg-type]


@pytest.mark.parametrize("code", ["InvalidAccessKeyId", "SignatureDoesNotMatch", "AccessDenied"])
def test_wrong_credentials_are_refused_at_the_start(
    room: BucketRoom, archive: BucketArchive, between: Between, code: str
) -> None:
    between.refuses = code
    with pytest.raises(Misconfigured, match=rf"cannot be used: the object store refuses this node \({code}\)"):
        join(room, archive)


def test_nothing_starts_without_its_bucket(room: BucketRoom, between: Between, tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="s3://no-such-bucket cannot be used: there is no such bucket"):
        join(room, away(between, tmp_path, "s3://no-such-bucket"))


def test_without_credentials_nothing_starts(
    room: BucketRoom, between: Between, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(Misconfigured, match="there are no credentials"):
        join(room, away(between, tmp_path))
