"""The archive: names, order of syncs, repetition, a full disk. Not covered: a real power cut (tests/e2e)."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from node.archive import Archive
from node.core.errors import OutOfResources

UID = "1.2.826.0.1.3680043.2.1"


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(tmp_path / "archive")


def test_a_file_is_preamble_meta_and_parts(archive: Archive) -> None:
    path = archive.put(UID, b"meta", (b"one", memoryview(b"two")))
    assert archive.path(path).read_bytes() == bytes(128) + b"DICM" + b"metaonetwo"
    digest = hashlib.sha256(UID.encode()).hexdigest()
    assert path.endswith(f"{digest[:2]}/{digest}.dcm")
    assert list((archive.root / "tmp").iterdir()) == []


@given(st.text(max_size=80))
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_text_of_a_peer_becomes_part_of_a_path(archive: Archive, uid: str) -> None:
    uid = uid.encode("utf-8", "replace").decode()
    path = archive.put_bytes("../../" + uid, b"x")
    assert ".." not in path
    assert archive.path(path).resolve().is_relative_to(archive.root.resolve())


def test_the_same_result_again_changes_nothing(archive: Archive) -> None:
    path = archive.put_bytes(UID, b"result")
    before = archive.path(path).stat()
    assert archive.put_bytes(UID, b"result") == path
    assert archive.path(path).stat().st_ino == before.st_ino


def test_a_received_instance_never_takes_the_place_of_a_result(archive: Archive) -> None:
    result, received = archive.put_bytes(UID, b"result"), archive.put(UID, b"", (b"received",))
    assert result != received
    assert archive.path(result).read_bytes() == b"result"


def test_a_written_file_is_adopted(archive: Archive) -> None:
    temporary = archive.new_temporary()
    temporary.write_bytes(b"whole")
    path = archive.adopt(temporary, UID)
    assert archive.path(path).read_bytes() == b"whole"
    assert not temporary.exists()


def test_data_are_synced_before_the_name_and_the_folder_after(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    sync, replace = os.fdatasync, Path.replace
    monkeypatch.setattr(os, "fdatasync", lambda fd: (steps.append("data"), sync(fd)))
    monkeypatch.setattr(os, "fsync", lambda fd: steps.append("folder"))
    monkeypatch.setattr(Path, "replace", lambda self, to: (steps.append("name"), replace(self, to))[1])
    archive.put(UID, b"", (b"x",))
    assert steps[0] == "data"
    assert steps[-2:] in (["folder", "folder"], ["name", "folder"])
    assert steps.index("data") < steps.index("name") < len(steps) - 1


@pytest.mark.parametrize("failing", ["write", "fdatasync"])
def test_a_full_disk_is_transient_and_leaves_nothing(
    archive: Archive, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, failing, full)
    with pytest.raises(OutOfResources):
        archive.put(UID, b"", (b"x",))
    assert [path for path in archive.root.rglob("*") if path.is_file()] == []


def test_what_was_left_half_written_is_discarded(archive: Archive) -> None:
    kept = archive.put(UID, b"", (b"x",))
    archive.new_temporary().write_bytes(b"half")
    assert Archive(archive.root).discard_temporaries() == 1
    assert archive.path(kept).exists()


def test_room_is_what_is_free_above_the_floor(tmp_path: Path) -> None:
    assert Archive(tmp_path).has_room()
    assert not Archive(tmp_path, min_free_bytes=2**60).has_room()
    assert not Archive(tmp_path).has_room(2**60)
