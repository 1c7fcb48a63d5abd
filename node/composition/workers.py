"""How many analysis processes this node has, and which GPU each of them: at least one for each GPU that torch sees.

Part of the composition root.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from node.core.errors import Misconfigured
from node.core.settings import Settings

VISIBLE = "CUDA_VISIBLE_DEVICES"
ASK_SECONDS = 120.0  # torch is imported by who is asked
NO_GPU = "analysis.device is cuda, and torch sees no GPU here; with auto the CPU judges where there is none"


@dataclass(frozen=True)
class Workers:
    """gpus: by ``CUDA_VISIBLE_DEVICES`` of each worker; empty: the CPU judges. threads: of torch, in each."""

    count: int
    gpus: tuple[str, ...]
    threads: int

    def flags(self, name: str) -> list[str]:
        """Of the command that starts the worker of this name."""
        number = int(name.rpartition("-")[2]) - 1
        return ["--gpu", self.gpus[number % len(self.gpus)]] if self.gpus else []

    def environment(self) -> dict[str, str]:
        return {**os.environ, "OMP_NUM_THREADS": str(self.threads), "MKL_NUM_THREADS": str(self.threads)}


def workers_of(effective: Settings, environment: Mapping[str, str] = os.environ) -> Workers:
    """Misconfigured where GPUs are asked for and there are none."""
    gpus = _gpus(effective, environment)
    count = max(len(gpus), effective.node.workers) if effective.queue.does("worker") else 0
    threads = effective.node.threads_per_worker or max(1, (os.cpu_count() or 1) // max(1, count))
    return Workers(count, gpus, threads)


def _gpus(effective: Settings, environment: Mapping[str, str]) -> tuple[str, ...]:
    if effective.analysis.device == "cpu" or not effective.node.workers or not effective.queue.does("worker"):
        return ()
    count = _seen(environment)
    if not count and effective.analysis.device == "cuda":
        raise Misconfigured(NO_GPU)
    named = [name.strip() for name in environment.get(VISIBLE, "").split(",") if name.strip()]
    return tuple((named or [str(number) for number in range(count)])[:count])


def _seen(environment: Mapping[str, str]) -> int:
    command = [sys.executable, "-m", "models.devices"]
    try:
        said = subprocess.run(command, env=dict(environment), capture_output=True, timeout=ASK_SECONDS, check=True)
        return int(said.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise Misconfigured(f"torch cannot be asked for GPUs: {type(error).__name__}") from error
