"""A reload that meets something else: a second one, a database that fails, a node that is still starting.

Children are ``sleep``; the supervisor is one that was not started. Not covered: reloads with real receivers and workers
(tests/e2e/test_reload.py).
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from node import app
from node.app import Supervisor, serve
from node.composition.reloading import last
from node.core import log, settings
from node.core.errors import Misconfigured
from node.db import schema
from node.folders import Folders
from node.queue.embedded import Children
from node.queue.worker import RETIRE, retire_when_told, stop_on_sigterm
from tests.peers import wait_until

LOCKED = OperationalError("UPDATE", None, Exception("database is locked"))
FREE_PORTS = {("node", "dicom_port"): 0, ("node", "http_port"): 0}
OTHER = settings.load(flags={**FREE_PORTS, ("analysis", "systems"): ["cxnet"]})


def test_two_reloads_at_once_leave_nobody_of_old(tmp_path: Path) -> None:
    """Whichever of the new ones is ready first."""
    ready, ended = {"receiver-1"}, list[str]()
    children = Children(
        "receiver", lambda _: ["sleep", "60"], 1, os.environ, ended.append, is_ready=lambda name: name in ready
    )
    children.start()
    children.renew()
    children.renew()
    ready.symmetric_difference_update({"receiver-1", "receiver-3"})

    def only_the_newest() -> bool:
        children.tend()
        return sorted(ended) == ["receiver-1", "receiver-2"]

    try:
        wait_until(only_the_newest, 10, "the old ones end")
        assert not children.is_renewing and children.alive() == 1 and not children.deaths()
    finally:
        children.stop(5)


@pytest.fixture
def signals() -> Iterator[None]:
    """What this process does about signals is as before afterwards."""
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, RETIRE)
    known = {number: signal.getsignal(number) for number in numbers}
    yield
    for number, handler in known.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("signals")
def test_a_hangup_of_all_processes_ends_and_retires_none() -> None:
    """A terminal, or systemctl kill, sends it to children too."""
    stop, retire = stop_on_sigterm(), retire_when_told()
    os.kill(os.getpid(), signal.SIGHUP)
    assert not stop.is_set() and not retire.is_set()
    os.kill(os.getpid(), RETIRE)
    assert retire.wait(5) and not stop.is_set()


@pytest.fixture
def asked() -> threading.Event:
    return threading.Event()


@pytest.fixture
def supervisor(tmp_path: Path, asked: threading.Event) -> Iterator[Supervisor]:
    folders = Folders(tmp_path)
    folders.make()
    effective = settings.load(flags=FREE_PORTS)
    folders.write_worker_settings(effective)
    made = Supervisor(effective, folders, lambda: OTHER, asked)
    schema.migrate(made._database.engine)
    yield made
    for door in made._doors.values():
        door.close()
    made._database.close()


def test_a_reload_that_the_database_breaks_off_changes_nothing(
    supervisor: Supervisor, asked: threading.Event, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = supervisor._following

    def fails() -> Any:
        raise LOCKED

    with monkeypatch.context() as patch:
        patch.setattr(supervisor._database, "write", fails)
        asked.set()
        supervisor.tend()
        assert supervisor._following is before
        assert Folders(tmp_path).read_worker_settings() == before.settings
        supervisor.tend()
    said = last(tmp_path)
    assert said is not None and said.refused == "the database cannot be written"
    asked.set()
    supervisor.tend()
    assert supervisor._following.settings == OTHER == Folders(tmp_path).read_worker_settings()
    said = last(tmp_path)
    assert said is not None and said.changed == ("analysis.systems",)


@pytest.mark.usefixtures("signals")
def test_a_reload_of_a_node_that_is_still_starting_does_not_end_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the moment on that its lock tells whom to ask."""

    def asks(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGHUP)
        raise Misconfigured("seen")

    monkeypatch.setattr(app, "Supervisor", asks)
    monkeypatch.setattr(log, "start", lambda *_, **__: None)
    signal.signal(signal.SIGHUP, lambda *_: pytest.fail("nobody was there for it"))
    with pytest.raises(Misconfigured, match="seen"):
        serve(OTHER, tmp_path)
