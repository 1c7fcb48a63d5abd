"""``python -m tests.bench scale``: one receiver and 1, 2, 4 workers, models of a fixed cost.

A model that waits stands for one whose work is done elsewhere (a GPU), and shows what the node itself allows; one that
works shows what the cores allow. Processor time outside the models is that of all processes of the node, the time of
the models and what the node takes while nothing is sent subtracted.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass

from pydicom import Dataset

from tests.bench import costing
from tests.bench.costing import Cost
from tests.bench.page import load
from tests.films import encoded
from tests.sending import store
from tests.served import LungnodeProcess

FILM_SECONDS, SIZE = 0.5, 512
IDLE_SECONDS = 4.0
WANTED_MS = 50  # of processor time a study, outside the models
STAGES = ("select", "load", "segment", "build", "write")


@dataclass(frozen=True)
class Ran:
    """One node. rate: studies a minute from the first claim to the last result; processor: ms a study outside the
    models; idle: share of one core while nothing is sent; stages: mean seconds of each in the worker."""

    cost: Cost
    workers: int
    rate: float
    processor: float
    idle: float
    stages: dict[str, float]


def measured(quick: bool) -> str:
    """Markdown."""
    studies = 4 if quick else 16
    plan = [(False, 1), (False, 2), (False, 4), (True, 1), (True, 2), (True, 4)]
    ran = [_one(Cost(FILM_SECONDS, works=works), workers, studies) for works, workers in plan[: 2 if quick else None]]
    return _table(ran, studies)


def _one(cost: Cost, workers: int, studies: int) -> Ran:
    with costing.node(cost, workers) as node:
        warm = costing.films(f"warm {workers} {cost.works}", 3 * workers, SIZE)  # first ones load what is loaded once
        _send(node, warm)
        before, began = costing.processor_seconds(node), time.monotonic()
        time.sleep(IDLE_SECONDS)
        idle = (costing.processor_seconds(node) - before) / (time.monotonic() - began)
        films = costing.films(f"scale {workers} {cost.works}", studies, SIZE)
        before, began = costing.processor_seconds(node), time.monotonic()
        uids = _send(node, films)
        spent, lasted = costing.processor_seconds(node) - before, time.monotonic() - began
        took = costing.took(node, uids)
        seconds = max(one.delivered for one in took) - min(one.claimed for one in took)
        outside = spent - idle * lasted - (studies * cost.film if cost.works else 0.0)
        ran = Ran(cost, workers, 60 * studies / seconds, 1000 * outside / studies, idle, costing.stages(node))
        sys.stderr.write(f"{ran}, load {load():.1f}\n")
        return ran


def _send(node: LungnodeProcess, films: list[Dataset]) -> list[str]:
    """Their studies, once all of them are analysed and delivered."""
    assert set(store(node.dicom_port, [encoded(film) for film in films])) == {0x0000}
    uids = [str(film.StudyInstanceUID) for film in films]
    node.wait_settled(uids, 300)
    return uids


def _table(ran: list[Ran], studies: int) -> str:
    lines = [
        f"{studies} studies of one film of {SIZE} x {SIZE}, sent at once; a model that takes {FILM_SECONDS:g} s; the "
        "destination took reports before, so that no page is kept for it.",
        "",
        "| the model | workers | studies a minute | beside one | processor ms a study, without the model | idle |",
        "|---|---|---|---|---|---|",
    ]
    for one in ran:
        alone = next(other.rate for other in ran if other.cost == one.cost and other.workers == 1)
        kind = "works" if one.cost.works else "waits"
        lines.append(
            f"| {kind} | {one.workers} | {one.rate:.0f} | {one.rate / alone:.2f} | {one.processor:.0f} |"
            f" {100 * one.idle:.0f} % of a core |"
        )
    stages = ", ".join(f"{name} {1000 * ran[0].stages.get(name, 0):.0f}" for name in STAGES)
    least = min(one.processor for one in ran)
    met = "met" if least < WANTED_MS else "**not met**"
    lines += [
        "",
        f"Wanted: less than {WANTED_MS} ms of processor time a study outside the models: {met}, least {least:.0f} ms. "
        f"Milliseconds by the clock of the worker's stages, one worker, the model waiting: {stages}. "
        f"Load after these runs {load():.2f}.",
    ]
    return "\n".join(lines)
