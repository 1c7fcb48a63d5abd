"""Which analyses of the ledger Procrastinate has a waiting task for, and which of its tasks are over. The caller owns
the transaction.

Tasks name their job, and the models that it asks for, in their queueing lock, which no two waiting ones share.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Connection, text
from sqlalchemy.orm import Session

TASK = "analyse"
AT_ONCE = 1000
_KEY = "jobs.id || ':' || left(jobs.pipeline, 16)"
_HAS_TABLES = text("SELECT to_regclass('procrastinate_jobs') IS NOT NULL")
_WAITS = text("SELECT 1 FROM procrastinate_jobs WHERE queueing_lock = :key AND status = 'todo'")
_MISSING = text(
    "SELECT id, pipeline, turn_at, next_at FROM jobs WHERE kind = 'analyse' AND state = 'ready' AND NOT EXISTS"
    f" (SELECT 1 FROM procrastinate_jobs AS task WHERE task.queueing_lock = {_KEY} AND task.status = 'todo')"
    " ORDER BY turn_at LIMIT :most"
)
_DROP = text(
    "DELETE FROM procrastinate_jobs AS task WHERE task.status = 'todo' AND task.task_name = :task AND NOT EXISTS"
    f" (SELECT 1 FROM jobs WHERE jobs.id = (task.args->>'job_id')::bigint AND jobs.state = 'ready'"
    f" AND task.queueing_lock = {_KEY})"
)


@dataclass(frozen=True)
class Ready:
    """A job that may be claimed from ``next_at`` on."""

    job_id: int
    pipeline: str
    turn_at: datetime
    next_at: datetime


def key(ready: Ready) -> str:
    return f"{ready.job_id}:{ready.pipeline[:16]}"


def has_tables(session: Session) -> bool:
    return bool(session.scalar(_HAS_TABLES))


def waits(connection: Connection, key: str) -> bool:
    return connection.scalar(_WAITS, {"key": key}) is not None


def missing(session: Session) -> list[Ready]:
    """Jobs without a task: of a time before this engine, given back by a command, or forgotten by a worker that died
    between its task and its claim."""
    rows = session.execute(_MISSING, {"most": AT_ONCE}).tuples()
    return [Ready(job, pipeline, *(at.replace(tzinfo=UTC) for at in times)) for job, pipeline, *times in rows]


def drop_over(session: Session) -> None:
    """Tasks of jobs that somebody else has done, or that ask for other models by now."""
    session.execute(_DROP, {"task": TASK})
