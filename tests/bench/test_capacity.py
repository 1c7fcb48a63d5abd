"""The model of the queue against what is known of queues: closed forms, and what no order of service can change.

Not covered: that a node behaves like it, which ``python -m tests.bench.capacity_page`` measures.
"""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bench.capacity import Arrival, Limits, Load, percentile, serve, workers_for

ARRIVALS = st.lists(
    st.builds(Arrival, st.sampled_from(["film", "ct"]), st.floats(0, 1000), st.floats(0.01, 50)),
    min_size=1,
    max_size=60,
)


def poisson(count: int, rate: float, service: float, *, exponential: bool, seed: int = 1) -> list[Arrival]:
    chance, at, found = random.Random(seed), 0.0, []
    for _ in range(count):
        at += chance.expovariate(rate)
        found.append(Arrival("film", at, chance.expovariate(1 / service) if exponential else service))
    return found


def mean_wait(arrivals: list[Arrival], workers: int) -> float:
    served = serve(arrivals, workers)
    return sum(one.waited for one in served) / len(served)


@pytest.mark.parametrize("busy", [0.5, 0.8])
def test_one_worker_with_a_fixed_cost_waits_as_pollaczek_and_khinchine_say(busy: float) -> None:
    known = busy / (2 * (1 - busy))  # M/D/1, in services
    found = mean_wait(poisson(60_000, busy, 1.0, exponential=False), 1)
    assert found == pytest.approx(known, rel=0.08)


@pytest.mark.parametrize(("workers", "busy"), [(2, 0.6), (5, 0.6)])
def test_several_workers_wait_as_erlang_says(workers: int, busy: float) -> None:
    offered = workers * busy
    last = offered**workers / math.factorial(workers) / (1 - busy)
    must_wait = last / (sum(offered**k / math.factorial(k) for k in range(workers)) + last)  # Erlang C
    found = mean_wait(poisson(60_000, offered, 1.0, exponential=True), workers)
    assert found == pytest.approx(must_wait / (workers * (1 - busy)), rel=0.08)


@given(ARRIVALS, st.integers(1, 4))
def test_every_study_is_served_once_and_no_worker_rests_while_one_waits(arrivals: list[Arrival], workers: int) -> None:
    served = serve(arrivals, workers)
    assert sorted(map(id, arrivals)) == sorted(id(one.arrival) for one in served)
    assert all(one.waited >= 0 for one in served)
    for one in served:
        at = one.began
        busy = sum(other.began <= at < other.began + other.arrival.service for other in served)
        assert busy <= workers
        if one.waited > 0:  # it began because a worker became free at that moment
            assert any(other.began + other.arrival.service == at for other in served)


def test_a_film_passes_the_cts_of_the_last_five_minutes_and_no_others() -> None:
    first = Arrival("film", 0, 400)
    old, new, film = Arrival("ct", 10, 1), Arrival("ct", 50, 1), Arrival("film", 320, 1)
    order = [one.arrival for one in serve([first, old, new, film], 1)]
    assert order == [first, old, film, new]


def test_the_fewest_workers_are_found() -> None:
    load = Load({"film": 3600.0, "ct": 360.0}, {"film": [1.0], "ct": [10.0]})
    limits = Limits({"film": 5.0, "ct": 60.0}, {"film": 1.0, "ct": 1.0})
    workers, found = workers_for(load, limits, 5)
    assert workers > load.workers_busy == 2.0 and limits.kept(found)
    assert found["film"] <= 5.0 and workers <= 5
    with pytest.raises(ValueError, match="alone takes longer"):
        workers_for(load, Limits({"film": 1.5}, {"film": 1.0}), 1)


def test_a_percentile_is_one_of_the_values() -> None:
    assert percentile([3.0, 1.0, 2.0], 0.5) == 2.0 and percentile(range(1, 101), 0.95) == 95
