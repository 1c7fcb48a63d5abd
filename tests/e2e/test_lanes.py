"""A node whose worker is at several studies at once, with both queue engines: it dies, and no study is blamed; it is
stopped, and every lane ends what it is at.

The models are a stand-in that waits (tests/bench/standin). Not covered: GPUs; which of several studies a worker died of
(tests/queue/test_lanes.py); what a batch gives (tests/models/test_together.py).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import psutil
import pytest

from tests.bench import costing
from tests.bench.costing import Cost
from tests.films import encoded
from tests.peers import wait_until
from tests.postgres import Postgres
from tests.sending import store
from tests.served import LungnodeProcess

LANES, COST = 3, Cost(film=1.5)


@pytest.fixture(params=["ledger", "procrastinate"])
def node(request: pytest.FixtureRequest) -> Iterator[LungnodeProcess]:
    """One worker with three lanes."""
    more = {"LUNGNODE_QUEUE_ENGINE": request.param}
    if request.param == "procrastinate":
        postgres: Postgres = request.getfixturevalue("postgres")
        more["LUNGNODE_DATABASE_URL"] = postgres.url(postgres.made())
    with costing.node(COST, 1, LANES, **more) as running:
        yield running


def send(node: LungnodeProcess, name: str) -> list[str]:
    """As many films as there are lanes, until all of them are being analysed."""
    films = costing.films(name, LANES, 256)
    assert set(store(node.dicom_port, [encoded(film) for film in films])) == {0x0000}
    wait_until(lambda: running(node) == LANES, 60, "every lane is at a study", every=0.05)
    return [str(film.StudyInstanceUID) for film in films]


def running(node: LungnodeProcess) -> int:
    return len(node.rows("SELECT id FROM jobs WHERE kind = 'analyse' AND state = 'running'"))


def worker(node: LungnodeProcess) -> psutil.Process:
    for process in node.processes():
        with contextlib.suppress(psutil.NoSuchProcess):
            if "worker" in process.cmdline():
                return process
    raise AssertionError("no worker runs")


@pytest.mark.timeout(400)
def test_lanes_die_and_end_together(node: LungnodeProcess) -> None:
    killed = send(node, "killed")
    worker(node).kill()
    node.wait_settled(killed, 120)
    rows = node.rows("SELECT kills, alone, attempts, state FROM jobs WHERE kind = 'analyse'")
    found = [(row["kills"], bool(row["alone"]), row["attempts"], row["state"]) for row in rows]
    assert found == [(0, True, 1, "done")] * LANES, "nobody is blamed, and each was tried alone"
    drained = send(node, "drained")
    assert node.sigterm() == 0
    reasons = node.rows("SELECT reason FROM analyses")
    assert [row["reason"] for row in reasons] == [""] * len(killed + drained)
    assert node.rows("SELECT id FROM jobs WHERE kind = 'analyse' AND state <> 'done'") == []
