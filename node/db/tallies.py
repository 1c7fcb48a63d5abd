"""Counts and histograms of durations that are true over all processes and restarts. The caller owns the transaction:
what is counted and its count are committed together, or neither is.

A count is one row, so writers of the same one wait for each other where the database lets several write: it is changed
last in a transaction, and several are changed in the order of their labels.
"""

from __future__ import annotations

import bisect
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import bindparam, insert, literal_column, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from node.db.driver import Rendered
from node.db.tables import Delivery, table_of
from node.db.tally_tables import Tally

STAGE, ANALYSIS, DELIVERY, ATTEMPT, REFUSAL = "stage", "analysis", "delivery", "attempt", "refusal"
WHAT = (STAGE, ANALYSIS, DELIVERY, ATTEMPT, REFUSAL)
BOUNDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 3600.0)  # seconds
BEYOND = "+Inf"
_MODEL = "model."
_TALLIES = table_of(Tally)
_MORE = Rendered(  # some ten of them for each study
    update(_TALLIES)
    .where(_TALLIES.c.what == bindparam("in_what"), _TALLIES.c.of == bindparam("in_of"))
    .where(_TALLIES.c.how == bindparam("in_how"), _TALLIES.c.bucket == bindparam("in_bucket"))
    .values(number=_TALLIES.c.number + literal_column("1"), seconds=_TALLIES.c.seconds + bindparam("took"))
)
_OWED = Rendered(select(Delivery.destination, Delivery.owed_at).where(Delivery.id == bindparam("delivery")))
Labels = tuple[str, ...]  # (of, how)


@dataclass(frozen=True)
class Histogram:
    """numbers: of each bucket alone, by its upper bound; those of ``BOUNDS`` that have none are missing."""

    numbers: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0

    def cumulative(self) -> list[tuple[str, int]]:
        """As Prometheus has buckets: each counts what is at most its bound."""
        total, found = 0, []
        for bound in (*map(text_of, BOUNDS), BEYOND):
            total += self.numbers.get(bound, 0)
            found.append((bound, total))
        return found


def text_of(bound: float) -> str:
    return f"{bound:g}"


def count(session: Session, what: str, of: str, how: str = "") -> None:
    _add(session, (what, of[:128], how[:64], ""), 0.0)


def observe(session: Session, what: str, seconds: float, of: str = "", how: str = "") -> None:
    place = bisect.bisect_left(BOUNDS, seconds)
    bound = text_of(BOUNDS[place]) if place < len(BOUNDS) else BEYOND
    _add(session, (what, of[:128], how[:64], bound), max(0.0, seconds))


def analysis(session: Session, stages: Mapping[str, float], since_queued: float) -> None:
    """Of one analysis: how long each stage took, those of a model under the system's name, and all from its job on."""
    observe(session, ANALYSIS, since_queued)
    for name, seconds in sorted(stages.items()):
        system = name.removeprefix(_MODEL) if name.startswith(_MODEL) else ""
        observe(session, STAGE, seconds, "model" if system else name, system)


def delivery(session: Session, delivery_id: int, state: str, now: datetime) -> None:
    """Of one attempt, and of the whole way where it was the last."""
    ((destination, owed_at),) = _OWED.rows(session.connection(), {"delivery": delivery_id})
    count(session, ATTEMPT, destination, state)
    if state == "delivered":
        observe(session, DELIVERY, (now - owed_at).total_seconds(), destination)


def counts(session: Session, what: str) -> dict[Labels, int]:
    """By (of, how)."""
    rows = session.execute(select(Tally.of, Tally.how, Tally.number).where(Tally.what == what))
    return {(of, how): number for of, how, number in rows}


def histograms(session: Session, what: str) -> dict[Labels, Histogram]:
    """By (of, how)."""
    found: dict[Labels, Histogram] = {}
    for row in session.scalars(select(Tally).where(Tally.what == what)):
        known = found.get((row.of, row.how), Histogram())
        numbers = {**known.numbers, row.bucket: row.number}
        found[row.of, row.how] = Histogram(numbers, known.seconds + row.seconds)
    return found


def _add(session: Session, key: tuple[str, str, str, str], seconds: float) -> None:
    what, of, how, bucket = key
    one_more = {"in_what": what, "in_of": of, "in_how": how, "in_bucket": bucket, "took": seconds}
    if _MORE.run(session.connection(), one_more).rowcount:
        return
    first = {"what": what, "of": of, "how": how, "bucket": bucket, "number": 1, "seconds": seconds}
    try:
        with session.begin_nested():
            session.execute(insert(Tally).values(**first))
    except IntegrityError:  # another process began it meanwhile
        _MORE.run(session.connection(), one_more)
