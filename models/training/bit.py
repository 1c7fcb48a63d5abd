"""Recipe of ``bit-ct`` (paper 001, 4.3) on ``ct_slices``: mixup, SGD with momentum, published schedule by progress.

``ct_slices/labels.csv``: file, label, split (trainval, test); 8-bit slices that are cropped and windowed already, so
they are only resized: the body crop and the window of the system are for Hounsfield units. A tenth of trainval is held
out for the temperature. Starts from ``bit/BiT-M-R50x1.npz`` where the data folder has one.
Without it AdamW with warm-up and cosine decay starts from nothing, since the published SGD would need its 10,000 steps.
Not as published either: side 64 for 480 (cut out of 68 for 512), batch 16 for 64, 20 epochs, two classes,
rotation, zoom, tone, sharpness and noise varied besides the crop and the mirror of the paper.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn import functional

from models.evaluation import metrics
from models.evaluation.bootstrap import figure
from models.evaluation.metrics import Figure
from models.images.geometry import resize_u8
from models.images.intensity import U8
from models.nets.bit import BiTResNet50
from models.nets.bit_import import load_bit
from models.nets.layout import place
from models.systems.bit import slice_tensor
from models.training import augment, classify, data, mixup, weights
from models.training.fit import Order, choose_device, fit, warm_cosine

NEEDS = ("ct_slices/labels.csv",)
START = "bit/BiT-M-R50x1.npz"
CLASSES = ("non_covid", "covid19")
SIDE, EPOCHS, BATCH, RATE = 64, 20, 16, 0.003
SCRATCH = 1e-3  # rate of AdamW without BiT weights: a few hundred steps of the published SGD learn next to nothing
HELD_OUT = 10  # one slice in ten
SCHEDULE = (500, 3000, 6000, 9000, 10000)  # end of warm-up, three drops, stop


@dataclass(frozen=True)
class SliceCase:
    path: Path
    label: str
    split: str  # train, val, test


def learning_rate(step: float, base: float = 0.003, schedule: tuple[int, ...] = SCHEDULE) -> float | None:
    """Published rate at a step: linear warm-up, a tenth after each drop (after, not at), None when training ends."""
    warm, *drops, end = schedule
    if step >= end:
        return None
    if step < warm:
        return base * step / warm
    return float(base / 10 ** sum(step > drop for drop in drops))


def rate(progress: float) -> float:
    """The published schedule stretched over the run, as a factor."""
    return learning_rate(progress * SCHEDULE[-1], 1.0) or 0.0


def slice_cases(folder: Path) -> list[SliceCase]:
    """All slices. The tenth of trainval with the lowest numbers of each class is held out.

    Patients are unknown, but files with near numbers look alike: a tenth drawn at random would hold near copies of what
    was learnt (the nearest training slice alone then tells the class of 94 in 100, of test slices that of 54).
    """
    with (folder / "ct_slices" / "labels.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    held: set[str] = set()
    for label in {row["label"] for row in rows}:
        names = sorted((row["file"] for row in rows if row["label"] == label and row["split"] != "test"), key=_number)
        held |= set(names[: len(names) // HELD_OUT])
    return [
        SliceCase(
            folder / "ct_slices" / row["file"],
            row["label"],
            "test" if row["split"] == "test" else "val" if row["file"] in held else "train",
        )
        for row in rows
    ]


def _number(file: str) -> int:
    found = re.findall(r"\d+", Path(file).stem)
    return int(found[-1]) if found else 0


def augmented(x: torch.Tensor, random: torch.Generator) -> torch.Tensor:
    """(N, C, H, W) in -1..1, each turned, zoomed, shifted, with another tone, sharpness and noise."""
    unit = augment.affine((x + 1) / 2, random, degrees=15, zoom=(0.85, 1.25), shift=0.08, mirror=False)
    unit = augment.brightness_contrast(augment.tone(unit, random), random, 0.3, 0.15)
    unit = torch.cat([augment.resolution(part, random) for part in unit.split(4)])
    return augment.noise(unit, random) * 2 - 1


def train(folder: Path, out: Path, order: Order) -> None:
    torch.manual_seed(order.seed)
    where = choose_device(order.device)
    cases = slice_cases(folder)
    arrays = data.cached(out / "cache" / f"bit-{SIDE}.npz", lambda: _prepare(cases))
    truth = torch.tensor([CLASSES.index(case.label) for case in cases])
    split = {name: [n for n, c in enumerate(cases) if c.split == name] for name in ("train", "val", "test")}
    chosen = torch.tensor(split["train"])
    net = BiTResNet50(len(CLASSES))
    imported = (folder / START).is_file()
    if imported:
        load_bit(net, folder / START)
    order.begin(net)
    place(net, where)

    def step(batch: torch.Tensor, random: torch.Generator) -> torch.Tensor:
        numbers = chosen[batch]
        x = augmented(random_view(slice_tensor(arrays["large"][numbers.numpy()]), SIDE, random), random)
        order, share = torch.randperm(len(x), generator=random), mixup.draw_share(random)
        x = mixup.mixed(x, order, share).to(where, memory_format=torch.channels_last)
        y = truth[numbers]
        return mixup.mixed_cross_entropy(net(x).float(), y.to(where), order.to(where), share)

    def logits(name: str) -> torch.Tensor:
        return predict(net, arrays["exact"][split[name]], where)

    def validate(epoch: int) -> str:
        found, y = logits("val"), truth[split["val"]]
        return f"val loss {functional.cross_entropy(found, y):.3f} accuracy {(found.argmax(1) == y).float().mean():.3f}"

    checkpoint, published = out / "bit-ct.checkpoint", torch.optim.SGD(net.parameters(), RATE, momentum=0.9)
    course, optimiser = (rate, published) if imported else (warm_cosine, torch.optim.AdamW(net.parameters(), SCRATCH))
    plan = order.plan(EPOCHS, BATCH, len(chosen), checkpoint, course, where, None)
    fit(plan, net, optimiser, step, validate)
    temperature = classify.fit_temperature(logits("val"), truth[split["val"]])
    p = (logits("test").double() / temperature).softmax(1).numpy()
    extra = {"side": SIDE, "temperature": temperature, "imported_start": float(imported)}
    weights.write(net, out / "bit-ct.safetensors", figures(p[:, 1], truth[split["test"]].numpy() == 1), extra)


def random_view(x: torch.Tensor, side: int, random: torch.Generator) -> torch.Tensor:
    """(N, C, H, W) -> (N, C, side, side): each cut out at a place of its own and, half of the time, mirrored."""
    tops, lefts = (torch.randint(size - side + 1, (len(x),), generator=random).tolist() for size in x.shape[-2:])
    cut = torch.stack([one[:, t : t + side, f : f + side] for one, t, f in zip(x, tops, lefts, strict=True)])
    turn = torch.rand(len(x), generator=random) < 0.5
    return torch.where(turn[:, None, None, None], cut.flip(-1), cut)


def predict(net: torch.nn.Module, pictures: U8, device: torch.device) -> torch.Tensor:
    """(n, K) logits of (n, side, side) pictures, in batches."""
    parts = np.array_split(pictures, -(-len(pictures) // BATCH))
    with torch.inference_mode():
        found = [net(slice_tensor(part).to(device, memory_format=torch.channels_last)).float().cpu() for part in parts]
    return torch.cat(found)


def figures(score: NDArray[np.float64], positive: NDArray[np.bool_]) -> dict[str, Figure]:
    """Of the test split, COVID-19 against the rest at one half, each with its bootstrap interval."""
    said = score >= 0.5

    def at(name: str) -> Figure:
        return figure(lambda n: float(getattr(metrics.confusion(positive[n], said[n]), name)), len(positive))

    return {
        "accuracy": at("accuracy"),
        "auroc_covid19": figure(lambda n: metrics.auroc(positive[n], score[n]), len(positive)),
        "sensitivity_covid19": at("sensitivity"),
        "specificity_covid19": at("specificity"),
    }


def _prepare(cases: list[SliceCase]) -> data.Arrays:
    """``exact``: resized for testing; ``large``: with the margin that random crops are cut from (512 for 480)."""
    pictures = []
    for case in cases:
        with Image.open(case.path) as picture:
            pictures.append(np.asarray(picture.convert("L")))
    large = SIDE * 512 // 480
    return {
        "exact": np.stack([resize_u8(picture, SIDE, SIDE) for picture in pictures]),
        "large": np.stack([resize_u8(picture, large, large) for picture in pictures]),
    }
