"""Settings of what several nodes share: the database, the archive, the queue, and who does what."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

from node.core.errors import Misconfigured

ROLES = ("receiver", "web", "worker", "all")
ENGINES = ("ledger", "procrastinate")
POSTGRESQL = ("postgresql://", "postgresql+psycopg://")
LARGEST_PUT = 5 << 30  # bytes of one object that a store takes in one piece


@dataclass(frozen=True)
class Shared:
    """url: empty for SQLite in the data folder. archive: empty for the archive in the data folder."""

    url: str
    archive: str


@dataclass(frozen=True)
class Bucket:
    """Where the archive is in an object store. url: s3://BUCKET/PREFIX; empty: it is a folder. cache_bytes: of it on
    each machine."""

    url: str
    endpoint: str
    region: str
    cache_bytes: int


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


def check_bucket(bucket: Bucket, shared: Shared, max_instance_bytes: int, high_watermark_percent: float) -> None:
    if not bucket.url:
        return
    if not re.fullmatch(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9._-]+)*/?", bucket.url):
        raise Misconfigured(
            "archive.url is empty or s3://BUCKET/PREFIX; credentials are no part of it: the environment or the AWS "
            "files have them"
        )
    if bucket.endpoint and not re.fullmatch(r"https?://[^/?#@\s]+/?", bucket.endpoint):
        raise Misconfigured("archive.endpoint is empty or an URL such as https://store.example:9000")
    if bucket.cache_bytes < 1 << 20:
        raise Misconfigured("archive.cache_bytes is at least 1048576")
    if shared.archive:
        raise Misconfigured("archive.url and database.archive both say where the archive is: leave one of them empty")
    if max_instance_bytes > LARGEST_PUT:
        raise Misconfigured(f"receive.max_instance_bytes is at most {LARGEST_PUT} where archive.url is set")
    if high_watermark_percent:
        raise Misconfigured("retention.high_watermark_percent is of a disk, and archive.url is none: let it be 0")
