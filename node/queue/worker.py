"""The loop of one lane of a worker process: claim a job, handle it, again. The process dies when its supervisor dies.

The handler finishes the job itself, in the transaction that writes its results; the loop only has it given back or
parked when the handler raises.
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass

from node.core import log
from node.core.job import Job

logger = logging.getLogger(__name__)
PR_SET_PDEATHSIG = 1  # linux/prctl.h
RETIRE = signal.SIGUSR1  # no SIGHUP: a hangup of all processes retires nobody
POLL_SECONDS, RETRY_SECONDS = 0.05, 1.0


@dataclass(frozen=True)
class Loop:
    """claim(id) -> that job or None, claim(None) -> the next one or None; handle(job); failed(job, error) gives it back
    or parks it; ended() is told after each job, however it ended."""

    claim: Callable[[int | None], Job | None]
    handle: Callable[[Job], object]
    failed: Callable[[Job, Exception], object]
    ended: Callable[[], object] = lambda: None

    def run(self, stop: threading.Event, orphaned: Callable[[], bool]) -> None:
        while not stop.is_set() and not orphaned():
            try:
                job = self.claim(None)
            except Exception:
                logger.exception("worker.cannot_claim")
                stop.wait(RETRY_SECONDS)
                continue
            if job is None:
                stop.wait(POLL_SECONDS)
            else:
                self._one(job, lambda: orphaned() or stop.wait(RETRY_SECONDS))

    def one(self, job_id: int, has_to_end: Callable[[], bool]) -> None:
        """This job, unless somebody else has it. A claim that was not heard of may stand, so it is asked for again."""
        while True:
            try:
                job = self.claim(job_id)
            except Exception:
                logger.exception("worker.cannot_claim")
                if has_to_end():
                    return
            else:
                break
        if job is not None:
            self._one(job, has_to_end)

    def _one(self, job: Job, has_to_end: Callable[[], bool]) -> None:
        log.event(logger, "job.started", job=job.id, kind=job.kind, attempt=job.attempts)
        try:
            self.handle(job)
        except Exception as error:
            logger.exception("job.failed", extra={"fields": {"job": job.id, "attempt": job.attempts}})
            self._failed(job, error, has_to_end)
        else:
            log.event(logger, "job.done", job=job.id, kind=job.kind)
        finally:
            self.ended()

    def _failed(self, job: Job, error: Exception, has_to_end: Callable[[], bool]) -> None:
        """Until it is written: a database that cannot be written is why jobs fail. Else the supervisor releases it."""
        while True:
            try:
                self.failed(job, error)
            except Exception:
                logger.exception("worker.cannot_give_back", extra={"fields": {"job": job.id}})
            else:
                return
            if has_to_end():
                return


def bind_to_parent(parent: int) -> Callable[[], bool]:
    """Ask the kernel for SIGKILL when the parent dies; returns a check for the case that it is gone already.

    ``parent``: the supervisor's process id as it gave it: one that died while this process started is no longer ours.
    """
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    return lambda: os.getppid() != parent


def retire_when_told() -> threading.Event:
    """An event that ``RETIRE`` sets: another process takes the place of this one, which ends what it is at."""
    retire = threading.Event()
    signal.signal(RETIRE, lambda *_: retire.set())
    return retire


def stop_on_sigterm() -> threading.Event:
    """An event that SIGTERM sets. SIGINT and SIGHUP, which a terminal or systemctl kill sends to all processes of a
    node, are for the supervisor."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    return stop
