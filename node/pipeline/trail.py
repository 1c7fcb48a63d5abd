"""The audit trail for those who have no transaction of their own: one event, committed before the call returns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from node.core.audit import AuditEvent
from node.db import audit
from node.db.session import Database

Tell = Callable[[AuditEvent], None]


def untold(_: AuditEvent) -> None:
    """For parts that run outside of a node."""


@dataclass(frozen=True)
class Trail:
    """Raises what the database raises: what cannot be told must not be done."""

    database: Database
    clock: Callable[[], datetime]

    def tell(self, event: AuditEvent) -> None:
        with self.database.write() as session:
            audit.append(session, event, self.clock())
