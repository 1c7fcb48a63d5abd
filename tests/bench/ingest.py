"""How fast instances are received: the node, Orthanc and DCMTK storescp, with the same senders and the same files.

Receivers take turns within each round, every second round backwards, so that a noisy machine is noisy for all; a first
small sending to each, which is not counted, warms them up. Ratios are of figures of one round. A sending counts only
when every object has arrived; one that failed is said and left out. Between two sendings the files of the last one are
removed and the disk settles.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tests.bench import series
from tests.bench.receivers import CANDIDATES, Candidate, Receiver
from tests.bench.senders import SENDERS
from tests.bench.series import CT, FILMS, Image, Kind

NO_DELAY = {"TCP_NODELAY": "1"}  # else Debian's DCMTK waits 40 ms at each object, and so does Orthanc, built with it


@dataclass(frozen=True)
class Plan:
    kinds: tuple[Kind, ...] = (CT, FILMS)
    associations: tuple[int, ...] = (1, 2, 4, 16)
    senders: tuple[str, ...] = tuple(SENDERS)
    rounds: int = 3


WARMING = 8  # objects that each receiver gets first
QUICK = Plan(kinds=(CT.fewer(16), FILMS.fewer(4)), associations=(4,), rounds=1)  # whether it runs; no figures


@dataclass(frozen=True)
class Rate:
    """One sending. cpu_seconds: of the receiver, user and system. number: of the round."""

    number: int
    kind: str
    sender: str
    associations: int
    receiver: str
    objects: int
    megabytes: float  # 10^6 bytes
    seconds: float
    cpu_seconds: float

    @property
    def megabytes_per_second(self) -> float:
        return self.megabytes / self.seconds

    def __str__(self) -> str:
        return f"{self.kind}, {self.sender} x{self.associations}, {self.receiver}: {self.megabytes_per_second:.0f} MB/s"


def measure(plan: Plan, candidates: Sequence[Candidate] = CANDIDATES) -> list[Rate]:
    os.environ.update(NO_DELAY)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lungnode-bench-")))
        running = [(one, stack.enter_context(one.open())) for one in candidates]
        few = series.make(folder / "few", plan.kinds[0].fewer(WARMING))
        for _, receiver in running:
            sending(receiver, few, "replay", 1)
        images = {kind.name: series.make(folder / kind.modality, kind) for kind in plan.kinds}
        found = []
        for number, kind, sender, associations in _turns(plan):
            for candidate, receiver in reversed(running) if number % 2 else running:
                if associations in candidate.associations:
                    what = (number, kind.name, sender, associations, candidate.name)
                    found += _rate(what, receiver, images[kind.name])
        return found


def _rate(what: tuple[int, str, str, int, str], receiver: Receiver, images: list[Image]) -> list[Rate]:
    """One, or none where the sending failed."""
    try:
        seconds, cpu = sending(receiver, images, what[2], what[3])
    except (AssertionError, subprocess.TimeoutExpired) as error:
        _say(f"round {what[0] + 1}: FAILED {what[1:]}: {error}")
        receiver.clear()
        return []
    rate = Rate(*what, len(images), sum(image.bytes for image in images) / 1e6, seconds, cpu)
    _say(f"round {what[0] + 1}: {rate}")
    return [rate]


def _turns(plan: Plan) -> Iterator[tuple[int, Kind, str, int]]:
    return itertools.product(range(plan.rounds), plan.kinds, plan.senders, plan.associations)


def sending(receiver: Receiver, images: list[Image], sender: str, associations: int) -> tuple[float, float]:
    """Seconds, and the receiver's seconds of processor time, until all are answered; nothing is left afterwards."""
    shares = [[image.path for image in share] for share in series.shared_out(images, associations)]
    os.sync()
    before, rows = receiver.cpu_seconds(), receiver.rows() if receiver.rows else 0
    seconds = SENDERS[sender](receiver.port, shares)
    cpu = receiver.cpu_seconds() - before
    files = receiver.files()
    smallest = min((path.stat().st_size for path in files), default=0)
    assert len(files) == len(images), f"{len(files)} of {len(images)} objects arrived"
    assert smallest > 0.99 * min(image.bytes for image in images), "what arrived is shorter than what was sent"
    assert receiver.rows is None or receiver.rows() - rows == len(images), "the database does not have all of them"
    receiver.clear()
    return seconds, cpu


def _say(text: str) -> None:
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")
