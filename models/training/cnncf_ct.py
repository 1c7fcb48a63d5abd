"""Recipe of ``cnncf-ct`` (paper 000, 3.1, 3.4, 3.5): whole CT studies, normal against COVID-19, gate in two phases.

It reads ``ct_volumes/labels.csv`` with the columns file, label, patient, split. file: a .npy beside it, (slice, row,
column) Hounsfield units, feet to head, any count of slices. label: normal or covid19. split: train, val, test, by
patient. Weighted cross-entropy 1:5, SGD 0.01 with momentum 0.9, warm-up over the first epoch of 40, x 0.1 every ten,
mirrored half of the time, last epoch kept. Not as published: side 128 for 512, batch 8 for 32, no distillation.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from models.images.volume import study_u8
from models.nets.layout import place
from models.systems.cnncf_ct import StudyNet, study_tensor
from models.training import classify, data, weights
from models.training.bit import figures
from models.training.fit import Order, choose_device, fit

NEEDS = ("ct_volumes/labels.csv",)
CLASSES = ("normal", "covid19")
CLASS_WEIGHTS = (1.0, 5.0)
SIDE, EPOCHS, BATCH, RATE = 128, 40, 8, 0.01


@dataclass(frozen=True)
class VolumeCase:
    path: Path
    label: str
    patient: str
    split: str  # train, val, test


def rate(progress: float) -> float:
    """First fortieth linear from a tenth; x 0.1 at each quarter of the run."""
    if progress < 1 / EPOCHS:
        return 0.1 + 0.9 * progress * EPOCHS
    return float(0.1 ** int(progress * 4))


def volume_cases(folder: Path) -> list[VolumeCase]:
    """All studies. ValueError when a split lacks a class, or a patient stands in two splits."""
    with (folder / "ct_volumes" / "labels.csv").open(newline="", encoding="utf-8") as file:
        cases = [
            VolumeCase(folder / "ct_volumes" / row["file"], row["label"], row["patient"], row["split"])
            for row in csv.DictReader(file)
        ]
    for split in ("train", "val", "test"):
        if {case.label for case in cases if case.split == split} != set(CLASSES):
            raise ValueError(f"the split {split} of ct_volumes must hold {' and '.join(CLASSES)}, and nothing else")
    seen: dict[str, str] = {}
    if any(seen.setdefault(case.patient, case.split) != case.split for case in cases):
        raise ValueError("a patient of ct_volumes stands in two splits")
    return cases


def train(folder: Path, out: Path, order: Order) -> None:
    torch.manual_seed(order.seed)
    where = choose_device(order.device)
    cases = volume_cases(folder)
    studies = data.cached(out / "cache" / f"cnncf-ct-{SIDE}.npz", lambda: _prepare(cases))["studies"]
    truth = torch.tensor([CLASSES.index(case.label) for case in cases])
    split = {name: [n for n, c in enumerate(cases) if c.split == name] for name in ("train", "val", "test")}
    chosen = torch.tensor(split["train"])
    net = StudyNet(len(CLASSES), SIDE)
    order.begin(net)
    place(net, where)
    gate, weigh = net.cnncf.gate, torch.tensor(CLASS_WEIGHTS, device=where)

    def batch_of(numbers: torch.Tensor) -> torch.Tensor:
        return study_tensor(studies[numbers.numpy()])

    def step(batch: torch.Tensor, random: torch.Generator) -> torch.Tensor:
        x, y = batch_of(chosen[batch]), truth[chosen[batch]].to(where)
        mirror = torch.rand(len(x), generator=random) < 0.5
        x = torch.where(mirror[:, None, None, None], x.flip(-1), x).to(where, memory_format=torch.channels_last)
        if not gate.is_open:
            return functional.cross_entropy(net.forward_stage_one(x).float(), y, weigh)
        return torch.stack([functional.cross_entropy(one.float(), y, weigh) for one in net(x)]).sum()

    def logits(name: str, stage: int) -> torch.Tensor:
        with torch.inference_mode():
            parts = torch.tensor(split[name]).split(BATCH)
            return torch.cat([net(batch_of(part).to(where))[stage].float().cpu() for part in parts])

    def sensitivity(epoch: int) -> str:
        ill = truth[split["val"]] == CLASSES.index("covid19")
        value = float((logits("val", 0).argmax(1)[ill] == CLASSES.index("covid19")).float().mean())
        return f"stage I sensitivity {value:.3f}, gate {'open' if gate.observe(value) else 'closed'}"

    batch = min(BATCH, len(chosen))
    plan = order.plan(EPOCHS, batch, len(chosen), out / "cnncf-ct.checkpoint", rate, where, None)
    fit(plan, net, torch.optim.SGD(classify.parameters(net, 1e-4), RATE, momentum=0.9), step, sensitivity)
    stage = 1 if gate.is_open else 0
    temperature = classify.fit_temperature(logits("val", stage), truth[split["val"]])
    p = (logits("test", stage).double() / temperature).softmax(1).numpy()
    extra = {"side": SIDE, "temperature": temperature, "gate_open": float(gate.is_open)}
    weights.write(net, out / "cnncf-ct.safetensors", figures(p[:, 1], truth[split["test"]].numpy() == 1), extra)


def _prepare(cases: list[VolumeCase]) -> data.Arrays:
    """``studies``: (n, 300, side, side) 8 bit."""
    volumes = (np.load(case.path, allow_pickle=False).astype(np.float32) for case in cases)
    return {"studies": np.stack([study_u8(volume, SIDE) for volume in volumes])}
