"""Settings of several studies at once in one worker process, for machines with GPUs (docs/gpu.md)."""

from __future__ import annotations

from dataclasses import dataclass

from node.core.errors import Misconfigured

MOST_STUDIES, MOST_WAIT_MILLISECONDS = 64, 1000.0


@dataclass(frozen=True)
class Lanes:
    """studies: at once in one worker. batch: pictures of several studies that a network judges at once; it waits for
    them for ``wait_milliseconds``. memory_mib: of the GPU, for one worker; 0: all of it."""

    studies: int
    batch: int
    wait_milliseconds: float
    memory_mib: int


def check_lanes(lanes: Lanes) -> None:
    if not 1 <= lanes.studies <= MOST_STUDIES:
        raise Misconfigured(f"lanes.studies is 1 to {MOST_STUDIES}")
    if lanes.batch < 1 or lanes.memory_mib < 0:
        raise Misconfigured("lanes.batch is at least 1, lanes.memory_mib 0 or more")
    if not 0 <= lanes.wait_milliseconds <= MOST_WAIT_MILLISECONDS:
        raise Misconfigured(f"lanes.wait_milliseconds is 0 to {MOST_WAIT_MILLISECONDS:g}")
