"""Recipe of ``cnncf-xr`` (paper 000, 3.4 and 3.5): weighted cross-entropy, SGD, control gate in two phases.

Phase 1 trains stem, Stage I and predictor until the gate opens (sensitivity on the validation films reaches 0.90 three
epochs in a row); phase 2 latches it and trains Stage II and head while Stage I is tuned on. Normal against COVID-19.
Not as published: smaller input, stronger augmentation, sampling balanced by class and source instead of the weights
1:5, no distillation from four teachers.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from models.nets.cnncf import CNNCF
from models.nets.layout import place
from models.systems import preparation
from models.training import augment, classify, data, weights
from models.training.fit import Plan, choose_device, fit

NEEDS = ("cxr/labels.csv",)
SIDE, EPOCHS, BATCH, RATE = 192, 20, 32, 0.01
CLASSES = ("normal", "covid19")


def rate(progress: float) -> float:
    """First twentieth linear from a tenth; x 0.1 at half and at three quarters of the run."""
    if progress < 0.05:
        return 0.1 + 0.9 * progress / 0.05
    return 1.0 if progress < 0.5 else 0.1 if progress < 0.75 else 0.01


def train(folder: Path, out: Path, *, device: str, epochs: int | None, seed: int, resume: bool) -> None:
    torch.manual_seed(seed)
    where = choose_device(device)
    cases = [case for case in data.film_cases(folder) if case.label in CLASSES]
    pictures = data.cached(out / "cache" / f"cnncf-{SIDE}.npz", lambda: _prepare(cases))["pictures"]
    truth = torch.tensor([CLASSES.index(case.label) for case in cases])
    split = {name: [n for n, c in enumerate(cases) if c.split == name] for name in ("train", "val", "test")}
    chosen = torch.tensor(split["train"])
    net = CNNCF(2, SIDE)
    place(net, where)
    optimiser = torch.optim.SGD(classify.parameters(net, 1e-4), RATE, momentum=0.9)
    sampling = classify.sampling_weights([cases[n] for n in split["train"]])
    plan = Plan(epochs or EPOCHS, BATCH, len(chosen), seed, out / "cnncf-xr.checkpoint", resume, rate, sampling, where)

    def step(batch: torch.Tensor, random: torch.Generator) -> torch.Tensor:
        numbers = chosen[batch]
        x = classify.as_batch(pictures, numbers, torch.device("cpu"))
        x = augment.affine(x, random, degrees=10, zoom=(0.9, 1.2), shift=0.06, mirror=True)
        x, y = x.to(where, memory_format=torch.channels_last), truth[numbers].to(where)
        if not net.gate.is_open:
            return functional.cross_entropy(net.forward_stage_one(x).float(), y)
        one, two = net(x)
        return functional.cross_entropy(one.float(), y) + functional.cross_entropy(two.float(), y)

    def sensitivity(epoch: int) -> str:
        said = classify.predict(lambda x: net(x)[0], pictures, split["val"], where).argmax(1)
        ill = truth[split["val"]] == 1
        value = float((said[ill] == 1).float().mean())
        return f"stage I sensitivity {value:.3f}, gate {'open' if net.gate.observe(value) else 'closed'}"

    fit(plan, net, optimiser, step, sensitivity)
    stage = 1 if net.gate.is_open else 0

    def logits(x: torch.Tensor) -> torch.Tensor:
        return net(x)[stage]  # type: ignore[no-any-return]

    temperature = classify.fit_temperature(classify.predict(logits, pictures, split["val"], where), truth[split["val"]])
    p = (classify.predict(logits, pictures, split["test"], where).double() / temperature).softmax(1).numpy()
    found = classify.figures(p, truth[split["test"]].numpy(), [cases[n] for n in split["test"]], CLASSES)
    extra = {"side": SIDE, "temperature": temperature, "gate_open": float(net.gate.is_open)}
    weights.write(net, out / "cnncf-xr.safetensors", found, extra)


def _prepare(cases: list[data.FilmCase]) -> data.Arrays:
    return {"pictures": np.stack([preparation.cnncf_input(data.read_film(case.path), SIDE) for case in cases])}
