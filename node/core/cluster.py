"""Settings of what several nodes share: the database, the archive beside it, the queue, and who does what."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

from node.core.errors import Misconfigured

ROLES = ("receiver", "web", "worker", "all")
ENGINES = ("ledger", "procrastinate")
POSTGRESQL = ("postgresql://", "postgresql+psycopg://")


@dataclass(frozen=True)
class Shared:
    """url: empty for SQLite in the data folder. archive: empty for the archive in the data folder."""

    url: str
    archive: str


@dataclass(frozen=True)
class Queue:
    """lease_seconds: a node that was not heard of for so long is taken for dead; others do what it was at."""

    engine: str
    roles: tuple[str, ...]
    lease_seconds: float

    def does(self, role: str) -> bool:
        return role in self.roles or "all" in self.roles


def _has_password(url: str) -> bool:
    """libpq takes one from the query too."""
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise Misconfigured(f"database.url is no URL: {error}") from None
    return bool(parts.password) or any("password" in name.casefold() for name in parse_qs(parts.query))


def check_cluster(shared: Shared, queue: Queue) -> None:
    if shared.url and not shared.url.startswith(POSTGRESQL):
        raise Misconfigured("database.url is empty (SQLite in the data folder) or begins with postgresql://")
    if shared.url and _has_password(shared.url):
        raise Misconfigured("database.url holds no password, since the run keeps it: use PGPASSFILE or PGPASSWORD")
    if not queue.roles or not set(queue.roles) <= set(ROLES):
        raise Misconfigured(f"queue.roles is one or more of {', '.join(ROLES)}")
    if queue.engine not in ENGINES:
        raise Misconfigured(f"queue.engine is {' or '.join(ENGINES)}")
    if queue.lease_seconds < 3:
        raise Misconfigured("queue.lease_seconds is at least 3: a node says every second that it lives")
    if shared.url:
        return
    if set(queue.roles) != {"all"}:
        raise Misconfigured(
            "the database is SQLite, which one node alone can use: queue.roles is all. For several nodes set "
            "database.url to a PostgreSQL server"
        )
    if queue.engine == "procrastinate":
        raise Misconfigured("queue.engine = procrastinate needs PostgreSQL: set database.url")
