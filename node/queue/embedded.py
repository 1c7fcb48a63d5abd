"""The queue on one machine: APScheduler runs the duties in threads; receipt and analysis run in child processes.

A duty that fails is logged and runs again at its next turn; a dead child is noticed, its claims are released by the
caller's ``on_death``, and it is started again with a growing pause. One that is silent (``pulse``) is killed first.
"""

from __future__ import annotations

import contextlib
import logging
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.base import BaseTrigger

from node.core import log
from node.queue.pulse import Pulse
from node.queue.worker import RETIRE

logger = logging.getLogger(__name__)
EVENTS = {
    "worker": {
        "started": "worker.started",
        "died": "worker.died",
        "killed": "worker.killed",
        "silent": "worker.silent",
    },
    "receiver": {
        "started": "receiver.started",
        "died": "receiver.died",
        "killed": "receiver.killed",
        "silent": "receiver.silent",
    },
}
SILENT_SECONDS = 60.0  # until the same failure of a duty is logged again: some have several turns a second
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 60.0  # seconds before a dead child is started again
SUSPECT_SECONDS = {"receiver": 5.0, "worker": 60.0}  # of silence, after which it does not count as alive; a worker may
HANGS_SECONDS = {"receiver": 30.0, "worker": 300.0}  # compute in one piece for long; and after which it is killed
KILLED_SECONDS = 5.0  # until the kernel has ended it


class _After(BaseTrigger):  # type: ignore[misc]
    """The next turn is so long after this one was looked for. An interval would count every turn that a clock which is
    set forward by years has skipped."""

    def __init__(self, seconds: float) -> None:
        self.pause = timedelta(seconds=seconds)

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime:
        return now + self.pause


class Duties:
    """Periodic work. One run of a duty at a time; missed turns are made up for once."""

    def __init__(self, threads: int = 4) -> None:
        self._scheduler = BackgroundScheduler(
            executors={"default": ThreadPoolExecutor(threads)},
            job_defaults={"max_instances": 1, "coalesce": True, "misfire_grace_time": None},
            timezone="UTC",
        )

    def add(self, name: str, function: Callable[[], object], seconds: float, *, at_once: bool = False) -> None:
        """at_once: its first turn comes with the start, else after so many seconds."""
        said, said_at = "", 0.0

        def run() -> None:
            nonlocal said, said_at
            try:
                function()
            except Exception as error:
                if str(error) != said or time.monotonic() >= said_at + SILENT_SECONDS:
                    said, said_at = str(error), time.monotonic()
                    logger.exception("duty.failed", extra={"fields": {"duty": name}})

        first = {"next_run_time": datetime.now(UTC)} if at_once else {}
        self._scheduler.add_job(run, _After(seconds), id=name, **first)

    def start(self) -> None:
        for library in ("apscheduler.executors.default", "apscheduler.scheduler"):
            logging.getLogger(library).setLevel(logging.ERROR)  # a turn that is still running is no news
        self._scheduler.start()

    def follow_clock(self) -> None:
        """APScheduler goes by the clock of day: after one that is set back, no duty would have a turn until it has
        caught up. To be called now and then by somebody who does not."""
        now = datetime.now(UTC)
        for job in self._scheduler.get_jobs():
            if job.next_run_time > now + job.trigger.pause:
                job.modify(next_run_time=now)

    def stop(self) -> None:
        """No new turn; waits for the turns that run."""
        self._scheduler.shutdown(wait=True)


@dataclass
class _Child:
    name: str
    process: subprocess.Popen[bytes]
    pulse: Pulse
    started: float
    pause: float = FIRST_PAUSE
    restart_at: float | None = None
    deaths: int = 0
    is_retiring: bool = False  # it ends what it is at, and its end is no death


@dataclass(frozen=True)
class Children:
    """Processes of one kind, ``worker`` or ``receiver``. ``command(name)`` is the argument vector of one;
    ``on_death(name)`` releases what it held; ``inherited``: descriptors that they get. Start and tend them from one
    thread that outlives them: the kernel ends a child that is bound to its parent with the thread that made it.

    is_ready: whether the child of this name does what it is for. Where that can be asked, ``renew`` starts a child
    beside each, which goes on (``RETIRE`` tells it to end what it is at) once the other is ready; else one takes the
    place of the other.
    """

    kind: str
    command: Callable[[str], Sequence[str]]
    count: int
    environment: Mapping[str, str]
    on_death: Callable[[str], object]
    inherited: Sequence[int] = ()
    is_ready: Callable[[str], bool] | None = None
    _replaced: list[tuple[_Child, int]] = field(default_factory=list)  # and its place among those of now
    _children: list[_Child] = field(default_factory=list)

    def start(self) -> None:
        for number in range(self.count):
            self._children.append(self._child(f"{self.kind}-{number + 1}"))

    def _child(self, name: str) -> _Child:
        return _Child(name, *self._spawn(name), time.monotonic())

    def renew(self) -> None:
        """Every child made anew, as its command is now; each of old ends what it is at. It is over when nothing
        ``is_renewing``."""
        for place, child in enumerate(self._children):
            if self.is_ready is None:
                child.is_retiring = True
                if child.process.poll() is None:
                    child.process.send_signal(signal.SIGTERM)
                continue
            new = self._child(f"{self.kind}-{1 + max(self._numbers())}")
            new.deaths, self._children[place] = child.deaths, new
            self._replaced.append((child, place))

    def _numbers(self) -> list[int]:
        known = [*self._children, *(child for child, _ in self._replaced)]
        return [int(child.name.rpartition("-")[2]) for child in known]

    @property
    def is_renewing(self) -> bool:
        """Whether one of old does anything but to end what it is at."""
        old = [child for child, _ in self._replaced if child.process.poll() is None]
        return self.is_ready is not None and any(not one.is_retiring or self.is_ready(one.name) for one in old)

    def _tend_replaced(self) -> None:
        for child, place in list(self._replaced):
            if child.process.poll() is not None:
                self.on_death(child.name)
                child.pulse.close()
                self._replaced.remove((child, place))
                continue
            self._listen(child)
            if not child.is_retiring and self.is_ready is not None and self.is_ready(self._children[place].name):
                child.is_retiring = True
                child.process.send_signal(RETIRE)

    def _spawn(self, name: str) -> tuple[subprocess.Popen[bytes], Pulse]:
        pulse = Pulse()
        try:
            process = subprocess.Popen(
                list(self.command(name)),
                env={**self.environment, **pulse.environment},
                stdin=subprocess.DEVNULL,
                pass_fds=(*self.inherited, pulse.descriptor),
            )
        except OSError:
            pulse.close()
            raise
        finally:
            pulse.handed_over()
        self._say("started", name, pid=process.pid)
        return process, pulse

    def _again(self, child: _Child) -> None:
        before, (child.process, child.pulse) = child.pulse, self._spawn(child.name)
        before.close()
        child.started, child.restart_at, child.is_retiring = time.monotonic(), None, False

    def _say(self, what: str, name: str, level: int = logging.INFO, **fields: object) -> None:
        log.event(logger, EVENTS[self.kind][what], level, **{self.kind: name}, **fields)

    def tend(self) -> None:
        """Notice the dead, release their claims, start them again when their pause is over."""
        self._tend_replaced()
        for child in self._children:
            if child.process.poll() is None:
                self._listen(child)
                if time.monotonic() - child.started > LONGEST_PAUSE:
                    child.pause = FIRST_PAUSE
                continue
            if child.is_retiring:
                self.on_death(child.name)
                self._again(child)
            elif child.restart_at is None:
                self.on_death(child.name)  # raises while the database cannot be written: then at the next turn
                code = child.process.returncode
                sentence = f"It {f'was ended by signal {-code}' if code < 0 else f'ended with status {code}'}; "
                sentence += f"what it held is released, and it is started again in {child.pause:g} s."
                self._say("died", child.name, logging.ERROR, exit_code=code, sentence=sentence)
                child.deaths += 1
                child.restart_at = time.monotonic() + child.pause
                child.pause = min(child.pause * 2, LONGEST_PAUSE)
            elif time.monotonic() >= child.restart_at:
                self._again(child)

    def _listen(self, child: _Child) -> None:
        """One that has been silent for long is killed: its peers wait for it, and it holds what others could do."""
        if child.pulse.listen() > HANGS_SECONDS[self.kind]:
            self._say("silent", child.name, logging.ERROR, pid=child.process.pid)
            child.process.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.process.wait(KILLED_SECONDS)

    def alive(self) -> int:
        """How many run and say so."""
        longest = SUSPECT_SECONDS[self.kind]
        return sum(child.process.poll() is None and child.pulse.silent_seconds <= longest for child in self._children)

    def deaths(self) -> int:
        """How many died since the start."""
        return sum(child.deaths for child in self._children)

    def stop(self, grace_seconds: float) -> None:
        """SIGTERM lets each finish what it is at; what remains after the grace is killed, by its own pid."""
        everyone = [*self._children, *(child for child, _ in self._replaced)]
        for child in everyone:
            if child.process.poll() is None:
                child.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + grace_seconds
        for child in everyone:
            try:
                child.process.wait(timeout=max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                self._say("killed", child.name, logging.ERROR, pid=child.process.pid)
                child.process.kill()
                child.process.wait()
            child.pulse.close()
            self.on_death(child.name)
