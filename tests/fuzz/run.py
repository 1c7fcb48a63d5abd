"""Batches of cases against one node, and which case it was when something is wrong afterwards.

A batch is a range of seeds. What fails is tried again case by case, each against a node of its own, and written to
``FOUND`` as a file that ``test_fuzz`` replays.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.fuzz.cases import Case, case
from tests.fuzz.target import Target, target

FOUND = Path(__file__).parent / "found"
BATCH, LONG_BATCH = 100, 1000  # cases; what holds after a batch is looked up in all that the node has kept
NARROWER = 20  # parts of a batch that did harm


def batches(first: int, faults: int, most: int = BATCH) -> Iterator[list[Case]]:
    """Cases from seed ``first`` on until they hold so many faults."""
    seed = first
    while faults > 0:
        batch: list[Case] = []
        while len(batch) < most and faults > 0:
            batch.append(case(seed))
            faults -= batch[-1].count
            seed += 1
        yield batch


def wrong_after(running: Target, batch: Sequence[Case]) -> list[str]:
    """What is wrong once the batch was sent, a sentence each."""
    unanswered = [f"Case {one.seed} was not answered or ended as it should be." for one in running.fire(batch)]
    return [*unanswered, *running.sound()]


def culprits(batch: Sequence[Case]) -> list[Case]:
    """Those that do it alone, looked for in ever smaller parts."""
    size, found = -(-len(batch) // NARROWER), []  # type: int, list[Case]
    for part in (batch[begin : begin + size] for begin in range(0, len(batch), size)):
        with target() as fresh:
            harm = wrong_after(fresh, part)
        if harm:
            found += part if size == 1 else culprits(part)
    return found


def run(first: int, faults: int) -> int:
    """The long run: progress on standard error, what was found in ``FOUND``; 0 when nothing was."""
    begun, done, sentences = time.monotonic(), 0, list[str]()
    with target() as running:
        for batch in batches(first, faults, LONG_BATCH):
            sentences = wrong_after(running, batch)
            done += sum(one.count for one in batch)
            after = batch[-1].seed + 1
            spent = time.monotonic() - begun
            _say(f"{done} of {faults} faults, {spent:.0f} s, {running.memory() >> 20} MiB; go on with --first {after}")
            if sentences:
                break
    if not sentences:
        return 0
    _say(*sentences, f"Trying seeds {batch[0].seed} to {batch[-1].seed} one by one.")
    FOUND.mkdir(exist_ok=True)
    found = culprits(batch)
    if not found:
        _say("None of them does it alone.")
    for one in found:
        path = FOUND / f"{one.seed}.json"
        one.write(path)
        _say(f"Written: {path}")
    return 1


def _say(*lines: str) -> None:
    sys.stderr.write("".join(f"{line}\n" for line in lines))
    sys.stderr.flush()
