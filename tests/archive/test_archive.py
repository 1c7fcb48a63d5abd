"""The archive: names, order of syncs, repetition, a full disk. Not covered: a real power cut (tests/e2e)."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from node.archive import PREAMBLE, Archive
from node.core.errors import OutOfResources
from node.incoming import BLOCK, CHUNK, Incoming

UID = "1.2.826.0.1.3680043.2.1"


def received(archive: Archive, *parts: bytes, uid: str = UID, meta: bytes = b"meta") -> str:
    incoming = archive.incoming(meta)
    try:
        for part in parts:
            fill(incoming, part)
        incoming.finish()
        return archive.keep(incoming, uid)
    except BaseException:
        archive.drop(incoming)
        raise


def fill(incoming: Incoming, content: bytes) -> None:
    while content:
        room = incoming.room(len(content))
        room[:] = content[: len(room)]
        incoming.took(len(room))
        content = content[len(room) :]


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(tmp_path / "archive")


def test_a_file_is_preamble_meta_and_parts(archive: Archive) -> None:
    path = received(archive, b"one", b"two")
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
    result, other = archive.put_bytes(UID, b"result"), received(archive, b"received", meta=b"")
    assert result != other
    assert archive.path(result).read_bytes() == b"result"


@pytest.mark.parametrize("direct", [True, False])
@pytest.mark.parametrize("more", [-1, 0, 1, BLOCK, CHUNK, 2 * CHUNK + 5])
def test_a_file_of_any_size_is_what_was_received(more: int, direct: bool, tmp_path: Path) -> None:
    """Around the size of a chunk, with and without the page cache; digest, size and the whole as read back."""
    archive = Archive(tmp_path)
    archive._direct = direct and archive._direct
    content = np.random.default_rng(more + 1).bytes(CHUNK - len(PREAMBLE) - 4 + more)
    incoming = archive.incoming(b"meta")
    fill(incoming, content)
    incoming.finish()
    assert incoming.whole(bytes) == content
    assert (incoming.digest(), incoming.received) == (hashlib.sha256(content).hexdigest(), len(content))
    path = archive.path(archive.keep(incoming, UID))
    assert path.read_bytes() == bytes(128) + b"DICMmeta" + content


def test_what_is_dropped_leaves_nothing_and_its_memory_serves_again(archive: Archive) -> None:
    incoming = archive.incoming(b"meta")
    fill(incoming, bytes(3 * CHUNK))
    archive.drop(incoming)
    assert [path for path in archive.root.rglob("*") if path.is_file()] == []
    assert archive.path(received(archive, b"next")).read_bytes().endswith(b"DICMmetanext")


def test_the_name_comes_before_both_are_synced(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    """File and folder are durable before ``keep`` returns; one commit of the file system serves both."""
    received(archive, b"so that its folders are known")
    steps: list[str] = []
    sync, replace = os.fsync, Path.replace
    kind = {True: "folder", False: "data"}
    monkeypatch.setattr(os, "fsync", lambda fd: (steps.append(kind[stat.S_ISDIR(os.fstat(fd).st_mode)]), sync(fd)))
    monkeypatch.setattr(Path, "replace", lambda self, to: (steps.append("name"), replace(self, to))[1])
    received(archive, b"x")
    assert steps == ["name", "data", "folder"]


@pytest.mark.parametrize("failing", ["pwrite", "fsync"])
def test_a_full_disk_is_transient_and_leaves_nothing(
    archive: Archive, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, failing, full)
    with pytest.raises(OutOfResources):
        received(archive, bytes(2 * CHUNK))
    assert [path for path in archive.root.rglob("*") if path.is_file()] == []


def test_what_was_left_half_written_is_discarded(archive: Archive) -> None:
    kept = received(archive, b"x")
    archive.new_temporary().write_bytes(b"half")
    assert Archive(archive.root).discard_temporaries() == 1
    assert archive.path(kept).exists()


def test_what_another_process_receives_into_is_not(archive: Archive) -> None:
    """A pull goes on while the node starts. Here the other process is another archive on the same folder."""
    incoming = archive.incoming(b"")
    assert Archive(archive.root).discard_temporaries() == 0
    incoming.finish()
    kept = archive.keep(incoming, "1.2.3")
    assert archive.path(kept).is_file()
    dropped = archive.incoming(b"")
    archive.drop(dropped)
    assert Archive(archive.root).discard_temporaries() == 0


def test_room_is_what_is_free_above_the_floor(tmp_path: Path) -> None:
    assert Archive(tmp_path).has_room()
    assert not Archive(tmp_path, min_free_bytes=2**60).has_room()
    assert not Archive(tmp_path).has_room(2**60)
