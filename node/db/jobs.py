"""The job ledger: add, claim, finish, give back, park, withdraw, release. Every move is guarded by ``core.job.NEXT``.

A claim is one UPDATE that only succeeds from READY, and writes "<worker>:<token>"; whoever finishes a job must show the
token, so a worker that lost its claim can write nothing. The caller owns the transaction.

Nothing starves: a job has its turn ``AGEING`` later for each step of its priority, and goes before whatever came after
that, however urgent.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Update, bindparam, func, insert, select, update
from sqlalchemy.orm import Session

from node.core.job import NEXT, Job, JobKind, JobState
from node.core.study import StudyState
from node.db.driver import Rendered
from node.db.handed import Ready
from node.db.session import READY
from node.db.tables import JobRow, Study, table_of

AGEING = timedelta(seconds=30)  # films have priority 0 and CTs 10: a film passes the CTs of the last five minutes
FORGIVEN_STOPS = 20  # of the whole node while a job ran; from then on each counts as an attempt


def _guarded(old: JobState, new: JobState) -> Update:
    if new not in NEXT[old]:
        raise AssertionError(f"a job cannot go from {old} to {new}")
    return update(JOBS).where(JOBS.c.state == old).values(state=new)


JOBS = table_of(JobRow)
# What every analysis and every delivery comes to, and what is asked many times a second.
_KNOWN = Rendered(select(JOBS.c.id).where(JOBS.c.kind == bindparam("of"), JOBS.c.key == bindparam("named")))
_ADDED = ("kind", "key", "subject_id", "payload", "state", "priority", "next_at", "turn_at", "pipeline", "created_at")
_ADD = Rendered(insert(JOBS).returning(JOBS.c.id), _ADDED)
_NEXT = (
    select(JOBS.c.id)
    .where(JOBS.c.kind == bindparam("of"), JOBS.c.state == JobState.READY, JOBS.c.next_at <= bindparam("now"))
    .order_by(JOBS.c.turn_at, JOBS.c.id)
    .limit(1)
)
_NEXT_OF_ANY = Rendered(_NEXT)
_NEXT_FOR = Rendered(_NEXT.where((JOBS.c.pipeline == "") | (JOBS.c.pipeline == bindparam("for"))))
_WAITS = Rendered(select(JOBS.c.id).where(JOBS.c.kind == bindparam("of"), JOBS.c.state == JobState.READY).limit(1))
_CLAIM = Rendered(
    _guarded(JobState.READY, JobState.RUNNING)
    .where(JOBS.c.id == bindparam("job"))
    .values(claimed_by=bindparam("token"), claimed_at=bindparam("now"), attempts=JOBS.c.attempts + 1)
    .returning(JOBS.c.id, JOBS.c.kind, JOBS.c.subject_id, JOBS.c.key, JOBS.c.attempts, JOBS.c.claimed_by)
    .returning(JOBS.c.created_at, JOBS.c.payload, JOBS.c.kills, JOBS.c.alone)
)
_FINISH = Rendered(
    _guarded(JobState.RUNNING, JobState.DONE)
    .where(JOBS.c.id == bindparam("job"), JOBS.c.claimed_by == bindparam("token"))
    .values(claimed_by="", finished_at=bindparam("now"))
)
_HELD = Rendered(
    select(JOBS.c.id).where(
        JOBS.c.id == bindparam("job"), JOBS.c.claimed_by == bindparam("token"), JOBS.c.state == JobState.RUNNING
    )
)


def add(
    session: Session,
    kind: JobKind,
    subject_id: int,
    key: str,
    now: datetime,
    *,
    payload: str = "",
    priority: int = 0,
    pipeline: str = "",
) -> bool:
    """Insert a READY job; False when one with this kind and key exists already. pipeline: which models and settings a
    worker must have for it; empty: any."""
    connection = session.connection()
    if _KNOWN.first(connection, {"of": kind, "named": key}):  # and nobody adds it meanwhile (see ``dialects``)
        return False
    row = {
        "kind": kind,
        "key": key,
        "subject_id": subject_id,
        "payload": payload,
        "state": JobState.READY,
        "priority": priority,
        "next_at": now,
        "turn_at": now + priority * AGEING,
        "pipeline": pipeline,
        "created_at": now,
    }
    ((job_id,),) = _ADD.rows(connection, row)
    _tell(session, JobRow.id == job_id)
    return True


def next_due(session: Session, kind: JobKind, now: datetime, pipeline: str = "") -> int | None:
    """The job of this kind whose turn it is, of those for this pipeline or for any; None when there is none."""
    asked = _NEXT_FOR if pipeline else _NEXT_OF_ANY
    row = asked.first(session.connection(), {"of": kind, "now": now, "for": pipeline})
    return row[0] if row else None


def waits(session: Session, kind: JobKind) -> bool:
    """Whether any job of this kind is READY, whenever it is due and whoever it is for."""
    return _WAITS.first(session.connection(), {"of": kind}) is not None


def claim(session: Session, kind: JobKind, worker: str, token: str, now: datetime, pipeline: str = "") -> Job | None:
    """The next due job of this kind, now RUNNING under the token; None when there is none."""
    job_id = next_due(session, kind, now, pipeline)
    return None if job_id is None else claim_one(session, job_id, worker, token, now)


def claim_one(session: Session, job_id: int, worker: str, token: str, now: datetime) -> Job | None:
    """This job, if it is still READY."""
    wanted = {"job": job_id, "token": f"{worker}:{token}", "now": now}
    row = _CLAIM.first(session.connection(), wanted)
    return None if row is None else Job(row[0], JobKind(row[1]), *row[2:])


def claim_for(session: Session, job_id: int, pipeline: str, worker: str, token: str, now: datetime) -> Job | None:
    """This job, if it is still READY and asks for this pipeline or for any."""
    asked = session.scalar(select(JobRow.pipeline).where(JobRow.id == job_id))
    return claim_one(session, job_id, worker, token, now) if asked in ("", pipeline) else None


def finish(session: Session, job: Job, now: datetime) -> bool:
    """RUNNING -> DONE; False when the claim was lost."""
    done = _FINISH.run(session.connection(), {"job": job.id, "token": job.token, "now": now})
    return bool(done.rowcount)


def give_back(session: Session, job: Job, next_at: datetime, error: str) -> bool:
    """RUNNING -> READY, to be tried again at ``next_at``; False when the claim was lost."""
    return _move(session, JobState.RUNNING, JobState.READY, _held(job), next_at=next_at, error=error, claimed_by="")


def postpone(session: Session, job: Job, next_at: datetime, error: str) -> bool:
    """RUNNING -> READY, as if this attempt had not been; False when the claim was lost."""
    again = {"attempts": JobRow.attempts - 1, "next_at": next_at, "error": error, "claimed_by": ""}
    return _move(session, JobState.RUNNING, JobState.READY, _held(job), **again)


def park(session: Session, job: Job, now: datetime, error: str) -> bool:
    """RUNNING -> PARKED: given up; False when the claim was lost."""
    return _move(session, JobState.RUNNING, JobState.PARKED, _held(job), finished_at=now, error=error, claimed_by="")


def withdraw(session: Session, job_id: int, now: datetime, reason: str) -> bool:
    """READY -> DONE: nothing is left to do; False when somebody is at it, or it has ended."""
    return _move(session, JobState.READY, JobState.DONE, JobRow.id == job_id, finished_at=now, error=reason)


def unpark(session: Session, job_id: int, now: datetime) -> bool:
    """PARKED -> READY, by an operator."""
    return _move(
        session,
        JobState.PARKED,
        JobState.READY,
        JobRow.id == job_id,
        next_at=now,
        attempts=0,
        kills=0,
        finished_at=None,
    )


def release(session: Session, worker: str | None, error: str, *, stopped: bool = False) -> int:
    """RUNNING -> READY for the jobs of a worker that is gone (None: of every worker, at start-up; a name that ends in a
    slash: of every worker of that node, or of every lane of that worker). stopped: the node went, not the worker alone.

    A study whose analysis is released waits again. A worker that dies alone is counted as an attempt of its job; that
    the whole node went away (power, an operator) is not held against it, but for a job that this happened to very
    often: it may be what brings the machine down. Of several analyses of one process nobody knows which it died of:
    it is held against none, and each of them is from now on the only one of its process (``Job.alone``).
    """
    held = JobRow.state == JobState.RUNNING
    if worker is not None:
        held &= JobRow.claimed_by.startswith(worker if worker.endswith("/") else f"{worker}:", autoescape=True)
    stopped = stopped or worker is None
    rows = session.execute(select(JobRow.id, JobRow.kind, JobRow.subject_id, JobRow.stops).where(held)).all()
    is_known = sum(kind == JobKind.ANALYSE for _, kind, _, _ in rows) == 1
    for job_id, kind, subject_id, stops in rows:
        forgiven = {"attempts": JobRow.attempts - 1} if stopped and stops < FORGIVEN_STOPS else {}
        counted: dict[str, object] = {"stops": stops + 1} if stopped else {}
        if kind == JobKind.ANALYSE and not stopped:
            blame = {"kills": JobRow.kills + 1} if is_known else {"attempts": JobRow.attempts - 1}
            counted = {"alone": True, **blame}
        _move(
            session, JobState.RUNNING, JobState.READY, JobRow.id == job_id, error=error, claimed_by="",
            **forgiven, **counted,
        )  # fmt: skip
        if kind == JobKind.ANALYSE:
            analysing = (Study.id == subject_id) & (Study.state == StudyState.ANALYSING)
            session.execute(update(Study).where(analysing).values(state=StudyState.QUEUED))
    return len(rows)


def holds(session: Session, job: Job) -> bool:
    """Whether the claim is still ours."""
    return _HELD.first(session.connection(), {"job": job.id, "token": job.token}) is not None


def due(session: Session, kind: JobKind, now: datetime) -> list[tuple[int, int]]:
    """(job id, subject id) of every due READY job."""
    statement = (
        select(JobRow.id, JobRow.subject_id)
        .where(JobRow.kind == kind, JobRow.state == JobState.READY, JobRow.next_at <= now)
        .order_by(JobRow.priority, JobRow.next_at, JobRow.id)
    )
    return list(session.execute(statement).tuples())


def settle_study(session: Session, study_id: int, key: str) -> None:
    """A study closed again with the very instances of an existing job takes the state that job is in."""
    state = session.scalar(select(JobRow.state).where(JobRow.kind == JobKind.ANALYSE, JobRow.key == key))
    states = {
        JobState.DONE: StudyState.ANALYSED,
        JobState.PARKED: StudyState.FAILED,
        JobState.RUNNING: StudyState.ANALYSING,
    }
    if state in states:
        session.execute(update(Study).where(Study.id == study_id).values(state=states[JobState(state)]))


def ready(session: Session, kind: JobKind) -> int:
    """How many jobs of this kind wait to be claimed."""
    waiting = (JobRow.kind == kind) & (JobRow.state == JobState.READY)
    return session.scalar(select(func.count()).select_from(JobRow).where(waiting)) or 0


def last_error(session: Session, job: Job) -> str:
    return session.scalar(select(JobRow.error).where(JobRow.id == job.id)) or ""


def _held(job: Job) -> ColumnElement[bool]:
    return (JobRow.id == job.id) & (JobRow.claimed_by == job.token)


def _move(session: Session, old: JobState, new: JobState, which: ColumnElement[bool], **values: object) -> bool:
    moved = session.connection().scalars(_guarded(old, new).where(which).values(**values).returning(JOBS.c.id)).all()
    if moved and new is JobState.READY:
        _tell(session, JobRow.id.in_(moved))
    return bool(moved)


def _tell(session: Session, which: ColumnElement[bool]) -> None:
    """The queue engine hears of analyses that became READY."""
    tell = session.info.get(READY)
    if tell is None:
        return
    ready = select(JobRow.id, JobRow.pipeline, JobRow.turn_at, JobRow.next_at).where(
        which, JobRow.kind == JobKind.ANALYSE, JobRow.state == JobState.READY
    )
    for row in session.execute(ready).all():
        tell(session.connection(), Ready(*row))
