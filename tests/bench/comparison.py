"""What was measured, as Markdown: speeds by receiver, and the ratios that are wanted of the node beside those found.

A figure is the median of the rounds with the least and the most; a ratio is taken within each round first.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from tests.bench import receivers as of
from tests.bench.ingest import Rate

T = TypeVar("T")


@dataclass(frozen=True)
class Which:
    """The sendings to one receiver over so many associations."""

    receiver: str
    associations: int


@dataclass(frozen=True)
class Wanted:
    """``upper`` at least ``times`` as fast as ``lower``."""

    upper: Which
    lower: Which
    times: float

    @property
    def words(self) -> str:
        if self.upper.receiver == self.lower.receiver:
            return f"{self.upper.receiver}: x{self.upper.associations} beside x{self.lower.associations}"
        return f"{self.upper.receiver} beside {self.lower.receiver}, x{self.upper.associations}"


def _beside(node: str, other: str, times: dict[int, float]) -> list[Wanted]:
    return [Wanted(Which(node, number), Which(other, number), least) for number, least in times.items()]


def _joined(node: str) -> list[Wanted]:
    """No fall with a second association; sixteen are no slower than four."""
    return [Wanted(Which(node, more), Which(node, fewer), 1.0) for more, fewer in ((2, 1), (16, 4))]


WANTED = (
    *_beside(of.NODE, of.ORTHANC, {1: 2.5, 4: 1.5}),
    *_joined(of.NODE),
    *_beside(of.NODE_UNSYNCED, of.ORTHANC_UNSYNCED, {1: 5.0, 4: 2.5}),
    *_beside(of.NODE_UNSYNCED, of.STORESCP_LARGE, {1: 1.0, 4: 1.0}),
)


def speeds(rates: Sequence[Rate]) -> str:
    """A table for each kind: a line for each sender and receiver, a column for each number of associations."""
    tables = []
    for kind in _seen(rates, lambda rate: rate.kind):
        own = [rate for rate in rates if rate.kind == kind]
        numbers = _seen(own, lambda rate: rate.associations)
        columns = "".join(f" x{number}: MB/s, objects/s |" for number in numbers)
        lines = [
            f"| {own[0].objects} {kind}, from | to |{columns} CPU ms/object |",
            "|---|---|" + "---|" * (len(numbers) + 1),
        ]
        for sender in _seen(own, lambda rate: rate.sender):
            for receiver in _seen(own, lambda rate: rate.receiver):
                of_both = [rate for rate in own if (rate.sender, rate.receiver) == (sender, receiver)]
                if of_both:
                    lines.append(f"| {sender} | {receiver} | {_cells(of_both, numbers)} |")
        tables.append("\n".join(lines))
    return "\n\n".join(tables)


def _cells(rates: Sequence[Rate], numbers: Sequence[int]) -> str:
    cells = []
    for number in numbers:
        own = [rate for rate in rates if rate.associations == number]
        objects = statistics.median(rate.objects / rate.seconds for rate in own) if own else 0
        cells.append(f"{spread([rate.megabytes_per_second for rate in own], 0)}, {objects:.0f}/s" if own else "")
    return " | ".join([*cells, spread([1000 * rate.cpu_seconds / rate.objects for rate in rates], 1)])


def ratios(rates: Sequence[Rate], wanted: Sequence[Wanted] = WANTED) -> str:
    """A line for each ratio, a column for each kind of object and sender; what falls short is in bold."""
    columns = [(kind, sender) for kind in _seen(rates, lambda r: r.kind) for sender in _seen(rates, lambda r: r.sender)]
    head = "".join(f" {kind}, {sender} |" for kind, sender in columns)
    lines = [f"| MB/s of | wanted |{head}", "|---|---|" + "---|" * len(columns)]
    for one in wanted:
        cells = [_verdict(one, [r for r in rates if (r.kind, r.sender) == column]) for column in columns]
        lines.append(f"| {one.words} | {one.times:.1f} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _verdict(one: Wanted, rates: Sequence[Rate]) -> str:
    found = quotients(one, rates)
    if not found:
        return "not measured"
    return spread(found, 2) if statistics.median(found) >= one.times else f"**{spread(found, 2)}**"


def quotients(one: Wanted, rates: Sequence[Rate]) -> list[float]:
    """Of one kind and sender, round by round."""
    speed = {(Which(r.receiver, r.associations), r.number): r.megabytes_per_second for r in rates}
    rounds = sorted({number for which, number in speed if which == one.upper})
    return [speed[one.upper, number] / speed[one.lower, number] for number in rounds if (one.lower, number) in speed]


def verdict(rates: Sequence[Rate], wanted: Sequence[Wanted] = WANTED) -> str:
    """How many of the wanted ratios are met, in a sentence."""
    columns = {(rate.kind, rate.sender) for rate in rates}
    met = total = 0
    for one in wanted:
        for column in columns:
            found = quotients(one, [r for r in rates if (r.kind, r.sender) == column])
            total += bool(found)
            met += bool(found) and statistics.median(found) >= one.times
    return f"Met: {met} of {total} measured; the others are in bold."


def spread(figures: Sequence[float], digits: int) -> str:
    """Median (least..most)."""
    middle, least, most = statistics.median(figures), min(figures), max(figures)
    return f"{middle:.{digits}f} ({least:.{digits}f}..{most:.{digits}f})"


def _seen(rates: Sequence[Rate], what: Callable[[Rate], T]) -> list[T]:
    return list(dict.fromkeys(what(rate) for rate in rates))
