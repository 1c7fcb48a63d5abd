"""How often the pixel check is right, over real films: ``python -m tests.film.rates DATA``. Prints rates."""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from models.api import FloatImage, ImageInput
from node.pipeline.chest import contrast, inverted, looks_negative
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


if __name__ == "__main__":
    for name, rate in rates(Path(sys.argv[1])).items():
        sys.stdout.write(f"{name}: {rate:.3f}\n")
