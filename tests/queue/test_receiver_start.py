"""How a receiver process begins: who connects to a port that listens already is never turned away for being early.

The process is started as a function here, without associations; real ones are in tests/e2e/test_receivers.py.
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from node import receiving
from node.board import Board
from node.core import settings
from node.dimse.access import Access
from node.folders import Folders


@pytest.fixture
def begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What becomes of the first who connects, the moment that connections are taken."""
    folders, outcomes = Folders(tmp_path), list[object]()
    folders.make()
    folders.write_worker_settings(settings.load())
    access = Access(Board(folders.board, "receiver-1"))
    ended = threading.Event()
    ended.set()
    receiver = SimpleNamespace(
        start=lambda _: outcomes.append(access.enter("first", "SCANNER", "127.0.0.1")),
        stop=lambda _: None,
    )
    monkeypatch.setattr(receiving, "_compose", lambda *_: (receiver, {}))
    monkeypatch.setattr(receiving, "stop_on_sigterm", lambda: ended)
    monkeypatch.setattr(receiving.log, "start", lambda *_, **__: None)
    monkeypatch.setattr(receiving.heap, "has_started", lambda: None)
    monkeypatch.setattr(receiving, "SWITCH_SECONDS", sys.getswitchinterval())
    return outcomes


def _run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parent: int) -> int:
    monkeypatch.setattr(receiving, "bind_to_parent", lambda given: lambda: given != os.getpid())
    return receiving.run_receiver(tmp_path, "receiver-1", parent, {})


def test_the_first_connection_finds_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begun: list[object]
) -> None:
    assert _run(tmp_path, monkeypatch, os.getpid()) == 0
    assert begun == [None]


def test_one_whose_node_died_meanwhile_takes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begun: list[object]
) -> None:
    assert _run(tmp_path, monkeypatch, os.getpid() + 1) == 1
    assert begun == []
