"""Networks that several lanes of one process ask together: who asks while others do is judged in one batch with them.

As in a group commit nobody hands work to another thread: the first to ask runs the batch for all who ask by then. A
batch closes when it holds ``most`` pictures, after ``wait_seconds``, or at once where everybody who is inside a system
waits already, so that a study alone never does. One pass at a time is on the device, whichever network's; meanwhile
others gather. Only pictures of one shape meet, and what one of them breaks is not the others' fault: they are judged
again one by one. Sums over a larger batch may differ from those of one picture in their last bits.

Where a batch does not fit into the memory of the device it is halved, for good; one picture that does not fit is for
``models.frugal``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from models.forwarding import Forwarding, Question
from models.frugal import unless_full

Outputs = tuple[Tensor, ...]  # each (N, ...) for the N pictures of the input
Pass = Callable[[Tensor], Outputs]


class Company:
    """What the networks of one process have in common: how many lanes are inside a system, how many of them wait for a
    network, and who has the device."""

    def __init__(self) -> None:
        self.changed, self.device = threading.Condition(), threading.Lock()
        self.inside = self.asking = 0

    def add(self, *, inside: int = 0, asking: int = 0) -> None:
        with self.changed:
            self.inside += inside
            self.asking += asking
            self.changed.notify_all()


class Attended(Forwarding):
    """A system whose callers are counted: a batch waits for those who may come."""

    def __init__(self, system: Any, company: Company) -> None:
        self._system, self._company = system, company
        self.card = system.card

    def _ask(self, question: Question) -> Any:
        self._company.add(inside=1)
        try:
            return question(self._system)
        finally:
            self._company.add(inside=-1)


@dataclass(eq=False)
class _Asked:
    """One caller and its pictures (n, ...)."""

    x: Tensor
    found: Outputs = ()
    error: Exception | None = None
    is_done: bool = False

    @property
    def kind(self) -> tuple[object, ...]:
        """What pictures that meet in a batch have in common."""
        return self.x.shape[1:], self.x.dtype, self.x.device


@dataclass
class Together:
    """One network. run: a pass through it. passes, pictures: how many of each there were so far."""

    run: Pass
    most: int
    wait_seconds: float
    company: Company
    passes: int = field(default=0, init=False)
    pictures: int = field(default=0, init=False)
    _waiting: list[_Asked] = field(default_factory=list, init=False)
    _is_led: bool = field(default=False, init=False)  # somebody gathers or runs a batch

    def __call__(self, x: Tensor) -> Outputs:
        """(n, ...) -> the outputs for these n; raises what the pass raised for them alone."""
        own = _Asked(x)
        with self.company.changed:
            self._waiting.append(own)
        self.company.add(asking=1)
        try:
            while self._has_to_lead(own):
                self._lead()
        finally:
            self.company.add(asking=-1)
        if own.error is not None:
            raise own.error
        return own.found

    def _has_to_lead(self, own: _Asked) -> bool:
        """Once nobody does, where the answer is not there by then."""
        with self.company.changed:
            self.company.changed.wait_for(lambda: own.is_done or not self._is_led)
            if not own.is_done:
                self._is_led = True
            return not own.is_done

    def _lead(self) -> None:
        try:
            self._gather()
            with self.company.device:  # more may come while another network has it
                self._answer(self._next())
        finally:
            with self.company.changed:
                self._is_led = False
                self.company.changed.notify_all()

    def _gather(self) -> None:
        with self.company.changed:
            self.company.changed.wait_for(self._is_complete, self.wait_seconds)

    def _is_complete(self) -> bool:
        """Whether the batch is full, or everybody who could come to it waits, here or for another network."""
        full = sum(len(asked.x) for asked in self._waiting) >= self.most
        return full or self.company.asking >= self.company.inside

    def _next(self) -> list[_Asked]:
        """Who waits longest and all of its kind that fit, in their order."""
        with self.company.changed:
            first, room = self._waiting[0], self.most
            group: list[_Asked] = []
            for asked in self._waiting:
                if asked.kind == first.kind and (asked is first or len(asked.x) <= room):
                    group.append(asked)
                    room -= len(asked.x)
            self._waiting = [asked for asked in self._waiting if asked not in group]
        return group

    def _answer(self, group: list[_Asked]) -> None:
        try:
            found = unless_full(lambda: self._passed(group))
        except Exception as error:  # noqa: BLE001 - raised again by whoever asked
            self._judge_apart(group, error)
            return
        if found is not None:
            for asked, part in zip(group, found, strict=True):
                asked.found, asked.is_done = part, True
        elif len(group) > 1:
            self.most = max(1, sum(len(asked.x) for asked in group) // 2)
            half = len(group) // 2
            self._answer(group[:half])
            self._answer(group[half:])
        else:
            group[0].error, group[0].is_done = torch.OutOfMemoryError("one picture does not fit"), True

    def _judge_apart(self, group: list[_Asked], error: Exception) -> None:
        if len(group) == 1:
            group[0].error, group[0].is_done = error, True
            return
        for asked in group:
            self._answer([asked])

    def _passed(self, group: list[_Asked]) -> list[Outputs]:
        """The outputs of each, once the device has made them."""
        sizes = [len(asked.x) for asked in group]
        with torch.inference_mode():
            found = self.run(torch.cat([asked.x for asked in group]) if len(group) > 1 else group[0].x)
            parts = list(zip(*(one.split(sizes) for one in found), strict=True))
        if group[0].x.is_cuda:
            torch.cuda.current_stream(group[0].x.device).synchronize()
        self.passes, self.pictures = self.passes + 1, self.pictures + sum(sizes)
        return parts


class Gathering:
    """What has the systems of one process asked together; see ``Together``."""

    def __init__(self, most: int, wait_seconds: float) -> None:
        self._most, self._wait_seconds, self._company = most, wait_seconds, Company()

    def shared(self, system: Any) -> Any:
        """The system, whose ``ask`` is from now on that of all lanes; one without is left as it is."""
        if hasattr(system, "ask"):
            system.ask = Together(system.ask, self._most, self._wait_seconds, self._company)
        return system

    def attended(self, system: Any) -> Attended:
        return Attended(system, self._company)
