"""A lock that another process keeps, stopped perhaps: whoever waits is told so; object, board and node go on without.

Processes are stood for by further descriptors, which flock treats alike; a stopped one is in tests/db/test_turns.py.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from node import board
from node.archive import folder as archive
from node.board import Board
from node.core.errors import OutOfResources
from node.dimse.access import CONGESTED, Access
from node.pipeline import strays
from tests.films import CR, Film, drawn
from tests.pipeline.waiting import Room

FILM = Film(drawn(1, 64), "held", "study", sop_class=CR)


@contextmanager
def kept(path: Path) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (archive, board):
        monkeypatch.setattr(module, "LONGEST_SECONDS", 0.1)


def test_an_object_whose_folder_is_kept_comes_later(tmp_path: Path) -> None:
    room = Room(tmp_path)
    folder = Path(archive.name_of(FILM.sop_instance_uid, archive.RECEIVED)).parent
    room.archive.prepare()
    with kept(room.archive.root / folder), pytest.raises(OutOfResources, match="another process"):
        room.receive(FILM)
    assert room.archive.files() == set() and not room.rows("SELECT 1 FROM instances")
    room.receive(FILM)
    assert len(room.archive.files()) == 1


def test_a_node_starts_and_clears_the_other_folders(tmp_path: Path) -> None:
    room = Room(tmp_path)
    one, two = (room.archive.path(room.archive.put_bytes(uid, b"STRAY")) for uid in ("1.2.3", "1.2.4"))
    assert one.parent != two.parent
    with kept(one.parent):
        assert strays.clear(room.database, room.archive) == 1
    assert one.exists() and not two.exists()
    assert strays.clear(room.database, room.archive) == 1


def test_an_association_whose_board_is_kept_comes_later(tmp_path: Path) -> None:
    made = Board(tmp_path, "receiver-1")
    made.serve()
    access = Access(made)
    with kept(tmp_path / "lock"):
        assert access.enter("first", "SCANNER", "127.0.0.1") == CONGESTED
    assert access.enter("second", "SCANNER", "127.0.0.1") is None
