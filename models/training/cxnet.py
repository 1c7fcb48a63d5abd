"""Recipe of ``cxnet`` (paper 004, 7.5 and 7.6): three classes, label smoothing 0.1, Adam, anatomical augmentation.

The lung field of ``unet-lung`` must be installed, or trained into ``out`` before. Not as published: the lungs are
masked and harmonised (``preparation.harmonised``), the loss asks first whether a film is normal, the input is smaller
and reached in two phases, training is from scratch, and sampling is balanced by class and source.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

from models.nets.cxnet import CXNet
from models.nets.layout import place
from models.systems import preparation
from models.training import classify, data, harmonised, weights
from models.training.fit import Order, Stage, choose_device, fit, warm_cosine
from models.training.losses import abnormal_first

NEEDS = ("cxr/labels.csv", "cxr_seg/jsrt")
SIDE, BATCH = 160, 16
STAGES = (Stage(112, 12, 1e-3), Stage(SIDE, 4, 3e-4))  # most is learnt on small films


def train(
    folder: Path,
    out: Path,
    order: Order,
) -> None:
    where = choose_device(order.device)
    cases = data.classifier_cases(folder, order.without)
    pictures = harmonised.pictures(cases, out, SIDE, "cxnet", lambda film, lungs: preparation.cxnet_input(lungs))
    lesson = classify.lesson(cases, data.CLASSES)
    truth, split, chosen = lesson.truth, lesson.split, lesson.chosen
    sampling, named = lesson.sampling, lesson.named
    torch.manual_seed(order.seed)  # here: preparing pictures may have drawn random numbers
    net = CXNet(3)
    _wake_hidden_layer(net)
    stages = STAGES[-1:] if order.begin(net) else STAGES
    place(net, where)

    def validate(epoch: int) -> str:
        found = classify.predict(net, pictures, split["val"], where)
        y = truth[split["val"]]
        return f"val loss {functional.cross_entropy(found, y):.3f} accuracy {(found.argmax(1) == y).float().mean():.3f}"

    for stage in stages:

        def step(batch: torch.Tensor, random: torch.Generator, side: int = stage.side) -> torch.Tensor:
            numbers = chosen[batch]
            x = classify.as_batch(pictures, numbers)
            x = functional.interpolate(x, size=(side, side), mode="bilinear", antialias=True)
            x = harmonised.augmented(x, random).to(where, memory_format=torch.channels_last)
            return abnormal_first(net(x).float(), truth[numbers].to(where))

        checkpoint = out / f"cxnet-{stage.side}.checkpoint"
        plan = order.plan(stage.epochs, BATCH, len(chosen), checkpoint, warm_cosine, where, sampling, named)
        fit(plan, net, torch.optim.Adam(classify.parameters(net, 1e-5), stage.rate), step, validate)
    temperature, found = classify.judge(net, pictures, cases, data.CLASSES, where)
    weights.write(net, out / "cxnet.safetensors", found, {"side": SIDE, "temperature": temperature})


def _wake_hidden_layer(net: CXNet) -> None:
    """Ten rectified units are few: with the usual start most of them are dead from scratch and nothing is learnt."""
    nn.init.kaiming_uniform_(net.hidden.weight, nonlinearity="relu")
    nn.init.constant_(net.hidden.bias, 0.5)
