"""Whether a child process lives: it tells so once a second, through a pipe, which no disk can hold up.

A process that was stopped, or whose threads hang, runs as far as the kernel knows. Its silence is counted in the looks
of the one who listens, so that nobody is taken for silent where the machine slept, or the listener itself.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable

VARIABLE = "PULSE_DESCRIPTOR"  # of the environment of a child
BEAT_SECONDS = 1.0
LONGEST_LOOK = 1.0  # of silence, however long ago the last look was


class Pulse:
    """Of one child: the listener's side. A child that never tells anything (another program) is never silent."""

    def __init__(self) -> None:
        self._listening, self.descriptor = os.pipe()
        os.set_blocking(self._listening, False)
        self._has_told, self._looked_at = False, time.monotonic()
        self.silent_seconds = 0.0

    @property
    def environment(self) -> dict[str, str]:
        return {VARIABLE: str(self.descriptor)}

    def handed_over(self) -> None:
        """The child has its end; ours would keep the pipe open after its death."""
        os.close(self.descriptor)

    def listen(self) -> float:
        """For how long it has been silent by now."""
        before, self._looked_at = self._looked_at, time.monotonic()
        if self._has_come():
            self._has_told, self.silent_seconds = True, 0.0
        elif self._has_told:
            self.silent_seconds += min(self._looked_at - before, LONGEST_LOOK)
        return self.silent_seconds

    def _has_come(self) -> bool:
        try:
            return bool(os.read(self._listening, 4096))
        except BlockingIOError:
            return False

    def close(self) -> None:
        os.close(self._listening)


def tell(is_well: Callable[[], bool] = lambda: True) -> None:
    """The child's side, in a thread of its own: it lives, as long as it ``is_well``."""
    descriptor = int(os.environ.get(VARIABLE, "-1"))
    if descriptor >= 0:
        threading.Thread(target=_tell, args=(descriptor, is_well), name="pulse", daemon=True).start()


def _tell(descriptor: int, is_well: Callable[[], bool]) -> None:
    with contextlib.suppress(OSError):  # the listener has gone
        while True:
            if is_well():
                os.write(descriptor, b".")
            time.sleep(BEAT_SECONDS)
