"""A bucket and a database that do not belong together cost nobody an image: a database that moved, was copied, restored
or begun twice removes nothing that another acknowledged, and no start or command goes on in another archive.

Nodes are stood for by what they do at a start and in their hourly turn. Not covered: a copy of a database that takes
over from a node which is down for a week and then goes on.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from node.archive import Archive
from node.archive.bucket import SETTLED, BucketArchive
from node.archive.objects import ObjectStore
from node.commands.pulling import pull
from node.composition.archiving import archive_of
from node.composition.sharing import share
from node.core.errors import Misconfigured
from node.core.settings import load
from node.db import members
from node.db.session import Database, sqlite_url
from node.folders import Folders
from node.pipeline import strays
from node.pipeline.tenure import Tenure
from tests.archive.test_archive import received
from tests.archive.test_bucket import FILM, BucketRoom, bucket, join, path_of, ran_with
from tests.archive.test_bucket import archive as archive
from tests.archive.test_bucket import between as between
from tests.archive.test_bucket import moto as moto
from tests.archive.test_bucket import passing as passing
from tests.archive.test_bucket import prefix as prefix
from tests.archive.test_bucket import room as room
from tests.archive.test_bucket import whole as whole
from tests.films import CR, Film, drawn
from tests.object_store import Between, Moto
from tests.pipeline.waiting import Room

LATER = Film(drawn(4, 64), "came after the copy", "later", sop_class=CR)


def cleared(database: Database, archive: BucketArchive, tenure: Tenure) -> int:
    """By the hourly turn."""
    return strays.clear_bucket(database, archive, tenure.hold)


@pytest.fixture
def live(room: BucketRoom, archive: BucketArchive) -> Tenure:
    """Of a node that runs and has one image."""
    room.receive(FILM)
    join(room, archive)
    tenure = Tenure(room.database, archive)
    assert tenure.hold()
    return tenure


def copied(room: BucketRoom, to: Path) -> Database:
    """As ``lungnode backup`` leaves it."""
    to.mkdir()
    with room.database.write():  # nobody writes meanwhile
        shutil.copy(str(room.database.file), to / "lungnode.sqlite")
        for file in Path(str(room.database.file)).parent.glob("lungnode.sqlite-wal"):
            shutil.copy(file, to / file.name)
    return Database(sqlite_url(to))


# Moves


def test_the_cache_is_never_the_folder_of_an_archive(between: Between, prefix: str, tmp_path: Path) -> None:
    flags = {("archive", "url"): f"s3://images/{prefix}", ("archive", "endpoint"): between.endpoint}
    folders = Folders(tmp_path)
    root = archive_of(load(flags=flags), folders).root
    assert not root.is_relative_to(folders.archive) and not folders.archive.is_relative_to(root)


def test_a_bucket_is_not_begun_before_what_the_folder_had_was_copied(
    archive: BucketArchive, moto: Moto, prefix: str, tmp_path: Path
) -> None:
    room = Room(tmp_path)
    room.receive(FILM)
    file = room.archive.path(path_of(room))
    for _ in range(2):
        with pytest.raises(Misconfigured, match=r"1 of 1 files that the database names are not in it\..*copy"):
            join(room, archive)
    assert archive.mark() == "" and file.exists()
    moto.client.put_object(Bucket=moto.bucket, Key=f"{prefix}/{path_of(room)}", Body=file.read_bytes())
    join(room, archive)
    assert archive.identity() and archive.path(path_of(room)).read_bytes() == file.read_bytes()


def test_an_identity_that_was_written_by_hand_does_not_make_a_bucket_whole(
    archive: BucketArchive, tmp_path: Path
) -> None:
    """As a node on PostgreSQL with a folder asks for in its refusal."""
    room = Room(tmp_path)
    room.receive(FILM)
    with room.database.write() as session:
        known = members.common(session, "archive", "identity")
    archive.remark(known)
    with pytest.raises(Misconfigured, match="1 of 1 files") as refused:
        join(room, archive)
    assert f"'{known} incomplete'" in str(refused.value)
    archive.remark(f"{known} incomplete")
    join(room, archive)
    assert Tenure(room.database, archive).hold()


def test_lost_files_keep_nobody_from_a_bucket_for_ever(archive: BucketArchive, tmp_path: Path) -> None:
    room = Room(tmp_path)
    room.receive(FILM)
    with pytest.raises(Misconfigured) as refused:
        join(room, archive)
    archive.remark(str(refused.value).split("'")[1])
    join(room, archive)
    assert Tenure(room.database, archive).hold()


def test_an_empty_database_takes_no_bucket_that_holds_files(archive: BucketArchive, tmp_path: Path) -> None:
    received(archive, b"x")
    with pytest.raises(Misconfigured, match="holds 1 files and the database names none"):
        join(Room(tmp_path), archive)


# Copies


def test_a_copy_of_the_database_that_is_older_removes_nothing_and_disturbs_nobody(
    room: BucketRoom, archive: BucketArchive, live: Tenure, tmp_path: Path
) -> None:
    copy = copied(room, tmp_path / "copy")
    assert cleared(room.database, archive, live) == 0
    room.receive(LATER)
    trial = Tenure(copy, archive)
    for _ in range(2):
        assert cleared(copy, archive, trial) == 0 and "nothing is cleared away" in trial.problem
        assert live.hold() and not live.problem
    assert archive.holds(path_of(room, LATER), "")


def test_a_copy_that_takes_over_is_found_out_and_then_neither_removes_anything(
    room: BucketRoom, archive: BucketArchive, live: Tenure, tmp_path: Path
) -> None:
    copy = copied(room, tmp_path / "copy")
    trial = Tenure(copy, archive)
    assert trial.hold(), "nothing is known yet that tells them apart"
    room.receive(LATER)
    assert not live.hold() and live.problem
    for database, tenure in ((copy, trial), (room.database, live)) * 2:
        assert cleared(database, archive, tenure) == 0 and tenure.problem
    assert archive.holds(path_of(room, LATER), "")
    archive.remark(archive.identity())  # as the sentence says, once the other one is gone
    stray = received(archive, b"x")
    assert cleared(room.database, archive, live) == 1 and not archive.holds(stray, "") and not live.problem
    assert archive.holds(path_of(room, LATER), "")


def test_what_came_since_a_copy_is_too_young_to_go_while_it_is_not_found_out(
    room: BucketRoom, archive: BucketArchive, live: Tenure, whole: ObjectStore, prefix: str, tmp_path: Path
) -> None:
    copy = copied(room, tmp_path / "copy")
    careful = bucket(whole, prefix, tmp_path / "third", SETTLED)
    room.receive(LATER)
    assert cleared(copy, careful, Tenure(copy, careful)) == 0
    assert archive.holds(path_of(room, LATER), "")


def test_a_kill_between_database_and_bucket_ends_no_tenure(
    room: BucketRoom, archive: BucketArchive, live: Tenure, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(mark: str) -> None:
        raise KeyboardInterrupt

    for _ in range(3):
        with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
            patched.setattr(archive, "remark", killed)
            Tenure(room.database, archive).hold()
    assert live.hold() and Tenure(room.database, archive).hold() and not live.problem


# Starts and commands


def test_nothing_goes_on_in_a_folder_where_the_database_knows_a_bucket(room: BucketRoom, live: Tenure) -> None:
    folder = Archive(Path(str(room.database.file)).parent / "archive")
    for is_alone in (True, False):
        with pytest.raises(Misconfigured, match=r"is not that of the database.*archive\.url"):
            share(room.database, folder, is_alone)
    assert folder.identity() == ""


def test_a_pull_without_the_bucket_is_refused(
    room: BucketRoom, live: Tenure, between: Between, prefix: str, tmp_path: Path
) -> None:
    ran_with(tmp_path, between.endpoint, prefix)
    settings = tmp_path / "other.toml"
    settings.write_text("[node]\naet = 'OTHER'\n")
    with pytest.raises(Misconfigured, match="is not that of the database"):
        pull(tmp_path, settings, "PACS@127.0.0.1:1", ["1.2.3"], {}, "get")


def test_a_kill_between_the_two_writes_of_the_identity_is_made_up_for(
    room: BucketRoom, archive: BucketArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(identity: str) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(archive, "identify", killed)
        join(room, archive)
    with pytest.raises(Misconfigured, match="is not that of the database"):
        share(room.database, archive, is_alone=False)
    join(room, archive)
    with room.database.read() as session:
        assert archive.identity() == members.common(session, "archive") != ""


@pytest.mark.parametrize("knows_conditions", [True, False])
def test_of_two_databases_that_begin_at_once_one_gets_the_bucket(
    room: BucketRoom, archive: BucketArchive, between: Between, tmp_path: Path, knows_conditions: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """The other one writes just before the first does; where the store knows no condition, just after."""
    put_first = archive._store.put_first

    def late(name: str, content: bytes) -> None:
        if knows_conditions:
            archive.remark("of-another")
            put_first(name, content)
        else:
            put_first(name, content)
            archive.remark("of-another")

    monkeypatch.setattr(archive._store, "put_first", late)
    with pytest.raises(Misconfigured, match="is that of another database"):
        join(room, archive)
    assert archive.identity() == "of-another"


def test_a_member_that_is_alone_begins_again_only_where_no_file_is_known(
    room: BucketRoom, archive: BucketArchive, moto: Moto, prefix: str
) -> None:
    room.receive(FILM)
    join(room, archive)
    moto.remove(f"{prefix}/archive-id")
    join(room, archive)
    moto.remove(f"{prefix}/archive-id")
    moto.remove(f"{prefix}/{path_of(room)}")
    with pytest.raises(Misconfigured, match="1 of 1 files"):
        join(room, archive)
