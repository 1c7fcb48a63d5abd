"""What of new settings holds while a node runs, for every setting there is; and the file that says what became of it.

Not covered: that processes take it up (tests/e2e/test_reload.py).
"""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from node.composition import reloading
from node.composition.reloading import Reload
from node.core import settings
from node.core.errors import Misconfigured
from node.core.reload import KEYS, WHOLE, changed, merged, waits
from node.core.settings import Settings
from node.folders import Folders


def other(value: Any) -> object:
    """Of the same type, and not the same."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, float)):
        return value + 1
    return (*value, "MORE") if isinstance(value, tuple) else f"{value}x" if value else "http://a"


@pytest.mark.parametrize(
    "section, key",
    [
        (section.name, key.name)
        for section in dataclasses.fields(Settings)
        if dataclasses.is_dataclass(getattr(settings.load(), section.name))
        for key in dataclasses.fields(getattr(settings.load(), section.name))
    ],
)
def test_every_setting_holds_at_once_or_waits_and_is_named(section: str, key: str) -> None:
    """Values that cannot be are refused whole."""
    usual = settings.load()
    table = getattr(usual, section)
    wanted = dataclasses.replace(usual, **{section: dataclasses.replace(table, **{key: other(getattr(table, key))})})
    assert changed(usual, wanted) == [f"{section}.{key}"]
    try:
        held, waiting = merged(usual, wanted)
    except Misconfigured:
        assert not waits(section, key)
        return
    assert (held, waiting) == ((usual, [f"{section}.{key}"]) if waits(section, key) else (wanted, []))


def test_the_table_names_settings_that_exist() -> None:
    tree = settings.as_tree(settings.load())
    assert set(tree) >= WHOLE
    assert all(key in tree[section] for section, keys in KEYS.items() for key in keys)


def test_peers_and_sites_come_and_go(tmp_path: Path) -> None:
    usual, file = settings.load(), tmp_path / "node.toml"
    file.write_text('[sites.a]\naets = ["A"]\n[destinations."P@h:104"]\nkinds = ["page"]\n[access."S"]\n')
    wanted = settings.load(file)
    assert changed(usual, wanted) == ["destinations.P@h:104", "access.S", "sites.a"]
    assert merged(usual, wanted) == (wanted, []) and merged(wanted, usual) == (usual, [])


def test_what_holds_and_what_is_new_must_go_together(tmp_path: Path) -> None:
    """The AE title of the node waits, so a site cannot have the old one yet."""
    file = tmp_path / "node.toml"
    file.write_text('[node]\naet = "OTHER"\n[sites.a]\naets = ["LUNGNODE"]\n')
    with pytest.raises(Misconfigured, match="that of the node itself"):
        merged(settings.load(), settings.load(file))


def test_what_became_of_a_reload_is_kept_and_said(tmp_path: Path) -> None:
    folders = Folders(tmp_path)
    folders.make()
    assert reloading.last(tmp_path) is None
    at = datetime(2024, 1, 2, tzinfo=UTC)
    for one, said in (
        (Reload(at, refused="It is bad."), "The new settings were refused, and the old ones hold: It is bad."),
        (Reload(at, changed=("a.b",), waiting=("c.d",)), "Changed: a.b. From the next start on: c.d."),
        (Reload(at), "Nothing that can change now has changed."),
    ):
        reloading.write(folders, one)
        assert reloading.last(tmp_path) == one and one.sentence() == said


def test_workers_begin_anew_where_what_they_hold_has_changed() -> None:
    for name, concerned in (("receive.min_free_bytes", True), ("analysis.systems", True), ("receive.dimse", False)):
        assert reloading.concerns_workers([name]) is concerned
        assert reloading.concerns_receivers([name]) is (name != "analysis.systems")
