"""A child that is stopped or hangs runs as far as the kernel knows: it does not count as alive, and is replaced.

Children are small programs. Not covered: real receivers (tests/e2e/test_receivers.py has one that is stopped).
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator

import pytest

from node.queue import embedded
from node.queue.embedded import Children
from tests.peers import wait_until

TELLS = "import time; from node.queue import pulse; pulse.BEAT_SECONDS = 0.02; pulse.tell({}); time.sleep(60)"


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(embedded.SUSPECT_SECONDS, "worker", 0.5)
    monkeypatch.setitem(embedded.HANGS_SECONDS, "worker", 2.0)
    monkeypatch.setattr(embedded, "FIRST_PAUSE", 0.0)


@pytest.fixture
def ended() -> list[str]:
    return []


def made(ended: list[str], *command: str) -> Iterator[Children]:
    children = Children("worker", lambda _: command, 1, os.environ, ended.append)
    children.start()
    try:
        yield children
    finally:
        children.stop(5)


@pytest.fixture
def telling(ended: list[str]) -> Iterator[Children]:
    yield from made(ended, sys.executable, "-c", TELLS.format(""))


def tended(children: Children) -> Children:
    children.tend()
    return children


def tells(children: Children) -> bool:
    return tended(children)._children[0].pulse._has_told


def test_one_that_was_stopped_does_not_count_and_is_replaced(telling: Children, ended: list[str]) -> None:
    wait_until(lambda: tells(telling), 20, "it tells that it lives", every=0.02)
    first = telling._children[0].process
    first.send_signal(signal.SIGSTOP)
    wait_until(lambda: tended(telling).alive() == 0, 10, "it does not count", every=0.05)
    assert first.poll() is None and not ended, "it may go on yet"
    wait_until(lambda: tended(telling).deaths() == 1, 20, "it is killed", every=0.05)
    assert first.returncode == -signal.SIGKILL and ended == ["worker-1"], "what it held is let go"
    wait_until(lambda: tells(telling) and telling.alive() == 1, 20, "another has its place", every=0.02)


def test_one_that_goes_on_in_time_stays(telling: Children, ended: list[str]) -> None:
    wait_until(lambda: tells(telling), 20, "it tells that it lives", every=0.02)
    process = telling._children[0].process
    process.send_signal(signal.SIGSTOP)
    wait_until(lambda: tended(telling).alive() == 0, 10, "it does not count", every=0.05)
    process.send_signal(signal.SIGCONT)
    wait_until(lambda: tended(telling).alive() == 1, 10, "it counts again", every=0.02)
    assert telling._children[0].process is process and not ended


def test_silence_is_counted_in_looks(telling: Children, ended: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A supervisor that was itself held up, or a machine that slept, takes nobody for silent."""
    wait_until(lambda: tells(telling), 20, "it tells that it lives", every=0.02)
    process, pulse = telling._children[0].process, telling._children[0].pulse
    process.send_signal(signal.SIGSTOP)
    wait_until(lambda: not pulse._has_come(), 5, "what it told is read", every=0.02)
    pulse._looked_at -= 3600
    assert 0 < pulse.listen() <= 1.0
    process.send_signal(signal.SIGCONT)


@pytest.mark.parametrize("program", ["import time; time.sleep(60)", TELLS.format("lambda: False")])
def test_what_never_told_anything_is_not_silent(ended: list[str], program: str) -> None:
    for children in made(ended, sys.executable, "-c", program):
        child = children._children[0]
        child.pulse._looked_at -= 3600
        assert tended(children).alive() == 1 and child.pulse.silent_seconds == 0 and not ended
