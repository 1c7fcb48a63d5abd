"""What goes from the cache of a bucket: the least recently used first, down to the bound, never what is in use.

Not covered: a process that is stopped in the middle of making room.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from node.archive.cache import SPARED_SECONDS, Cache

NOW = 2_000_000_000.0
OLD = NOW - 10 * SPARED_SECONDS


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for folder in ("tmp", "received/aa", "results/bb"):
        (tmp_path / folder).mkdir(parents=True)
    return tmp_path


def cache(root: Path, bound: int) -> Cache:
    return Cache((root / "received", root / "results"), root / "tmp", bound, lambda: NOW)


def file(root: Path, name: str, size: int, used: float) -> Path:
    path = root / name
    path.write_bytes(bytes(size))
    os.utime(path, (used, used))
    return path


@given(
    st.lists(st.tuples(st.integers(0, 50), st.floats(0, 20 * SPARED_SECONDS)), max_size=20),
    st.integers(1, 400),
)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_rest_is_below_the_bound_or_in_use_and_no_younger_file_went(
    root: Path, files: list[tuple[int, float]], bound: int
) -> None:
    for left in root.glob("re*/*/*"):
        left.unlink()
    made = {file(root, f"received/aa/{n}.dcm", size, NOW - age): (size, age) for n, (size, age) in enumerate(files)}
    cache(root, bound).added(0)
    stays = [made[path] for path in made if path.exists()]
    gone = [made[path] for path in made if not path.exists()]
    assert all(age >= SPARED_SECONDS for _, age in gone)
    total = sum(size for size, _ in stays)
    assert total <= bound or all(age <= SPARED_SECONDS for _, age in stays)
    assert not gone or sum(size for size, _ in files) > bound, "nothing goes without need"
    assert not gone or max(age for _, age in stays or [(0, 0.0)]) <= min(age for _, age in gone) + 1e-3


def test_all_shelves_count(root: Path) -> None:
    first, second = file(root, "received/aa/1.dcm", 60, OLD), file(root, "results/bb/2.dcm", 60, OLD + 1)
    cache(root, 100).added(1)
    assert not first.exists() and second.exists()


def test_nobody_looks_again_before_a_part_of_the_bound_was_added(root: Path) -> None:
    kept = cache(root, 3200)
    kept.added(0)
    old = file(root, "received/aa/1.dcm", 4000, OLD)
    kept.added(99)
    assert old.exists()
    kept.added(1)
    assert not old.exists()


def test_what_was_used_stays(root: Path) -> None:
    old = file(root, "received/aa/1.dcm", 200, OLD)
    kept = Cache((root / "received",), root / "tmp", 100)
    assert kept.use(old)
    kept.added(0)
    assert old.exists()
    assert not kept.use(root / "received/aa/none.dcm")


def test_what_a_long_analysis_uses_stays_and_what_a_dead_one_used_goes(root: Path) -> None:
    old = file(root, "received/aa/1.dcm", 200, OLD)
    (root / "tmp" / "dead.use").touch()
    os.utime(root / "tmp" / "dead.use", (OLD - 1, OLD - 1))
    kept = cache(root, 100)
    with kept.reading():
        (mark,) = [mark for mark in (root / "tmp").iterdir() if mark.name != "dead.use"]
        os.utime(mark, (OLD - 1, OLD - 1))
        kept.added(0)
        assert old.exists()
    kept.added(100)
    assert not old.exists() and list((root / "tmp").iterdir()) == []


def test_a_full_disk_takes_more_than_the_bound_asks(root: Path) -> None:
    first, second = file(root, "received/aa/1.dcm", 60, OLD), file(root, "received/aa/2.dcm", 60, OLD + 1)
    kept = cache(root, 10_000)
    kept.give_way(50)
    assert not first.exists() and second.exists()
    kept.give_way(50)
    assert second.exists(), "not at every object that comes"


def test_who_asks_while_room_is_made_waits_for_it(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept, begun, go_on = cache(root, 10_000), threading.Event(), threading.Event()
    done: list[str] = []

    def trim(_: object) -> None:
        begun.set()
        go_on.wait(10)
        done.append("trim")

    def second() -> None:
        kept.give_way(1)
        done.append("second")

    monkeypatch.setattr(kept, "_trim", trim)
    threads = [threading.Thread(target=kept.give_way, args=(1,)), threading.Thread(target=second)]
    threads[0].start()
    begun.wait(10)
    threads[1].start()
    threads[1].join(0.1)
    assert done == []
    go_on.set()
    for thread in threads:
        thread.join(10)
    assert done == ["trim", "second"]
