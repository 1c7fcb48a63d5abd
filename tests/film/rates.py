"""How often the pixel check is right, over real films: ``python -m tests.film.rates DATA``. Prints rates."""

from __future__ import annotations

import csv
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from pydicom import Dataset

from models.api import FloatImage, ImageInput
from node.pipeline.chest import contrast, inverted, looks_negative
from node.pipeline.objections import first_objection
from node.pipeline.picture import Look
from node.pipeline.rules import load


def films(data: Path, split: str, every: int = 1) -> list[FloatImage]:
    with (data / "cxr" / "labels.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == split][::every]
    return [np.asarray(Image.open(data / "cxr" / row["file"]).convert("L"), dtype=np.float32) for row in rows]


def share(pictures: list[FloatImage], test: Callable[[ImageInput], bool]) -> float:
    return sum(test(ImageInput(np.ascontiguousarray(p), "1")) for p in pictures) / len(pictures)


def rates(data: Path, every: int = 1) -> dict[str, float]:
    real = films(data, "test", every)
    least = next(rule.limits["least_contrast"] for rule in load().picture if rule.name == "not-a-chest")
    return {
        "frontal films taken": share(real, lambda i: contrast(i) >= least),
        "films turned by 90 degrees taken": share([np.rot90(p) for p in real], lambda i: contrast(i) >= least),
        "frontal films called negative": share(real, looks_negative),
        "negatives called negative": share(real, lambda i: looks_negative(inverted(i))),
    }


def left_out(data: Path, split: str, every: int = 1) -> Counter[str]:
    """Films whose header says that they are frontal chest films, by the rule that leaves them out for their pixels."""
    rules = load().picture
    looks = (Look(Dataset(), ImageInput(np.ascontiguousarray(p), "1"), False) for p in films(data, split, every))
    return Counter(found.rule for look in looks if (found := first_objection(look, rules)))


if __name__ == "__main__":
    for name, rate in rates(Path(sys.argv[1])).items():
        sys.stdout.write(f"{name}: {rate:.3f}\n")
    for split in ("train", "val", "test"):
        sys.stdout.write(f"{split}: films left out by rule: {dict(left_out(Path(sys.argv[1]), split)) or 'none'}\n")
