"""A destination that does not answer is left in peace: after some failures in a row it counts as away, and one probe
for each step of the back-off table asks for it, instead of every object trying.

A probe that is answered lets one association through (half-open). Only an answer to what was sent closes the breaker;
an association that breaks without one opens it again, one step further, so that a peer that greets and then breaks off
is not asked for ever at the shortest pause.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from node.core import log
from node.core.settings import Delivery, Destination
from node.db import destinations as rows
from node.db.session import Database

logger = logging.getLogger(__name__)
Probe = Callable[[Destination], str]  # empty when the destination answered, else the problem in words


class Answer(Protocol):
    """What the breaker needs of the outcome of one object. away: there was no association, or it broke."""

    @property
    def status(self) -> int | None: ...

    @property
    def comment(self) -> str: ...

    @property
    def away(self) -> bool: ...


def nobody_probes(destination: Destination) -> str:
    """The probe of a node without a network."""
    return ""


@dataclass(frozen=True)
class Breaker:
    database: Database
    settings: Delivery
    clock: Callable[[], datetime]
    jitter: Callable[[], float]
    probe: Probe = nobody_probes

    def lets_through(self, destination: Destination) -> bool:
        """Whether to send now. One that is away is probed; when it answers, what waited for it is due."""
        with self.database.read() as session:
            if rows.standing(session, destination.name).away_since is None:
                return True
        problem = self.probe(destination)
        if problem:
            self._failed(destination, problem)
            return False
        with self.database.write() as session:
            rows.bring_forward(session, destination.name, self.clock(), unanswered_only=True)
        return True

    def note(self, destination: Destination, outcomes: Sequence[Answer]) -> None:
        """Count an association by what it brought. A file that cannot be sent says nothing about the peer."""
        broken = [outcome.comment for outcome in outcomes if outcome.away]
        if any(outcome.status is not None for outcome in outcomes):
            self._answered(destination)
        elif broken:
            self._failed(destination, broken[0])

    def _answered(self, destination: Destination) -> None:
        with self.database.read() as session:
            if not rows.standing(session, destination.name).failures:
                return
        with self.database.write() as session:
            was_away = rows.answered(session, destination.name)
            if was_away:
                rows.bring_forward(session, destination.name, self.clock(), unanswered_only=True)
        if was_away:
            log.event(logger, "destination.back", destination=destination.name)

    def _failed(self, destination: Destination, problem: str) -> None:
        factor = self.jitter()
        with self.database.write() as session:
            standing = rows.unanswered(
                session,
                destination.name,
                problem,
                self.clock(),
                self.settings.away_after,
                lambda n: self.wait(n, factor),
            )
        if standing.away_since is not None:
            fields = {"failures": standing.failures, "probe_at": str(standing.probe_at), "reason": problem}
            log.event(logger, "destination.away", logging.WARNING, destination=destination.name, **fields)

    def wait(self, attempts: int, factor: float) -> timedelta:
        """The pause after so many attempts, from 1."""
        table = self.settings.backoff_seconds
        return timedelta(seconds=table[min(attempts, len(table)) - 1] * factor)
