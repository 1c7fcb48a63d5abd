"""Send what is owed. One association a destination, destinations side by side, a ledger row for every attempt.

"Delivered" means that the peer said so: success, a warning or a duplicate, which are success with a note. A SOP class
that the peer does not take ends in another form or in a refusal (``fallback``), never in another try. Anything else is
tried again after a growing pause, for ever unless the settings set a limit; a peer that is away is probed
(``breaker``). What the ``gate`` objects to is held, never sent. Where a destination must commit what it took, that
alone is delivery (``commitment``).
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import random
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Protocol

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from node.archive import Archive
from node.core import log
from node.core.errors import Transient
from node.core.job import Job, JobKind
from node.core.settings import Delivery, Destination
from node.db import deliveries as ledger
from node.db import destinations as standings
from node.db import fallback as other_forms
from node.db import intake as study_rows
from node.db import jobs
from node.db.session import Database
from node.pipeline import traces
from node.pipeline.breaker import Breaker, Probe, nobody_probes
from node.pipeline.commitment import Committing
from node.pipeline.fallback import REFUSED, FallBack
from node.pipeline.gate import Asker, Gate, nobody_asks

logger = logging.getLogger(__name__)
HAS_IT = 0x0111  # Duplicate SOP Instance, PS3.7 C.5.9: our UIDs name the same bytes for ever, so what it has is ours
BATCH = 200  # rows looked at in one turn


@dataclass(frozen=True)
class Outcome:
    """What a peer said of one file; ``status`` None: nothing. away: there was no association, or it broke. postponed:
    it was not sent, for what is no fault of its own; that is no attempt."""

    status: int | None
    comment: str
    delivered: bool
    away: bool = False
    postponed: bool = False


@dataclass(frozen=True)
class _Parcel:
    """One claimed delivery. note: what the ledger says of it once it was delivered."""

    item: ledger.Due
    job: Job
    note: str = ""


_Answered = tuple[_Parcel, Outcome]


def worker_name(destination: str) -> str:
    """The name under which a destination's thread claims jobs: short, whatever the destination is called."""
    return f"delivery-{hashlib.sha256(destination.encode()).hexdigest()[:12]}"


class Sender(Protocol):
    """Sends files to a destination; one outcome a file, in order. Never raises for what a peer does."""

    def __call__(self, destination: Destination, files: Sequence[Path]) -> Sequence[Outcome]: ...


@dataclass(frozen=True)
class Deliver:
    """``pump`` is a duty: it starts a thread for each destination that is owed something and has none running.

    peer: a destination by its name, with what it is sent. ask: asks a destination whose a study is. probe: asks one
    that was away whether it is there. committing: asks one whose table says so to commit what it took.
    """

    database: Database
    archive: Archive
    settings: Delivery
    send: Sender
    clock: Callable[[], datetime]
    jitter: Callable[[], float] = lambda: random.uniform(0.9, 1.1)
    peer: Callable[[str], Destination] = Destination.named
    ask: Asker = nobody_asks
    probe: Probe = nobody_probes
    committing: Committing | None = None
    owner: str = ""  # of its claims, see db.members
    trace: traces.Trace = traces.untraced
    _busy: dict[str, threading.Thread] = field(default_factory=dict)
    _broken: set[str] = field(default_factory=set)  # destinations whose claims are still to be given back

    def pump(self) -> bool:
        """Whether nothing is owed, and nothing is under way."""
        busy = {name for name, thread in self._busy.items() if thread.is_alive()} | self._broken
        with self.database.read() as session:
            if not jobs.waits(session, JobKind.DELIVER):
                return not busy
            shut = standings.closed(session, self.clock())
            due = ledger.due(session, self.clock(), BATCH, without=shut.union(busy))
            away = [name for name in standings.to_probe(session, self.clock()) if name not in busy]
        for name in dict.fromkeys((*(item.destination for item in due), *away)):
            mine = [item for item in due if item.destination == name]
            self._busy[name] = thread = threading.Thread(target=self._guarded, args=(name, mine), name=f"to {name}")
            thread.start()
        return False

    def let_go(self) -> None:
        """What broke off is due again. A duty of every node: another may do the deliveries by now, but only this one
        knows that it no longer does."""
        for name in list(self._broken):
            if not self._busy[name].is_alive():
                self._release(name)

    def after(self, before: Deliver) -> Deliver:
        """This one in place of another, whose associations go on: none is opened beside them."""
        return replace(self, _busy=before._busy, _broken=before._broken)

    def drain(self, seconds: float) -> None:
        """Wait for the associations that run."""
        for thread in self._busy.values():
            thread.join(seconds)

    def _guarded(self, name: str, due: Sequence[ledger.Due]) -> None:
        try:
            self.deliver(name, due)
        except Exception:
            logger.exception("delivery.failed", extra={"fields": {"destination": name}})
            self._broken.add(name)
            with contextlib.suppress(SQLAlchemyError):  # then ``let_go`` does
                self._release(name)

    def _release(self, name: str) -> None:
        """What a delivery held that broke off is due again."""
        with self.database.write() as session:
            jobs.release(session, self.owner + worker_name(name), "the delivery broke off")
        self._broken.discard(name)

    def deliver(self, name: str, due: Sequence[ledger.Due]) -> None:
        """Claim, check, put what is not taken into another form, send in the order of building, write down."""
        destination, breaker = self.peer(name), self._breaker()
        if not breaker.lets_through(destination):
            return
        if not due:
            with self.database.read() as session:
                due = ledger.due(session, self.clock(), BATCH, only=name)
        self._ask_to_commit(destination, [item for item in due if item.state == "committing"])
        parcels = self._parcels(destination, [item for item in due if item.state != "committing"])
        if not parcels:
            return
        began = self.clock()
        outcomes = self.send(destination, [self.archive.path(parcel.item.path) for parcel in parcels])
        outcomes = [replace(one, delivered=True) if one.status == HAS_IT else one for one in outcomes]
        breaker.note(destination, outcomes)
        moment, factor = self.clock(), self.jitter()  # one for all, so that they are due together again
        refused = [one.status == REFUSED and not one.delivered for one in outcomes]
        answered = zip(parcels, outcomes, refused, strict=True)
        self._note(destination, [(parcel, one) for parcel, one, other in answered if not other], moment, factor)
        for parcel, other in zip(parcels, refused, strict=True):
            if other:
                self._fall_back(destination, parcel, tried=True)
        self.trace(self._spans(parcels, outcomes, began, moment))

    def _spans(
        self, parcels: Sequence[_Parcel], outcomes: Sequence[Outcome], began: datetime, ended: datetime
    ) -> Iterator[traces.Span]:
        """Of one association: all that it carried took as long as it. Nothing is asked until somebody wants them."""
        with self.database.read() as session:
            keys = ledger.analyse_keys(session, {parcel.item.analysis_id for parcel in parcels})
        for parcel, outcome in zip(parcels, outcomes, strict=True):
            item = parcel.item
            status = "none" if outcome.status is None else f"0x{outcome.status:04X}"
            said = {"lungnode.destination": item.destination, "lungnode.kind": item.kind, "lungnode.status": status}
            run, which = traces.Run(item.study_uid, keys[item.analysis_id]), f"{item.delivery_id} {parcel.job.attempts}"
            yield traces.delivered(run, which, began, ended, said, "" if outcome.delivered else "not delivered")

    def _commits(self, destination: Destination) -> bool:
        """Whether what it took counts only once it is committed."""
        return self.committing is not None and destination.objects is not None and destination.objects.commit

    def _ask_to_commit(self, destination: Destination, taken: Sequence[ledger.Due]) -> None:
        claimed = self._claim(destination.name, taken) if taken else []
        if claimed and self.committing is not None:
            wait, factor = self._breaker().wait, self.jitter()
            self.committing.ask(destination, [(one.item, one.job) for one in claimed], lambda n: wait(n, factor))

    def _parcels(self, destination: Destination, due: Sequence[ledger.Due]) -> list[_Parcel]:
        """What may be sent, in the order of building; other forms of what is known not to be taken among it."""
        found: list[_Parcel] = []
        while due:
            sound = self._sound(destination, self._claim(destination.name, due))
            with self.database.read() as session:
                refused = other_forms.refused_classes(session, destination.name)
            found += [parcel for parcel in sound if parcel.item.sop_class_uid not in refused]
            unwanted = [parcel for parcel in sound if parcel.item.sop_class_uid in refused]
            for parcel in unwanted:
                self._fall_back(destination, parcel, tried=False)
            with self.database.read() as session:
                again = ledger.due(session, self.clock(), BATCH, only=destination.name) if unwanted else []
            due = [item for item in again if item.state != "committing"]
        return sorted(found, key=lambda parcel: parcel.item.place)

    def _claim(self, name: str, due: Sequence[ledger.Due]) -> list[_Parcel]:
        token, worker, now = uuid.uuid4().hex[:12], self.owner + worker_name(name), self.clock()
        with self.database.write() as session:
            ledger.supersede_deliveries(session, due, now)
            found = [(item, jobs.claim_one(session, item.job_id, worker, token, now)) for item in due]
        return [_Parcel(item, job) for item, job in found if job is not None]

    def _sound(self, destination: Destination, claimed: Sequence[_Parcel]) -> list[_Parcel]:
        """What the gate lets pass; the rest is held, or waits for an answer."""
        verdicts = Gate(self.archive, self.ask, self._received)(destination, [parcel.item for parcel in claimed])
        moment, factor = self.clock(), self.jitter()
        sound, later = [], []
        for parcel, verdict in zip(claimed, verdicts, strict=True):
            if verdict.held:
                self._hold(parcel, verdict.held)
            elif verdict.later:
                later.append((parcel, Outcome(None, verdict.later, False, postponed=True)))
            else:
                sound.append(_Parcel(parcel.item, parcel.job, verdict.note))
        if later:
            self._note(destination, later, moment, factor)
        return sound

    def _received(self, study_id: int) -> ledger.Sources:
        with self.database.read() as session:
            return ledger.sources(session, study_id)

    def _fall_back(self, destination: Destination, parcel: _Parcel, *, tried: bool) -> None:
        wanted = destination.objects is None or destination.objects.fall_back
        other_form = FallBack(self.database, self.archive, self.clock)
        try:
            other_form.refused(parcel.item, parcel.job, tried=tried, wanted=wanted)
        except Transient as error:  # the archive takes no file now
            outcome = Outcome(None, str(error), False, postponed=True)
            self._note(destination, [(parcel, outcome)], self.clock(), self.jitter())

    def _hold(self, parcel: _Parcel, reason: str) -> None:
        item, job, now = parcel.item, parcel.job, self.clock()
        with self.database.write() as session:
            if jobs.park(session, job, now, reason):
                ledger.note_attempt(session, item.delivery_id, "failed", None, f"Held: {reason}", job.attempts, now)
                study_rows.add_event(session, item.study_id, now, f"A result for {item.destination} is held: {reason}")
        log.event(logger, "delivery.held", logging.ERROR, sop_instance_uid=item.sop_instance_uid, reason=reason)

    def _note(self, destination: Destination, answered: Sequence[_Answered], now: datetime, factor: float) -> None:
        """One commit for the results of one analysis."""
        for _, group in groupby(answered, key=lambda one: one[0].item.analysis_id):
            of_one, commits = list(group), self._commits(destination)
            with self.database.write() as session:
                states = [self._noted(session, one, now, factor, commits) for one in of_one]
            for (parcel, outcome), state in zip(of_one, states, strict=True):
                log.event(
                    logger,
                    f"delivery.{state}",
                    destination=parcel.item.destination,
                    sop_instance_uid=parcel.item.sop_instance_uid,
                    attempt=parcel.job.attempts,
                    status=None if outcome.status is None else f"0x{outcome.status:04X}",
                )

    def _noted(self, session: Session, answered: _Answered, now: datetime, factor: float, commit: bool) -> str:
        """The state in which the delivery is from now on."""
        (parcel, outcome), job, comment = answered, answered[0].job, answered[1].comment
        tries = parcel.item.tries + 1 if outcome.postponed else job.attempts
        if outcome.delivered:
            comment = "; ".join(said for said in (comment, parcel.note) if said)
            if commit:  # due at once: all that one association brought is asked for together
                state, kept = "committing", jobs.give_back(session, job, now, "")
            else:
                state, kept = "delivered", jobs.finish(session, job, now)
        elif 0 < self.settings.max_attempts <= job.attempts and not outcome.postponed:
            state, kept = "failed", jobs.park(session, job, now, comment)
        else:
            next_at = now + self._breaker().wait(tries, factor)
            put_off = jobs.postpone if outcome.postponed else jobs.give_back
            state, kept = "waiting", put_off(session, job, next_at, comment)
        if kept:
            ledger.note_attempt(session, parcel.item.delivery_id, state, outcome.status, comment, tries, now)
        return state

    def _breaker(self) -> Breaker:
        return Breaker(self.database, self.settings, self.clock, self.jitter, self.probe)
