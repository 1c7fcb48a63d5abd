"""Recipe of ``unet-lung``: JSRT and covid_lungs films, Dice + cross-entropy, Adam with warm-up and cosine decay."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from models.evaluation import bootstrap, metrics
from models.images import geometry
from models.nets.layout import place
from models.nets.unet import LungUNet
from models.systems import preparation
from models.training import augment, data, losses, weights
from models.training.fit import Order, choose_device, fit, warm_cosine

NEEDS = ("cxr_seg/jsrt", "cxr_seg/covid_lungs")
SIDE, EPOCHS, BATCH, RATE = 192, 32, 8, 5e-4


def train(folder: Path, out: Path, order: Order) -> None:
    """Train, measure on both held-out sets, write weights and card into ``out``."""
    torch.manual_seed(order.seed)
    where = choose_device(order.device)
    cases = data.lung_cases(folder, seed=order.seed)
    arrays = data.cached(out / "cache" / f"lungs-{SIDE}.npz", lambda: _prepare(cases))
    films = torch.from_numpy(arrays["films"])[:, None]
    masks = torch.from_numpy(arrays["masks"])[:, None]
    chosen = torch.tensor([number for number, case in enumerate(cases) if case.split == "train"])
    net = build()
    order.begin(net)
    place(net, where)
    plan = order.plan(EPOCHS, BATCH, len(chosen), out / "unet-lung.checkpoint", warm_cosine, where)
    optimiser = torch.optim.Adam(net.parameters(), RATE)

    def step(batch: torch.Tensor, random: torch.Generator) -> torch.Tensor:
        x, y = films[chosen[batch]].float() / 255, masks[chosen[batch]].float()
        both = augment.affine(torch.cat((x, y), 1), random, degrees=15, zoom=(0.8, 1.25), shift=0.12, mirror=True)
        x, y = augment.brightness_contrast(both[:, :1], random, 0.3, 0.15), (both[:, 1:] > 0.5).float()
        logits = net(x.to(where, memory_format=torch.channels_last))
        return losses.dice_and_bce(logits.float(), y.to(where))

    def measure(epoch: int) -> str:
        if epoch % 4 != 3 and epoch != plan.epochs - 1:
            return ""
        scores = _jaccards(net, cases, arrays)
        return " ".join(f"{name} {np.mean(values):.3f}" for name, values in scores.items())

    fit(plan, net, optimiser, step, measure)
    figures = {}
    for name, values in _jaccards(net, cases, arrays).items():
        figures[f"jaccard_{name}"] = bootstrap.figure(_mean_of(values), len(values))
    weights.write(net, out / "unet-lung.safetensors", figures, {"side": SIDE})


def _mean_of(values: NDArray[np.float64]) -> bootstrap.Statistic:
    return lambda chosen: float(values[chosen].mean())


def build() -> LungUNet:
    """He initialisation: without batch normalisation the default starts too small to learn."""
    net = LungUNet()
    for module in net.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            nn.init.zeros_(module.bias)  # type: ignore[arg-type]
    return net


def _prepare(cases: list[data.LungCase]) -> data.Arrays:
    films = [preparation.lung_input(data.read_film(case.film), SIDE) for case in cases]
    masks = [
        geometry.resize_u8(data.read_mask(case).astype(np.uint8) * 255, SIDE, SIDE, cubic=False) > 127 for case in cases
    ]
    return {"films": np.stack(films), "masks": np.stack(masks)}


def _jaccards(net: nn.Module, cases: list[data.LungCase], arrays: data.Arrays) -> data.Arrays:
    """Held-out Jaccard per film at the matrix of the original, for each origin."""
    found: dict[str, list[float]] = {}
    device = next(net.parameters()).device
    for number, case in enumerate(cases):
        if case.split != "test":
            continue
        x = torch.from_numpy(arrays["films"][number])[None, None].float().to(device) / 255
        truth = data.read_mask(case)
        with torch.inference_mode():
            p = functional.interpolate(net(x).sigmoid(), truth.shape, mode="bilinear", align_corners=False)
        found.setdefault(case.origin, []).append(metrics.jaccard(p[0, 0].cpu().numpy() >= 0.5, truth))
    return {name: np.array(values) for name, values in found.items()}
