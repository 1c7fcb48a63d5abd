"""The settings of [retention] and [priors]: what may be removed from the archive, and what is fetched for a study."""

from __future__ import annotations

from dataclasses import dataclass

from node.core.destination import Destination
from node.core.errors import Misconfigured


@dataclass(frozen=True)
class Retention:
    """Days may be fractions. 0 in ``remove_after_days`` and ``high_watermark_percent``: that rule is off."""

    remove_after_days: float
    high_watermark_percent: float
    low_watermark_percent: float
    min_days: float
    max_percent_per_day: float
    keep_committed: bool

    @property
    def is_on(self) -> bool:
        return bool(self.remove_after_days or self.high_watermark_percent)


@dataclass(frozen=True)
class Priors:
    """``source`` empty: none are fetched. ``body_parts`` empty: of any."""

    source: str
    method: str
    modalities: tuple[str, ...]
    body_parts: tuple[str, ...]
    most: int
    max_age_days: int
    analyse: bool


def check_retention(retention: Retention) -> None:
    if retention.remove_after_days < 0 or retention.min_days < 0:
        raise Misconfigured("retention.remove_after_days and retention.min_days are 0 or more")
    high, low = retention.high_watermark_percent, retention.low_watermark_percent
    if not 0 <= high < 100 or (high and not 0 < low < high):
        raise Misconfigured("retention.high_watermark_percent is below 100 and above retention.low_watermark_percent")
    if not 0 < retention.max_percent_per_day <= 100:
        raise Misconfigured("retention.max_percent_per_day is above 0, at most 100")


def check_priors(priors: Priors) -> None:
    if priors.source:
        Destination.parse(priors.source)
    if priors.method not in ("get", "move"):
        raise Misconfigured("priors.method is get or move")
    if priors.most < 1 or priors.max_age_days < 1:
        raise Misconfigured("priors.most and priors.max_age_days are at least 1")
