"""Recipe of ``fcdensenet`` (paper 003, 6.2): heart and both lungs of JSRT, and the lungs alone of covid_lungs.

Cross-entropy weighted 0.5 for the background and 1 for the rest; a film of which only the lung field is known is judged
by the sum of both lungs' probabilities. Not as published: FC-DenseNet56 at 128 x 128 and then 192 x 192 instead of
FC-DenseNet103 at 256, Adam with warm-up and cosine decay in each stage, batch 4, augmentation. No film is mirrored:
left and right are classes.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from models.evaluation import bootstrap, metrics
from models.images import geometry
from models.nets.fcdensenet import PROFILES
from models.nets.layout import place
from models.systems.fcdensenet import BACKGROUND, HEART, LEFT, RIGHT, picture, regions
from models.training import augment, data, weights
from models.training.fit import Order, Plan, Stage, choose_device, fit, warm_cosine

NEEDS = ("cxr_seg/jsrt", "cxr_seg/covid_lungs")
LAYERS, BATCH = 56, 4
STAGES = (Stage(128, 20, 1e-3), Stage(192, 20, 5e-4))
CLASS_WEIGHTS = (0.5, 1.0, 1.0, 1.0)
CLASS_OF_LEVEL = np.array((BACKGROUND, RIGHT, LEFT, HEART), np.uint8)  # the grey levels of JSRT's label maps


def train(folder: Path, out: Path, order: Order) -> None:
    """Train, measure on both held-out sets, write weights and figures into ``out``."""
    torch.manual_seed(order.seed)
    where = choose_device(order.device)
    cases = data.lung_cases(folder, seed=order.seed)
    net = PROFILES[LAYERS]()
    stages = STAGES[-1:] if order.begin(net) else STAGES
    place(net, where)
    count = sum(case.split == "train" for case in cases)
    for stage in stages:
        arrays = data.cached(out / "cache" / f"fcdensenet-{stage.side}.npz", partial(_prepare, cases, stage.side))
        checkpoint = out / f"fcdensenet-{stage.side}.checkpoint"
        plan = order.plan(stage.epochs, BATCH, count, checkpoint, warm_cosine, where)
        _learn(net, plan, stage, cases, arrays)
    figures = {
        f"jaccard_{name}": bootstrap.figure(bootstrap.mean_of(values), len(values))
        for name, values in jaccards(net, cases, arrays).items()
    }
    weights.write(net, out / "fcdensenet.safetensors", figures, {"layers": LAYERS, "side": STAGES[-1].side})


def _learn(net: nn.Module, plan: Plan, stage: Stage, cases: list[data.LungCase], arrays: data.Arrays) -> None:
    films = torch.from_numpy(arrays["films"])[:, None]
    labels = torch.from_numpy(arrays["labels"])
    whole = torch.tensor([case.origin == "jsrt" for case in cases])
    chosen = torch.tensor([number for number, case in enumerate(cases) if case.split == "train"])

    def step(batch: Tensor, random: torch.Generator) -> Tensor:
        numbers = chosen[batch]
        x, y = _augmented(films[numbers].float() / 255, labels[numbers], random)
        logits = net(x.to(plan.device, memory_format=torch.channels_last)).float()
        return segmentation_loss(logits, y.to(plan.device), whole[numbers].to(plan.device))

    def measure(epoch: int) -> str:
        if epoch % 5 != 4 and epoch != plan.epochs - 1:
            return ""
        return " ".join(f"{name} {np.mean(values):.3f}" for name, values in jaccards(net, cases, arrays).items())

    fit(plan, net, torch.optim.Adam(net.parameters(), stage.rate), step, measure)


def segmentation_loss(logits: Tensor, labels: Tensor, whole: Tensor) -> Tensor:
    """Weighted mean cross-entropy over all pixels, equation 2 of the paper.

    logits (N, 4, H, W); labels (N, H, W) classes; whole (N) bool: True where every class was drawn. Elsewhere LEFT
    stands for "lung, of either side" and BACKGROUND for "not lung".
    """
    log_p = logits.log_softmax(1)
    outside, inside = log_p[:, :LEFT].logsumexp(1), log_p[:, LEFT:].logsumexp(1)
    by_class = log_p.gather(1, labels[:, None])[:, 0]
    by_lung = torch.where(labels == LEFT, inside, outside)
    found = torch.where(whole[:, None, None], by_class, by_lung)
    weight = torch.tensor(CLASS_WEIGHTS, device=logits.device)[labels]
    return -(weight * found).sum() / weight.sum()


def _augmented(x: Tensor, labels: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Film (N, 1, H, W) and label map (N, H, W) turned, zoomed and shifted alike; what comes in is background."""
    layers = functional.one_hot(labels.long(), 4).permute(0, 3, 1, 2).float()
    both = augment.affine(torch.cat((x, layers), 1), random, degrees=10, zoom=(0.8, 1.25), shift=0.1, mirror=False)
    return augment.brightness_contrast(both[:, :1], random, 0.3, 0.15), both[:, 1:].argmax(1)


def _prepare(cases: list[data.LungCase], side: int) -> data.Arrays:
    return {
        "films": np.stack([picture(data.read_film(case.film), side) for case in cases]),
        "labels": np.stack([_labels(case, side) for case in cases]),
    }


def _labels(case: data.LungCase, side: int) -> NDArray[np.uint8]:
    """(side, side) classes; of a film with a lung mask alone LEFT and BACKGROUND."""
    if case.origin == "jsrt":
        found = CLASS_OF_LEVEL[data.read_levels(case)]
    else:
        found = np.where(data.read_mask(case), np.uint8(LEFT), np.uint8(BACKGROUND))
    shares = [
        geometry.resize_u8(np.asarray(found == number, dtype=np.uint8) * 255, side, side, cubic=False)
        for number in range(4)
    ]
    return np.asarray(np.stack(shares).argmax(0), dtype=np.uint8)


def jaccards(net: nn.Module, cases: list[data.LungCase], arrays: data.Arrays) -> data.Arrays:
    """Held-out Jaccard per film at the matrix of the original, of what the system would give."""
    found: dict[str, list[float]] = {}
    device = next(net.parameters()).device
    for number, case in enumerate(cases):
        if case.split != "test":
            continue
        x = torch.from_numpy(arrays["films"][number])[None, None].float().to(device) / 255
        lungs = data.read_mask(case)
        with torch.inference_mode():
            said = regions(net(x), (lungs.shape[0], lungs.shape[1]))
        found.setdefault(f"{case.origin}_lung", []).append(metrics.jaccard(said.lungs, lungs))
        if case.origin == "jsrt":
            heart = CLASS_OF_LEVEL[data.read_levels(case)] == HEART
            found.setdefault("jsrt_heart", []).append(metrics.jaccard(said.heart, heart))
    return {name: np.array(values) for name, values in found.items()}
