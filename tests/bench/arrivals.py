"""The model of the queue beside a real node: films and small CTs arrive by a Poisson process for a minute or two, once
with one worker and once with two; then the waiting that was measured stands beside what ``capacity`` says of it.

The models of the node wait for a fixed time (``costing``), so that what is compared is the queue. The model is asked
twice: with the very arrivals and services that were measured, which shows whether it serves in the node's order; and
with others like them, many times, which shows how far chance alone moves a run of this length.
"""

from __future__ import annotations

import random
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from tests.bench import costing
from tests.bench.capacity import Arrival, Load, percentile, serve
from tests.bench.costing import Cost, Took
from tests.bench.page import load
from tests.films import drawn, encoded
from tests.sending import Encoded, store
from tests.served import LungnodeProcess

COST = Cost(film=0.6, ct=3.0)
SIZE, CTS = 256, 0.12  # of the films; the share of CTs among the studies
BUSY = 0.75  # how much of the workers' time the arrivals are to take
SENDERS, REPLAYS = 6, 300


@dataclass(frozen=True)
class Study:
    kind: str
    uid: str
    instances: tuple[Encoded, ...]


@dataclass(frozen=True)
class Ran:
    """busy: of the workers' time, as it was; measured: seconds that each study waited, in the order of arrival;
    replayed: by the model with the same arrivals and services; by_chance: means of runs like it."""

    workers: int
    kinds: list[str]
    busy: float
    measured: list[float]
    replayed: list[float]
    by_chance: list[float]


def _one(workers: int, count: int, seed: int = 7) -> Ran:
    """So many studies through a node with so many workers; AssertionError where one is lost or analysed twice."""
    chance = random.Random(seed)
    studies = [_study(chance.random() < CTS, f"arrivals {workers} {number}") for number in range(count)]
    with costing.node(COST, workers) as node:
        pace = _mean_service(node, studies, workers) / (BUSY * workers)
        moments = [chance.expovariate(1 / pace)]
        while len(moments) < count:
            moments.append(moments[-1] + chance.expovariate(1 / pace))
        _send(node, studies, moments)
        node.wait_settled([one.uid for one in studies], 300)
        took = costing.took(node, [one.uid for one in studies])
    return _compared(workers, took, {one.uid: one.kind for one in studies}, chance)


def _study(is_ct: bool, name: str) -> Study:
    slices = costing.ct(name) if is_ct else [costing.film(name, drawn(1, SIZE))]
    kind = "ct" if is_ct else "film"
    return Study(kind, str(slices[0].StudyInstanceUID), tuple(encoded(one) for one in slices))


def _send(node: LungnodeProcess, studies: list[Study], moments: list[float]) -> None:
    """Each at its moment, on an association of its own."""
    began = time.monotonic()
    with ThreadPoolExecutor(SENDERS) as senders:
        for study, moment in zip(studies, moments, strict=True):
            time.sleep(max(0.0, began + moment - time.monotonic()))
            senders.submit(store, node.dicom_port, study.instances)


def _mean_service(node: LungnodeProcess, studies: list[Study], workers: int) -> float:
    """Of a study of this mixture, from a few of each kind; the first of each worker load what is loaded once."""
    few = [_study(is_ct, f"first {workers} {number} {is_ct}") for number in range(3) for is_ct in (False, True)]
    _send(node, few, [0.0] * len(few))
    node.wait_settled([one.uid for one in few], 300)
    took = {one.study_uid: one.service for one in costing.took(node, [one.uid for one in few])}
    mean = {kind: statistics.mean(took[one.uid] for one in few[2:] if one.kind == kind) for kind in ("film", "ct")}
    return statistics.mean(mean[one.kind] for one in studies)


def _compared(workers: int, took: list[Took], kinds: dict[str, str], chance: random.Random) -> Ran:
    arrivals = [Arrival(kinds[one.study_uid], one.queued, one.service) for one in took]
    replayed = {id(one.arrival): one.waited for one in serve(arrivals, workers)}
    lasted = arrivals[-1].queued - arrivals[0].queued
    services = {kind: [one.service for one in arrivals if one.kind == kind] for kind in ("film", "ct")}
    rates = {kind: 3600 * len(found) / lasted for kind, found in services.items() if found}
    like_it = Load(rates, {kind: services[kind] for kind in rates})
    means = []
    for _ in range(REPLAYS):
        if served := serve(like_it.arrivals(lasted / 3600, chance), workers):
            means.append(statistics.mean(one.waited for one in served))
    return Ran(
        workers,
        [one.kind for one in arrivals],
        like_it.workers_busy / workers,
        [one.waited for one in took],
        [replayed[id(one)] for one in arrivals],
        means,
    )


def table(ran: list[Ran]) -> str:
    lines = [
        "| workers | studies | of their time | measured waiting: mean, 95 % | the model, same arrivals: mean, 95 % |"
        " the model, others like them: mean (5 to 95 % of runs) |",
        "|---|---|---|---|---|---|",
    ]
    for one in ran:
        low, high = percentile(one.by_chance, 0.05), percentile(one.by_chance, 0.95)
        lines.append(
            f"| {one.workers} | {one.kinds.count('film')} films, {one.kinds.count('ct')} CTs | {100 * one.busy:.0f} % |"
            f" {statistics.mean(one.measured):.2f} s, {percentile(one.measured, 0.95):.2f} s |"
            f" {statistics.mean(one.replayed):.2f} s, {percentile(one.replayed, 0.95):.2f} s |"
            f" {statistics.mean(one.by_chance):.2f} s ({low:.2f} to {high:.2f}) |"
        )
    return "\n".join([*lines, "", f"Load after the runs {load():.2f}. No study was lost or analysed twice."])


def measured(quick: bool) -> str:
    """Markdown."""
    return table([_one(workers, 8 if quick else 45 * workers) for workers in (1, 2)])
