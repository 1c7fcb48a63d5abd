"""``python -m tests.bench.capacity_page [--quick] [--write]``: docs/capacity.md, from measured services and the model.

Measures what a film and a CT cost a worker (``services``), holds the model of the queue against a real node
(``arrivals``), and asks the model how many workers a hospital and a network of fifty need. ``--quick`` shows that
everything runs.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path

from node.core import settings
from tests.bench import arrivals, services
from tests.bench.capacity import Limits, Load, workers_for
from tests.bench.page import machine
from tests.bench.services import Service
from tests.peers import Absent

PAGE = Path(__file__).parents[2] / "docs" / "capacity.md"
PEAK = {"film": 120.0, "ct": 30.0}  # studies an hour of one hospital
HOSPITALS = (1, 50)
MOST = {"film": 60.0, "ct": 300.0}  # seconds of the 95th percentile
SPEEDUPS = (1.0, 5.0, 10.0, 20.0, 50.0)
HOURS = {1: 150.0, 50: 5.0}  # of the peak, so that the tail is one of many studies

TEXT = """\
# Capacity

Written by `python -m tests.bench.capacity_page --write`. **Research use only, not for diagnosis.**

{machine}

How many workers does a site need? Service times are measured, a discrete-event model of the queue
([tests/bench/capacity.py](../tests/bench/capacity.py), held against closed forms and against a real node) does the
rest. One worker is one process with one core of this machine, which takes one study at a time. **A site should
measure its own machines and studies**: `make bench-scale` and this command.

## What a study costs a worker

{services}

Processor time of the worker with the systems that ship, one thread, `config/node.toml` as it is. Films are real ones
of a public test set, enlarged to the width of a detector; CTs are drawn. A CT is judged slice by slice, so one of
300 slices costs about as many times more as it has slices. The machine was shared, load as named above, and
processor time on a busy core is more than on an idle one: the figures err to the safe side.

## The model beside a node

{compared}

Films and small CTs arrive at a real node whose models wait {film:g} and {ct:g} s (so that only the queue is
compared). *Same arrivals*: the model with the measured arrivals and services; *others like them*: {replays} runs of
the same rates, which shows how much of a difference chance makes in a run of this length. Waiting that is longer
than with the same arrivals is what a worker needs to notice a job, ten times a second where it has a core and later
where the cores are taken; same arrivals that wait longer than others like them are studies that were slow in bursts,
as on a machine that does other work. The pace was to keep the workers busy for {busy:.0f} % of their time, by what
the first studies took. Where they were busy for much less, or the measured waiting lies outside the runs of chance,
this is a weak check of the model, to be repeated on a machine that does nothing else.

## How many workers

A peak hour of one hospital has {films:g} films and {cts:g} CTs, which arrive independently of one another; the peak
lasts until the tail is known. Wanted: the 95th percentile, from the last image to the last result at the PACS, under
{most_film:g} s for a film and {most_ct:g} s for a CT. Quiet times ({quiet_film:g} and {quiet_ct:g} s) and delivery
are in it; the network and the receivers, which take hundreds of objects a second ([benchmarks.md](benchmarks.md)),
are not. A CT here is one of {slices} slices, each as often. A film goes before the CTs of the last five minutes and
never interrupts one.

{workers}

These are the fewest, busy almost all the time where they are many: add what may fail at once, and room for days that
are not like the model.

Receivers, duties and database are beside this; a hospital's peak is a study in 24 s, a network's of fifty two a
second, each of which is a few dozen short transactions ([cluster.md](cluster.md#postgresql)): a network of fifty is
at the edge of what one database with turns was built for, and should be tried before it is relied on.

## GPUs: an assumption

No GPU was at hand: **nothing here was measured on one.** The table says what follows if the models, and nothing
else, ran so many times as fast on a GPU as on one core of this machine; loading, building the results and writing
them stay on the worker's core, which bounds what a GPU can do for a study. One worker a GPU, as the node does it.

{gpus}
"""


def page(measured: list[Service], compared: str, where: str) -> str:
    wanted = settings.load().completeness
    return TEXT.format(
        machine=where,
        services=services.table(measured),
        compared=compared,
        film=arrivals.COST.film,
        ct=arrivals.COST.ct,
        replays=arrivals.REPLAYS,
        busy=100 * arrivals.BUSY,
        films=PEAK["film"],
        cts=PEAK["ct"],
        most_film=MOST["film"],
        most_ct=MOST["ct"],
        quiet_film=wanted.quiet_seconds_film,
        quiet_ct=wanted.quiet_seconds,
        slices=" or ".join(one.what.split()[2] for one in measured if one.kind == "ct"),
        workers=_workers(measured),
        gpus=_gpus(measured),
    )


def _load(measured: list[Service], hospitals: int, speedup: float = 1.0) -> Load:
    seconds = {kind: [one.with_models(speedup) for one in measured if one.kind == kind] for kind in PEAK}
    return Load({kind: rate * hospitals for kind, rate in PEAK.items()}, seconds)


def _limits(measured: list[Service]) -> Limits:
    wanted = settings.load().completeness
    quiet = {"film": wanted.quiet_seconds_film, "ct": wanted.quiet_seconds}
    after = {kind: statistics.median(one.after for one in measured if one.kind == kind) for kind in PEAK}
    return Limits(MOST, {kind: quiet[kind] + after[kind] for kind in PEAK})


def _workers(measured: list[Service]) -> str:
    lines = [
        "| hospitals | films, CTs an hour | workers busy on average | fewest workers | film, 95 % | CT, 95 % |",
        "|---|---|---|---|---|---|",
    ]
    for hospitals in HOSPITALS:
        load = _load(measured, hospitals)
        rates = ", ".join(f"{rate:,.0f}" for rate in load.rates.values())
        workers, reached = workers_for(load, _limits(measured), HOURS[hospitals])
        lines.append(
            f"| {hospitals} | {rates} | {load.workers_busy:.2f} | **{workers}** | {reached['film']:.0f} s |"
            f" {reached['ct']:.0f} s |"
        )
    return "\n".join(lines)


def _gpus(measured: list[Service]) -> str:
    """A line for each speed-up that is assumed."""
    names = [f"{hospitals} hospital{'s' * (hospitals > 1)}: fewest workers" for hospitals in HOSPITALS]
    lines = [
        f"| the models, times as fast (assumed) | a film, a CT: seconds | {' | '.join(names)} |",
        f"|---|---|{'---|' * len(names)}",
    ]
    for speedup in SPEEDUPS:
        loads = {hospitals: _load(measured, hospitals, speedup) for hospitals in HOSPITALS}
        mean = ", ".join(f"{statistics.mean(seconds):.1f}" for seconds in loads[1].services.values())
        found = [workers_for(load, _limits(measured), HOURS[many])[0] for many, load in loads.items()]
        said = f"{speedup:g}{' (this machine, measured)' * (speedup == 1)}"
        lines.append(f"| {said} | {mean} | {' | '.join(map(str, found))} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.bench.capacity_page")
    parser.add_argument("--quick", action="store_true", help="small; its figures mean nothing")
    parser.add_argument("--write", action="store_true", help="into docs/capacity.md too")
    given = parser.parse_args()
    try:
        where = machine()
        text = page(services.measure(given.quick), arrivals.measured(given.quick), where)
    except Absent as absent:
        sys.stderr.write(f"{absent}\n")
        return 1
    sys.stdout.write(text)
    if given.write:
        PAGE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
