"""Values on the command line: what each text means, or the sentence that says what it is not."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime

RESEARCH = "Research use only, not for diagnosis."


def moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time like 2024-05-06 or 2024-05-06T07:08:09Z") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a probability from 0 to 1")
    return share


def count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1")
    return int(text)
