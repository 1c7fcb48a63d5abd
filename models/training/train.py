"""The door to training: ``main(system, data, out, ...)``; ``lungnode train`` calls it.

python -m models.training SYSTEM --data DIR --out DIR
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

from models.evaluation import pictures
from models.training.data import classifier_cases
from models.training.fit import BadRun, Order
from models.training.rates import RateFound

RECIPES = {
    "unet-lung": "lungs:small",
    "unet-lung-256": "lungs:large",
    "fcdensenet": "fcdensenet",
    "cxnet": "cxnet",
    "cxnet-binary": "cxnet_binary:dense",
    "cxnet-base": "cxnet_binary:base",
    "cnncf-xr": "cnncf",
    "patch-vote": "patches",
    "two-step": "twostep",
    "cnnrf": "cnnrf",
    "bit-ct": "bit",
    "cnncf-ct": "cnncf_ct",
}  # system -> module[:function], ``train`` unless named; the module has ``NEEDS``: what the data folder must hold

CLASSIFIERS = ("cxnet", "cxnet-binary", "cxnet-base", "cnncf-xr", "patch-vote", "two-step")


def main(
    system: str,
    data: Path,
    out: Path,
    *,
    device: str = "auto",
    epochs: int | None = None,
    steps: int | None = None,
    seed: int = 666,
    resume: bool = False,
    without: Sequence[str] = (),
    find_rate: bool = False,
    start: Path | None = None,
) -> int:
    """Train one system; 2 when there is no recipe or no data, 0 when weights and figures are written.

    ``without``: sources of films that the run must never see, to measure how it does on them. ``find_rate``: the range
    test instead, its figure in ``out``. ``start``: weights to go on from.
    """
    if system not in RECIPES:
        sys.stderr.write(f"there is no recipe for {system}; there are {', '.join(RECIPES)}\n")
        return 2
    module, _, function = RECIPES[system].partition(":")
    recipe = importlib.import_module(f"models.training.{module}")
    if missing := [name for name in recipe.NEEDS if not (data / name).exists()]:
        sys.stderr.write(f"{data} is not the training data of {system}: {' and '.join(missing)} expected there\n")
        return 2
    if without:
        if system not in CLASSIFIERS:
            sys.stderr.write(f"{system} cannot leave out a source; {', '.join(CLASSIFIERS)} can\n")
            return 2
        if problem := _cannot_leave_out(data, without):
            sys.stderr.write(f"{problem}\n")
            return 2
    try:
        order = Order(device, epochs, steps, seed, resume, tuple(without), find_rate, start)
        getattr(recipe, function or "train")(data, out, order)
    except BadRun as bad:
        sys.stderr.write(f"{bad}\n")
        return 2
    except RateFound as found:
        return _tell_rate(system, found, out / f"{system}.rates.png")
    return 0


def _tell_rate(system: str, found: RateFound, figure: Path) -> int:
    """Exit code 1: the loss fell at no rate."""
    test = found.test
    pictures.learning_rates(figure, test.rates, test.losses, test.best)
    said = "falls at no rate" if test.best is None else f"falls fastest about a rate of {test.best:.1e}"
    sys.stdout.write(f"{system}: the loss {said}; the recipe has {found.usual:g}. {figure}\n")
    return 1 if test.best is None else 0


def _cannot_leave_out(folder: Path, without: Sequence[str]) -> str:
    """Empty, or the sentence why the run cannot do without these sources."""
    known = {case.source for case in classifier_cases(folder)}
    if wrong := sorted(set(without) - known):
        return f"no film comes from {', '.join(wrong)}; the sources are {', '.join(sorted(known))}"
    left = {case.label for case in classifier_cases(folder, without) if case.split == "train"}
    if not {"normal", "covid19"} <= left:
        return "without these sources no normal or no COVID-19 film is left to train on"
    return ""
