"""A data folder that cannot be used is one sentence and never a traceback; a running node's ports stay."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from node.app import Folders, lock
from node.core.errors import Misconfigured


def test_a_folder_without_the_right_to_write_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a stand-in for the question: the tests may run as root, who may write everywhere."""
    folders = Folders(tmp_path / "data")
    folders.make()
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != folders.archive)
    with pytest.raises(Misconfigured, match="no right to write archive"):
        folders.make()


def test_a_lock_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    folders = Folders(tmp_path / "data")
    folders.make()
    (folders.run / "lock").mkdir()
    with pytest.raises(Misconfigured, match="cannot use the data folder"):
        lock(folders)


def test_ports_of_a_stopped_node_go_and_those_of_a_running_one_stay(tmp_path: Path) -> None:
    folders = Folders(tmp_path / "data")
    folders.make()
    folders.ports.write_text("{}")
    with lock(folders):
        assert not folders.ports.exists()
        folders.ports.write_text("{}")
        folders.make()
        with pytest.raises(Misconfigured, match="another node runs"):
            lock(folders)
        assert folders.ports.exists()
