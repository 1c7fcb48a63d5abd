"""Duties have their turns whatever the clock of day does.

Not covered: the node as a process (tests/faults/test_disks.py), and what the duties themselves make of a wrong time
(tests/db/test_clock.py).
"""

from __future__ import annotations

import datetime as real
import time
from collections.abc import Iterator

import pytest
from apscheduler.schedulers import base

from node.queue import embedded
from node.queue.embedded import Duties
from tests.peers import wait_until

EVERY = 0.05


class Clock(real.datetime):
    """The clock of day, set forward or back by ``step``."""

    step = real.timedelta()

    @classmethod
    def now(cls, tz: real.tzinfo | None = None) -> real.datetime:  # type: ignore[override]
        return real.datetime.now(tz) + cls.step


@pytest.fixture
def turns(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """When a duty had its turns, with somebody who has the duties follow the clock."""
    monkeypatch.setattr(Clock, "step", real.timedelta())
    monkeypatch.setattr(base, "datetime", Clock)
    monkeypatch.setattr(embedded, "datetime", Clock)
    duties, found = Duties(), list[float]()
    duties.add("count", lambda: found.append(time.monotonic()), EVERY)
    duties.start()

    class Following(list[float]):
        def __len__(self) -> int:
            duties.follow_clock()
            return len(found)

    try:
        yield Following()
    finally:
        duties.stop()


@pytest.mark.parametrize("days", [-400, -1, 1, 400, 20000])
def test_turns_go_on(turns: list[float], days: int) -> None:
    """Forward too: an ordinary interval would reckon every turn of the years between."""
    wait_until(lambda: len(turns) > 2, 10, "turns")
    Clock.step = real.timedelta(days=days)
    before = len(turns)
    wait_until(lambda: len(turns) > before + 3, 10, "turns after the step")
    assert len(turns) < before + 100


def test_a_duty_that_fails_in_the_same_way_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    duties, problems = Duties(), iter(["one", "one", "other", "other", "one"])
    ended = list[str]()

    def fail() -> None:
        problem = next(problems, "")
        ended.append(problem)
        if problem:
            raise OSError(problem)

    duties.add("breaks", fail, 0.01)
    duties.start()
    wait_until(lambda: "" in ended, 10, "it has had its turns")
    duties.stop()
    failures = [record for record in caplog.records if record.message == "duty.failed"]
    assert [str(record.exc_info[1]) for record in failures if record.exc_info] == ["one", "other", "one"]
