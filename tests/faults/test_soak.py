"""The soak (tests/faults/soak.py) in short: the database, a receiver and a worker of a small cluster are killed while
studies come, and every promise of the long run holds.

Not covered: whole nodes that are killed (tests/cluster/test_cluster.py), kills by the hundred (test_kills.py), and
memory over a long time: ``make soak``.
"""

from __future__ import annotations

import random

import pytest

from tests.faults import soak
from tests.faults.soak import Order, planned

KINDS = ["database", "receiver node", "receiver process", "worker node", "worker process"]


@pytest.mark.timeout(600)
def test_nothing_is_lost_or_doubled_while_processes_and_database_are_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = ["database", "receiver process", "worker process"]
    monkeypatch.setattr(soak, "PROMISES", tuple(one for one in soak.PROMISES if one is not soak.memory_stays))
    ran, broken = soak.soaked(Order(studies=40, kills=len(kinds), seed=7, kinds=tuple(kinds), witnesses=False))
    assert not broken, broken
    assert set(ran.hit) == set(kinds) and len(ran.modality.acknowledged) == 40


def test_a_plan_has_every_kind_within_the_run_and_is_the_same_for_a_seed() -> None:
    order = Order(studies=200, kills=20)
    plans = [planned(order, KINDS, random.Random(seed)) for seed in (1, 1, 2)]
    assert plans[0] == plans[1] != plans[2]
    for plan in plans:
        moments = [moment for moment, _ in plan]
        assert moments == sorted(moments) and moments[0] > 0 and moments[-1] < 200
        assert {kind for _, kind in plan} == set(KINDS) and len(plan) == 20


@pytest.mark.parametrize(
    ("end", "is_broken"), [({"a": (1, 104)}, False), ({"a": (1, 106)}, True), ({"a": (2, 100)}, True)]
)
def test_memory_that_grows_and_a_witness_that_was_replaced_are_seen(
    end: dict[str, tuple[int, int]], is_broken: bool
) -> None:
    run = soak.Soak.__new__(soak.Soak)
    run.memory = {soak.WARM: {"a": (1, 100)}, 1.0: end}
    assert bool(soak.broken(run, (soak.memory_stays,))) is is_broken
