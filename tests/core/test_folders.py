"""A data folder that cannot be used is one sentence and never a traceback; a running node's ports stay."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest

from node.app import Folders, lock
from node.core import settings
from node.core.errors import Misconfigured
from node.core.site import Site


def test_a_folder_without_the_right_to_write_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a stand-in for the question: the tests may run as root, who may write everywhere."""
    folders = Folders(tmp_path / "data")
    folders.make()
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != folders.archive)
    with pytest.raises(Misconfigured, match="no right to write archive"):
        folders.make()


@pytest.mark.parametrize("name", ["selection", "settings", "a.b"])
def test_rules_of_a_site_are_kept_beside_those_of_the_node(tmp_path: Path, name: str) -> None:
    """Whatever the site is called."""
    own, of_site = tmp_path / "own.toml", tmp_path / "site.toml"
    own.write_text("own"), of_site.write_text("of the site")
    effective = settings.load(flags={("analysis", "selection"): str(own)})
    site = Site(aets=("SITE",), selection=str(of_site))
    folders = Folders(tmp_path / "data")
    folders.make()
    folders.write_worker_settings(dataclasses.replace(effective, sites={name: site}))
    read = folders.read_worker_settings()
    assert Path(read.analysis.selection).read_text() == "own"
    assert Path(read.sites[name].selection or "").read_text() == "of the site"


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
