"""Recipes of the lung field: ``small`` makes ``unet-lung``, ``large`` makes ``unet-lung-256``.

JSRT and covid_lungs films, Dice + cross-entropy, Adam with warm-up and cosine decay in each stage. ``large`` begins as
``small`` does and goes on with larger films; begun from the weights of ``unet-lung`` it makes its last stage alone.
Measured is what the system gives: the largest parts of the mask, of ``large`` the mean with the mirrored film.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from models.evaluation import bootstrap, metrics
from models.images import geometry
from models.nets.layout import place
from models.nets.unet import LungUNet
from models.systems import preparation
from models.systems.unet_lung import lung_probability, mask_of
from models.training import augment, data, losses, weights
from models.training.fit import Order, Plan, Stage, choose_device, fit, warm_cosine

NEEDS = ("cxr_seg/jsrt", "cxr_seg/covid_lungs")
BATCH = 8


@dataclass(frozen=True)
class Form:
    system: str
    stages: tuple[Stage, ...]
    mirrored: bool


def train(form: Form, folder: Path, out: Path, order: Order) -> None:
    """Train, measure on both held-out sets, write weights and figures into ``out``."""
    torch.manual_seed(order.seed)
    where = choose_device(order.device)
    cases = data.lung_cases(folder, seed=order.seed)
    net = build()
    stages = form.stages[-1:] if order.begin(net) else form.stages
    place(net, where)
    count = sum(case.split == "train" for case in cases)
    for stage in stages:
        arrays = data.cached(out / "cache" / f"lungs-{stage.side}.npz", partial(_prepare, cases, stage.side))
        checkpoint = out / f"{form.system}-{stage.side}.checkpoint"
        plan = order.plan(stage.epochs, BATCH, count, checkpoint, warm_cosine, where)
        _learn(net, form, plan, stage, cases, arrays)
    figures = {
        f"jaccard_{name}": bootstrap.figure(bootstrap.mean_of(values), len(values))
        for name, values in jaccards(net, form.mirrored, cases, arrays).items()
    }
    settings = {"side": stages[-1].side, "mirrored": float(form.mirrored)}
    weights.write(net, out / f"{form.system}.safetensors", figures, settings)


def _learn(
    net: LungUNet, form: Form, plan: Plan, stage: Stage, cases: list[data.LungCase], arrays: data.Arrays
) -> None:
    films = torch.from_numpy(arrays["films"])[:, None]
    masks = torch.from_numpy(arrays["masks"])[:, None]
    chosen = torch.tensor([number for number, case in enumerate(cases) if case.split == "train"])

    def step(batch: torch.Tensor, random: torch.Generator) -> torch.Tensor:
        x, y = films[chosen[batch]].float() / 255, masks[chosen[batch]].float()
        both = augment.affine(torch.cat((x, y), 1), random, degrees=15, zoom=(0.8, 1.25), shift=0.12, mirror=True)
        x, y = augment.brightness_contrast(both[:, :1], random, 0.3, 0.15), (both[:, 1:] > 0.5).float()
        logits = net(x.to(plan.device, memory_format=torch.channels_last))
        return losses.dice_and_bce(logits.float(), y.to(plan.device))

    def measure(epoch: int) -> str:
        if epoch % 4 != 3 and epoch != plan.epochs - 1:
            return ""
        scores = jaccards(net, form.mirrored, cases, arrays)
        return " ".join(f"{name} {np.mean(values):.3f}" for name, values in scores.items())

    fit(plan, net, torch.optim.Adam(net.parameters(), stage.rate), step, measure)


def build() -> LungUNet:
    """He initialisation: without batch normalisation the default starts too small to learn."""
    net = LungUNet()
    for module in net.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            nn.init.zeros_(module.bias)  # type: ignore[arg-type]
    return net


def _prepare(cases: list[data.LungCase], side: int) -> data.Arrays:
    films = [preparation.lung_input(data.read_film(case.film), side) for case in cases]
    masks = [
        geometry.resize_u8(data.read_mask(case).astype(np.uint8) * 255, side, side, cubic=False) > 127 for case in cases
    ]
    return {"films": np.stack(films), "masks": np.stack(masks)}


def jaccards(net: nn.Module, mirrored: bool, cases: list[data.LungCase], arrays: data.Arrays) -> data.Arrays:
    """Held-out Jaccard per film at the matrix of the original, of what the system would give."""
    found: dict[str, list[float]] = {}
    device = next(net.parameters()).device
    for number, case in enumerate(cases):
        if case.split != "test":
            continue
        x = torch.from_numpy(arrays["films"][number])[None, None].float().to(device) / 255
        truth = data.read_mask(case)
        p = lung_probability(net, x, (truth.shape[0], truth.shape[1]), mirrored)
        found.setdefault(case.origin, []).append(metrics.jaccard(mask_of(p), truth))
    return {name: np.array(values) for name, values in found.items()}


FIRST = Stage(192, 32, 5e-4)
small = partial(train, Form("unet-lung", (FIRST,), mirrored=False))
large = partial(train, Form("unet-lung-256", (FIRST, Stage(256, 16, 3e-4)), mirrored=True))
