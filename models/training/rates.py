"""The learning-rate range test before a long run (Smith, Cyclical learning rates, 2017, section 3.3).

From ``LOWEST`` to ``HIGHEST`` the rate grows by one factor at every step of the optimiser. Wanted is the decade of
rates over which the loss falls most steeply; a batch's loss is noisy, so the fall is that of a line laid through all
losses of the decade. The test ends early where the loss has grown ``DIVERGED`` times. It changes the network: nothing
of it is kept.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

LOWEST, HIGHEST, STEPS = 1e-7, 1e-1, 120
DECADE = STEPS // 6  # steps over which the rate grows tenfold
DIVERGED = 4.0


@dataclass(frozen=True)
class RangeTest:
    """rates, losses: (step); there may be fewer than ``STEPS``."""

    rates: NDArray[np.float64]
    losses: NDArray[np.float64]

    @property
    def best(self) -> float | None:
        """The middle of the decade of the steepest fall; None where the loss falls over no decade."""
        if len(self.losses) < DECADE:
            return None
        place = np.arange(DECADE) - (DECADE - 1) / 2
        slopes = np.lib.stride_tricks.sliding_window_view(self.losses, DECADE) @ place / (place**2).sum()
        steepest = int(slopes.argmin())
        return float(self.rates[steepest + DECADE // 2]) if slopes[steepest] < 0 else None


class RateFound(Exception):
    """The range test that was asked for instead of training is done."""

    def __init__(self, test: RangeTest, usual: float) -> None:
        super().__init__(f"the recipe's own rate is {usual:g}")
        self.test, self.usual = test, usual


def range_test(learn: Callable[[], float], optimiser: torch.optim.Optimizer) -> RangeTest:
    """``learn`` makes one step of the optimiser and returns the loss before it."""
    rates, losses = np.geomspace(LOWEST, HIGHEST, STEPS), []
    for rate in rates.tolist():
        for group in optimiser.param_groups:
            group["lr"] = rate
        losses.append(learn())
        if not losses[-1] < DIVERGED * losses[0]:  # also where it is no number any more
            break
    finite = np.isfinite(losses)
    return RangeTest(rates[: len(losses)][finite], np.array(losses)[finite])
