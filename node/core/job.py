"""A job's lifecycle. The ledger is the ``jobs`` table on every queue engine; this table of moves guards its SQL.

kinds: ``analyse`` (one study, one set of instances), ``deliver`` (one output to one destination) and ``priors`` (the
earlier studies of one study's patient).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

MOST_KILLS = 2  # of the worker process that was at an analysis and at no other; then it is given up with a report


class JobKind(StrEnum):
    ANALYSE = "analyse"
    DELIVER = "deliver"
    PRIORS = "priors"


class JobState(StrEnum):
    READY = "ready"  # may be claimed when next_at has come
    RUNNING = "running"  # claimed by one worker, token in claimed_by
    DONE = "done"
    PARKED = "parked"  # given up after too many attempts or a final refusal; an operator may set it READY


NEXT: dict[JobState, frozenset[JobState]] = {
    JobState.READY: frozenset({JobState.RUNNING, JobState.DONE}),  # done without a claim: nothing is left to do
    JobState.RUNNING: frozenset({JobState.DONE, JobState.READY, JobState.PARKED}),
    JobState.PARKED: frozenset({JobState.READY}),
    JobState.DONE: frozenset(),
}


@dataclass(frozen=True)
class Job:
    """A claimed job. ``token`` must be given back to finish it; a job claimed anew has another token."""

    id: int
    kind: JobKind
    subject_id: int  # analyse, priors: studies.id; deliver: deliveries.id
    key: str
    attempts: int  # this attempt included
    token: str
    created_at: datetime
    payload: str = ""  # analyse: digest of the instance set
    kills: int = 0  # analyse: how often its worker process died of it
    alone: bool = False  # analyse: a worker process that was at it and at others died, so now it is at no other
