"""A discrete-event model of the queue: studies arrive, wait for their turn, and keep one of the workers until they are
done. It has the node's own rule of who is next (``db.jobs``: a job's turn comes ``AGEING`` later for each step of its
priority) and nothing else of it.

Times are seconds. A worker takes one study at a time and is not interrupted.
"""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from node.db.jobs import AGEING
from node.pipeline.completeness import FILM_PRIORITY, OTHER_PRIORITY

PRIORITIES = {"film": FILM_PRIORITY, "ct": OTHER_PRIORITY}


@dataclass(frozen=True)
class Arrival:
    """queued: when its job was made; service: how long it keeps a worker."""

    kind: str
    queued: float
    service: float

    @property
    def turn(self) -> float:
        return self.queued + PRIORITIES[self.kind] * AGEING.total_seconds()


@dataclass(frozen=True)
class Served:
    arrival: Arrival
    began: float

    @property
    def waited(self) -> float:
        return self.began - self.arrival.queued

    @property
    def stayed(self) -> float:
        """From its arrival to its end."""
        return self.waited + self.arrival.service


def serve(arrivals: Sequence[Arrival], workers: int) -> list[Served]:
    """Each study with the moment at which a worker began with it, in that order."""
    coming = sorted(arrivals, key=lambda one: one.queued)
    free = [-math.inf] * workers  # when each worker is free again
    waiting: list[tuple[float, int]] = []
    served: list[Served] = []
    came, clock = 0, -math.inf
    while len(served) < len(coming):
        clock = max(clock, heapq.heappop(free))
        if not waiting:
            clock = max(clock, coming[came].queued)
        while came < len(coming) and coming[came].queued <= clock:
            heapq.heappush(waiting, (coming[came].turn, came))
            came += 1
        chosen = coming[heapq.heappop(waiting)[1]]
        served.append(Served(chosen, clock))
        heapq.heappush(free, clock + chosen.service)
    return served


@dataclass(frozen=True)
class Load:
    """rates: studies an hour of each kind; services: measured seconds of each kind, of which each study has one."""

    rates: dict[str, float]
    services: dict[str, Sequence[float]]

    @property
    def workers_busy(self) -> float:
        """How many workers it keeps busy on average: fewer can never do."""
        mean = {kind: sum(seconds) / len(seconds) for kind, seconds in self.services.items()}
        return sum(rate * mean[kind] / 3600 for kind, rate in self.rates.items())

    def arrivals(self, hours: float, chance: random.Random) -> list[Arrival]:
        """Independent of one another, as patients are: a Poisson process of each kind."""
        found = []
        for kind, rate in self.rates.items():
            at = chance.expovariate(rate / 3600)
            while at < 3600 * hours:
                found.append(Arrival(kind, at, chance.choice(self.services[kind])))
                at += chance.expovariate(rate / 3600)
        return found


@dataclass(frozen=True)
class Limits:
    """Seconds of the 95th percentile, and what passes before a job is made and after a worker is done."""

    most: dict[str, float]
    beside: dict[str, float]

    def kept(self, reached: dict[str, float]) -> bool:
        return all(reached[kind] <= most for kind, most in self.most.items())


def percentile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, math.ceil(share * len(ordered)) - 1)]


def reached(load: Load, workers: int, beside: dict[str, float], hours: float, seed: int = 1) -> dict[str, float]:
    """The 95th percentile of each kind, from the last image to the last result."""
    served = serve(load.arrivals(hours, random.Random(seed)), workers)
    return {
        kind: percentile([one.stayed for one in served if one.arrival.kind == kind], 0.95) + beside[kind]
        for kind in load.rates
    }


def workers_for(load: Load, limits: Limits, hours: float) -> tuple[int, dict[str, float]]:
    """The fewest workers that keep the limits, and what they reach. ValueError where no number does."""
    workers = math.floor(load.workers_busy) + 1
    for kind, most in limits.most.items():
        if percentile(load.services[kind], 0.95) + limits.beside[kind] > most:
            raise ValueError(f"the service of a {kind} alone takes longer than {most:g} s")
    while not limits.kept(found := reached(load, workers, limits.beside, hours)):
        workers += 1
    return workers, found
