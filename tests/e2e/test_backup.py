"""Backup of a node that receives, restore by serving the copy, and what a node does with a database newer than itself.

Not covered: a power cut in the midst of a backup (that the database takes its name last is seen, not pulled).
"""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from node import cli
from tests.e2e.conftest import QUICK
from tests.films import Film, drawn, encoded, wrap
from tests.pipeline.waiting import Room
from tests.sending import store
from tests.served import LungnodeProcess, lungnode

SMALL = 64  # rows and columns


@contextlib.contextmanager
def opened(data: Path) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(f"file:{data / 'lungnode.sqlite'}?mode=ro", uri=True)) as connection:
        yield connection


def held(data: Path) -> set[str]:
    """SOP Instance UIDs whose file is there with the bytes of receipt; all that the database names must be."""
    with opened(data) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        rows = connection.execute("SELECT sop_uid, sha256, bytes, path FROM instances").fetchall()
    for _, sha256, size, path in rows:
        content = (data / "archive" / path).read_bytes()
        assert hashlib.sha256(content[len(content) - size :]).hexdigest() == sha256
    return {row[0] for row in rows}


def film(number: int) -> Film:
    return Film(drawn(number, SMALL), f"backup {number}")


def test_the_copy_of_a_node_that_receives_is_whole_and_can_be_served(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    films = [film(number) for number in range(12)]
    with LungnodeProcess("--workers", "0", settings=QUICK) as node:
        assert store(node.dicom_port, [encoded(wrap(one)) for one in films[:4]]) == [0x0000] * 4
        rest = [encoded(wrap(one)) for one in films[4:]]
        sender = threading.Thread(target=store, args=(node.dicom_port, rest))
        sender.start()
        assert cli.main(["backup", "--data", str(node.data), "--to", str(copy)]) == 0
        sender.join()
        uids = [one.sop_instance_uid for one in films]
        assert set(uids[:4]) <= held(copy) <= set(uids)
        assert cli.main(["backup", "--data", str(node.data), "--to", str(copy)]) == 0
        assert held(copy) == set(uids)
    assert_restored(copy, films)
    assert cli.main(["backup", "--data", str(copy), "--to", str(copy)]) == 2, "it is a node's own folder now"


def assert_restored(copy: Path, films: list[Film]) -> None:
    """The copy is served as it is; it knows every study, and takes what it has as what it has."""
    with LungnodeProcess("--workers", "0", settings=QUICK, data=copy) as node:
        status = node.status()
        assert all(one.study_uid in status for one in films)
        assert store(node.dicom_port, [encoded(wrap(films[0]))]) == [0x0000]
        assert len(node.rows("SELECT 1 FROM instances")) == len(films)


def test_results_are_copied_once_and_what_is_missing_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, copy = tmp_path / "data", tmp_path / "copy"
    data.mkdir()
    room = Room(data)
    outputs = room.analysed([])
    command = ["backup", "--data", str(data), "--to", str(copy)]
    assert cli.main(command) == 0
    assert f"the database and {len(outputs) + 1} new files" in capsys.readouterr().out
    assert cli.main(command) == 0
    assert "the database and 0 new files" in capsys.readouterr().out
    lost = str(room.rows("SELECT path FROM outputs LIMIT 1")[0]["path"])
    (data / "archive" / lost).unlink()
    assert cli.main(command) == 1
    assert lost in capsys.readouterr().err
    assert (copy / "archive" / lost).exists(), "a backup keeps what it had"
    assert cli.main(["status", "--data", str(copy)]) == 0
    assert [path.name for path in copy.glob("*.new*")] == []
    assert copy.stat().st_mode & 0o077 == 0 and (copy / "lungnode.sqlite").stat().st_mode & 0o077 == 0


def test_a_backup_that_broke_off_does_not_harm_the_next(tmp_path: Path) -> None:
    data, copy = tmp_path / "data", tmp_path / "copy"
    data.mkdir()
    room = Room(data)
    room.receive(film(1))
    (path,) = [str(row["path"]) for row in room.rows("SELECT path FROM instances")]
    (copy / "archive" / path).parent.mkdir(parents=True)
    (copy / "archive" / path).with_suffix(".part").write_bytes(b"half")
    (copy / "archive" / path).write_bytes(b"of another size")
    (copy / "lungnode.sqlite.new").write_bytes(b"half a database")
    assert cli.main(["backup", "--data", str(data), "--to", str(copy)]) == 0
    assert len(held(copy)) == 1


def test_a_newer_database_is_refused_with_a_sentence_and_left_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Room(tmp_path)
    with contextlib.closing(sqlite3.connect(tmp_path / "lungnode.sqlite")) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    said = []
    for command in (["migrate"], ["status"], ["backup", "--to", str(tmp_path / "copy")]):
        assert cli.main([*command, "--data", str(tmp_path)]) == 2
        said.append(capsys.readouterr().err)
    served = lungnode("serve", "--data", tmp_path, "--dicom-port", "0", "--http-port", "0")
    assert served.code == 2 and "Traceback" not in served.text
    assert all("made by a newer version" in one and "serve the backup" in one for one in (*said, served.err))
    with opened(tmp_path) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == ("9999",)
    assert not (tmp_path / "ports.json").exists()
