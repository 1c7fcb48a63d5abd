"""Values on the command line: what each text means, or the sentence that says what it is not."""

from __future__ import annotations

import argparse
from datetime import datetime

from node.core import filters

RESEARCH = "Research use only, not for diagnosis."


def moment(text: str) -> datetime:
    try:
        return filters.moment(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1")
    return int(text)
