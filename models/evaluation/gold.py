"""The gold standard of paper 002 (specification 5.7): the radiologist's reading and the discharge code together."""

from __future__ import annotations

from collections.abc import Sequence


def gold_standard(readings: Sequence[bool], discharge_positive: bool) -> tuple[bool, ...]:
    """Truth of each film of one admission, films in order of time; ``readings``: read as positive.

    A negative discharge code makes every film negative. With a positive one a film read as negative counts as negative
    only if another film of the admission was positive and this one is not flanked by two positive ones.
    """
    if not discharge_positive:
        return (False,) * len(readings)
    return tuple(read or not _negative_after_all(readings, number) for number, read in enumerate(readings))


def _negative_after_all(readings: Sequence[bool], number: int) -> bool:
    flanked = 0 < number < len(readings) - 1 and readings[number - 1] and readings[number + 1]
    return any(readings) and not flanked
