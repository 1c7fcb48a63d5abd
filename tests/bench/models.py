"""``python -m tests.bench.models``: what each system costs for one film or one CT study, and against one by one.

Prints a Markdown table. Two torch threads, the median of five runs after one that is not counted; memory is the peak of
the whole process so far. "One by one" runs the same network with a batch of one patch or slice: a dash where a system
takes one picture a film, so that there is nothing to batch.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import numpy as np
import torch

from models.api import Card, ImageInput, VolumeInput
from models.registry import Registry
from models.systems import bit, patches
from tests.bench.page import machine
from tests.films import drawn
from tests.models.chests import chest

RUNS, SIDE, SLICES = 5, 2048, 120
ONE_BY_ONE = {"patch-vote": patches, "bit-ct": bit}
PIPELINE = ("unet-lung", "fcdensenet", "cxnet", "cnncf-xr", "patch-vote", "two-step", "cnnrf")


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.bench.models")
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()
    torch.set_num_threads(2)
    registry = Registry(Path(__file__).parents[2] / "models" / "weights")
    image = ImageInput(drawn(7, SIDE).astype(np.float32), "1.2.3")
    volume = chest(slices=SLICES, side=512, first=10, last=SLICES - 10)
    lungs = registry.load_segmenter("unet-lung", given.device).segment(image)
    lesions = registry.load_film_system("cxnet", given.device).predict(image, lungs).lesions or _focus(registry, image)
    found = {}
    _say(f"{machine()}\n\nFilm {SIDE} x {SIDE}; CT {SLICES} slices of 512 x 512; two threads; device {given.device}.\n")
    _say("| system | of one | ms | one by one, times as long | peak memory, MB |\n|---|---|---|---|---|")
    for card in registry.cards():
        if not card.weights_sha256:
            continue
        work = _work(registry, card, given.device, image, volume, lungs, lesions)
        found[card.system] = batched = _median(work)
        ratio = "-"
        if card.system in ONE_BY_ONE:
            with mock.patch.object(ONE_BY_ONE[card.system], "BATCH", 1):
                ratio = f"{_median(work) / batched:.2f}"
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        unit = "CT study" if card.kind == "ct" else "film"
        _say(f"| {card.system} | {unit} | {1000 * batched:.0f} | {ratio} | {memory:.0f} |")
    total = sum(found.get(system, 0.0) for system in PIPELINE)
    _say(f"\nThe film pipeline by default ({', '.join(PIPELINE)}): {total:.2f} s.")
    return 0


def _focus(registry: Registry, image: ImageInput) -> tuple[object, ...]:
    """Lesions to measure, where the drawn film has none: of a heat that is warm in one place."""
    from models.explain.lesions import find_lesions

    heat = np.zeros(image.shape, np.float32)
    heat[800:1000, 500:700] = 1
    return find_lesions(heat, None)


def _work(
    registry: Registry, card: Card, device: str, image: ImageInput, volume: VolumeInput, lungs: object, lesions: object
) -> Callable[[], object]:
    if card.kind == "lungs":
        segmenter = registry.load_segmenter(card.system, device)
        return lambda: segmenter.segment(image)
    if card.kind == "ct":
        ct = registry.load_ct_system(card.system, device)
        return lambda: ct.predict(volume)
    if card.kind == "indicators":
        indicators = registry.load_indicator_system(card.system, device)
        return lambda: indicators.measure(image, lesions)  # type: ignore[arg-type]
    system = registry.load_film_system(card.system, device)
    return lambda: system.predict(image, lungs)  # type: ignore[arg-type]


def _median(work: Callable[[], object]) -> float:
    times = []
    for number in range(RUNS + 1):
        begun = time.perf_counter()
        work()
        if number:
            times.append(time.perf_counter() - begun)
    return statistics.median(times)


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
