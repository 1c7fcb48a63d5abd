"""Who finds nothing to do rests until somebody commits something, instead of asking the tables many times a second.

Nothing is told and nothing can be missed: the mark of the last commit is looked at instead of the tables, as often as
they were, and they themselves now and then.
"""

from __future__ import annotations

import time
from collections.abc import Callable

LONGEST_SECONDS = 2.0  # then the tables are looked at again, whatever the marks say


class Rest:
    """Of one who looks for work, one look at a time. mark: of what is committed by now (``db.changes``)."""

    def __init__(self, mark: Callable[[], object], seconds: Callable[[], float] = time.monotonic) -> None:
        self._mark, self._seconds = mark, seconds
        self._seen: object = None
        self._until = float("-inf")

    def lasts(self) -> bool:
        """Whether a look can be left out; to be asked before each, since what is committed during one may be missed."""
        before, self._seen = self._seen, self._mark()
        if self._seen == before and self._seconds() < self._until:
            return True
        self._until = float("-inf")
        return False

    def begin(self) -> None:
        """The look found nothing, nor anything that waits for its time."""
        self._until = self._seconds() + LONGEST_SECONDS


def resting(look: Callable[[], bool], rest: Rest) -> Callable[[], None]:
    """A duty that is left out while it rests. look: one turn; whether only a commit can bring it something to do."""

    def turn() -> None:
        if not rest.lasts() and look():
            rest.begin()

    return turn
