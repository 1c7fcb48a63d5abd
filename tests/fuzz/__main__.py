"""``python -m tests.fuzz``: the long run of the fuzzer, which ``make fuzz`` starts."""

from __future__ import annotations

import argparse
import sys

from tests.fuzz.run import run

parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
parser.add_argument("--faults", type=int, default=200_000, help="how many to try (200000)")
parser.add_argument("--first", type=int, default=10_000, help="the seed to begin with; those below are the suite's")
parsed = parser.parse_args()
sys.exit(run(parsed.first, parsed.faults))
