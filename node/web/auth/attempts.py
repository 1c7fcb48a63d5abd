"""How often a password may be wrong: so many times in a while for each user and for each address. Pure, in memory.

An attempt counts from its beginning, so that many at once do not get past the limit; one that succeeds is taken back.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping

WINDOW_SECONDS = 900.0
OF_USER, OF_ADDRESS = 10, 50  # an address may be a whole ward behind one proxy
MOST_KEYS = 10_000


class Attempts:
    """seconds: a clock that never goes back."""

    def __init__(self, window_seconds: float = WINDOW_SECONDS, seconds: Callable[[], float] = time.monotonic) -> None:
        self._window, self._seconds, self._guard = window_seconds, seconds, threading.Lock()
        self._made = OrderedDict[str, deque[float]]()

    def begin(self, limits: Mapping[str, int]) -> float:
        """limits: the most wrong attempts by key. 0 and it counts, or in how many seconds it may be tried again."""
        with self._guard:
            now = self._seconds()
            waits = [self._wait(key, most, now) for key, most in limits.items()]
            if max(waits) > 0:
                return max(waits)
            for key in limits:
                self._made.setdefault(key, deque()).append(now)
                self._made.move_to_end(key)
            while len(self._made) > MOST_KEYS:
                self._made.popitem(last=False)
            return 0.0

    def succeeded(self, user: str, address: str) -> None:
        """The user is known again; of the address one attempt less."""
        with self._guard:
            self._made.pop(user, None)
            if made := self._made.get(address):
                made.pop()

    def _wait(self, key: str, most: int, now: float) -> float:
        made = self._made.get(key)
        while made and made[0] <= now - self._window:
            made.popleft()
        return made[0] + self._window - now if made and len(made) >= most else 0.0
