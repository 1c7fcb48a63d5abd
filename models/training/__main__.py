"""``python -m models.training SYSTEM --data DIR --out DIR``: training without the node."""

import argparse
import sys
from pathlib import Path

from models.training.train import RECIPES, main

parser = argparse.ArgumentParser(prog="models.training", description="Research use only, not for diagnosis.")
parser.add_argument("system", choices=RECIPES)
parser.add_argument("--data", type=Path, required=True)
parser.add_argument("--out", type=Path, required=True)
parser.add_argument("--device", default="auto")
length = parser.add_mutually_exclusive_group()
length.add_argument("--epochs", type=int, choices=range(1, 10_001), metavar="N")
length.add_argument("--steps", type=int, choices=range(1, 10_000_001), metavar="N")
parser.add_argument("--seed", type=int, default=666)
parser.add_argument("--without", nargs="+", default=(), metavar="SOURCE")
parser.add_argument("--resume", action="store_true")
parser.add_argument("--find-rate", action="store_true")
parser.add_argument("--start", type=Path, metavar="FILE")
given = vars(parser.parse_args())
sys.exit(main(given.pop("system"), given.pop("data"), given.pop("out"), **given))
