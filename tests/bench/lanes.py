"""``python -m tests.bench lanes``: 1, 2, 4 and 8 lanes before a device whose pass takes as long for eight pictures as
for one, which a GPU comes near to with small pictures and a CPU does not.

First the batches alone: threads that ask a few such networks in turn, as the systems of a film are asked. Then a whole
node with one worker, whose lanes also load, build and write. The device is a wait: nothing here was measured on a GPU.
"""

from __future__ import annotations

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch

from models.together import Company, Outputs, Together
from tests.bench import costing
from tests.bench.costing import Cost
from tests.bench.page import load
from tests.films import encoded
from tests.sending import store

LANES, BATCH, WAIT_SECONDS = (1, 2, 4, 8), 8, 0.005
NETWORKS, PASS_SECONDS, BESIDE_SECONDS = 5, 0.02, 0.01  # of one film; BESIDE: what a lane does before each pass
FILM_SECONDS, SIZE = 0.3, 512  # of the node


@dataclass(frozen=True)
class Asked:
    """rate: films a second; together: pictures in a pass, on average."""

    lanes: int
    batch: int
    rate: float
    together: float


@dataclass(frozen=True)
class Analysed:
    """rate: films a minute of a node from the first claim to the last result; processor: ms a film, all processes."""

    lanes: int
    rate: float
    processor: float


def measured(quick: bool) -> str:
    """Markdown."""
    films = 16 if quick else 80
    asked = [_asked(lanes, batch, films) for lanes in LANES for batch in (1, BATCH)]
    analysed = [_analysed(lanes, 4 if quick else 24) for lanes in ((1, 4) if quick else LANES)]
    return f"{_table_of_batches(asked)}\n\n{_table_of_nodes(analysed)}"


def _pass(x: torch.Tensor) -> Outputs:
    time.sleep(PASS_SECONDS)
    return (x,)


def _asked(lanes: int, batch: int, films: int) -> Asked:
    company = Company()
    networks = [Together(_pass, batch, WAIT_SECONDS, company) for _ in range(NETWORKS)]

    def film(number: int) -> None:
        for network in networks:
            company.add(inside=1)
            time.sleep(BESIDE_SECONDS)
            network(torch.zeros(1))
            company.add(inside=-1)

    began = time.monotonic()
    with ThreadPoolExecutor(lanes) as threads:
        list(threads.map(film, range(films)))
    seconds = time.monotonic() - began
    passes = sum(network.passes for network in networks)
    return Asked(lanes, batch, films / seconds, films * NETWORKS / passes)


def _analysed(lanes: int, films: int) -> Analysed:
    with costing.node(Cost(FILM_SECONDS), 1, lanes) as node:
        for name, count in (("warm", 2 * lanes), ("lanes", films)):
            sent = costing.films(f"{name} {lanes}", count, SIZE)
            before = costing.processor_seconds(node)
            assert set(store(node.dicom_port, [encoded(film) for film in sent])) == {0x0000}
            uids = [str(film.StudyInstanceUID) for film in sent]
            node.wait_settled(uids, 300)
        spent, took = costing.processor_seconds(node) - before, costing.took(node, uids)
        seconds = max(one.delivered for one in took) - min(one.claimed for one in took)
        found = Analysed(lanes, 60 * films / seconds, 1000 * spent / films)
        sys.stderr.write(f"{found}, load {load():.1f}\n")
        return found


def _table_of_batches(asked: list[Asked]) -> str:
    alone = next(one.rate for one in asked if one.lanes == 1 and one.batch == 1)
    lines = [
        f"Films that ask {NETWORKS} networks in turn, {1000 * PASS_SECONDS:g} ms a pass however many pictures it has,"
        f" and {1000 * BESIDE_SECONDS:g} ms of other work before each.",
        "",
        "| lanes | one picture a pass: films a second | beside one lane | in batches: films a second | beside one lane"
        " | pictures a pass |",
        "|---|---|---|---|---|---|",
    ]
    for lanes in LANES:
        single, several = (one for one in asked if one.lanes == lanes)
        lines.append(
            f"| {lanes} | {single.rate:.1f} | {single.rate / alone:.2f} | {several.rate:.1f} |"
            f" {several.rate / alone:.2f} | {several.together:.1f} |"
        )
    return "\n".join(lines)


def _table_of_nodes(analysed: list[Analysed]) -> str:
    lines = [
        f"A node with one worker, films of {SIZE} x {SIZE} sent at once, one network whose pass takes"
        f" {1000 * FILM_SECONDS:g} ms.",
        "",
        "| lanes | films a minute | beside one lane | processor ms a film |",
        "|---|---|---|---|",
    ]
    for one in analysed:
        beside = one.rate / analysed[0].rate
        lines.append(f"| {one.lanes} | {one.rate:.0f} | {beside:.2f} | {one.processor:.0f} |")
    return "\n".join(lines)
