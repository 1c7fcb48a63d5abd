"""The duty that keeps the trail: chains what is new and, where there is a collector, sends it in the chain's order.

A batch counts as sent when the transport has taken all of it; so a crash in between sends it again. A collector that is
away is tried again after a growing pause, and the trail waits in the database.
"""

from __future__ import annotations

import logging
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from node.audit.message import Source, message
from node.audit.syslog import Collector, line
from node.core import log
from node.core.audit import Audit
from node.db import audit, audit_outbox
from node.db.session import Database

logger = logging.getLogger(__name__)
PAUSES = (1.0, 2.0, 5.0, 15.0, 60.0)  # seconds after so many failures
BATCH, BATCHES = 100, 10  # messages on one connection, and connections of one turn


@dataclass
class Keeper:
    """``begin`` once, then ``turn`` as a duty: one process at a time."""

    database: Database
    wanted: Audit
    aet: str
    clock: Callable[[], datetime]
    seconds: Callable[[], float] = time.monotonic
    _failures: int = 0
    _not_before: float = field(default=0.0)

    def begin(self) -> None:
        with self.database.write() as session:
            audit_outbox.begin(session, self.wanted.collector)

    def turn(self) -> bool:
        """Whether all there is has been chained and, where it is wanted, sent."""
        self._chain()
        if not self.wanted.collector:
            return True
        if self.seconds() < self._not_before:
            return False
        return any(not self._send() for _ in range(BATCHES)) and not self._failures

    def _chain(self) -> None:
        with self.database.read() as session:
            new = audit.unchained(session)
        while new > 0:
            with self.database.write() as session:
                new = audit.chain(session) - audit.BATCH

    def _send(self) -> bool:
        """One batch; False when nothing is left or the collector does not take it."""
        collector = self.wanted.collector
        with self.database.read() as session:
            (standing,) = audit_outbox.standings(session)
            rows = audit.rows(session, standing.sequence, BATCH)
            named = audit_outbox.patients(session, [row["study_uid"] for row in rows]) if self._names else {}
        if not rows:
            return False
        host = socket.gethostname()
        source = Source(self.wanted.source or self.aet, self.wanted.site, self.aet, host)
        lines = [line(message(row, source, named.get(row["study_uid"])), row["at"], host) for row in rows]
        try:
            Collector(self.wanted).send(lines)
        except OSError as error:
            self._failed(error)
            return False
        self._failures, self._not_before = 0, 0.0
        with self.database.write() as session:
            audit_outbox.taken(session, collector, rows[-1]["sequence"])
        return len(rows) == BATCH

    @property
    def _names(self) -> bool:
        return self.wanted.patient_ids

    def _failed(self, error: OSError) -> None:
        self._not_before = self.seconds() + PAUSES[min(self._failures, len(PAUSES) - 1)]
        self._failures += 1
        said = f"The audit collector {self.wanted.collector} does not take messages: {_words(error)}."
        log.event(logger, "audit.not_sent", logging.WARNING, failures=self._failures, reason=said)
        with self.database.write() as session:
            audit_outbox.failed(session, self.wanted.collector, said, self.clock())


def _words(error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({error.verify_message})"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed ({error.reason or 'the connection ended'})"
    return error.strerror or str(error) or type(error).__name__
