"""What is done where the memory of a device does not suffice: half the batch, down to one; then the CPU. The one place.

A system that works in batches has ``batch``, how many pictures it takes at once, which may be set; one without is taken
to the CPU at once. A smaller batch is kept for the studies that come, since a device does not grow; the CPU judges this
one alone. Each answer says what was done, beginning with ``models.api.LITTLE_MEMORY``.
"""

from __future__ import annotations

import dataclasses
import gc
import logging
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import torch

from models.api import LITTLE_MEMORY
from models.forwarding import Forwarding, Question

logger = logging.getLogger(__name__)
Found = TypeVar("Found")


class Frugal(Forwarding):
    """A system on a device that may be too small. build: makes the system on a device, by name."""

    def __init__(self, build: Callable[[str], Any], device: str) -> None:
        self._build, self._system = build, build(device)
        self._on_cpu: Any = None
        self._building = threading.Lock()
        self.card = self._system.card

    def _ask(self, question: Question) -> Any:
        note = ""
        while True:
            batch = getattr(self._system, "batch", 1)
            answer = unless_full(lambda: question(self._system))
            if answer is not None:
                return _noted(answer, note)
            if batch <= 1:
                break
            self._system.batch = min(self._system.batch, batch // 2)  # another lane may have had the same
            note = f"{LITTLE_MEMORY}: {self.card.system} judged in batches of {batch // 2}."
            self._say(batch=batch // 2)
        self._say(batch=0)
        with self._building:
            self._on_cpu = self._on_cpu or self._build("cpu")
        return _noted(question(self._on_cpu), f"{LITTLE_MEMORY}: {self.card.system} judged on the CPU.")

    def _say(self, batch: int) -> None:
        """batch: 0: the CPU."""
        fields = {"system": self.card.system, "batch": batch}
        logger.warning("model.little_memory", extra={"fields": fields})


def unless_full(question: Callable[[], Found]) -> Found | None:
    """None where the device is full; what the attempt held there is let go."""
    try:
        return question()
    except torch.OutOfMemoryError:
        pass  # the frames of the exception hold what filled it, so nothing is tried before they are gone
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return None


def _noted(answer: Any, note: str) -> Any:
    return dataclasses.replace(answer, notes=(*answer.notes, note)) if note else answer
