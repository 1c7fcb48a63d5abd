"""Recipes of the binary forms of paper 004 (7.5 to 7.7): ``dense`` makes ``cxnet-binary``, ``base`` ``cxnet-base``.

One output, normal against COVID-19, binary cross-entropy with label smoothing 0.1, Adam. The lung field of
``unet-lung`` must be installed, or trained into ``out`` before. Not as published: the lungs are masked and harmonised
(``preparation.harmonised``), the side is 160 instead of 320, and sampling is balanced by class and source instead of a
loss weighted by class. ``dense`` starts from scratch instead of ImageNet. ``base`` learns for 30 epochs from 1e-3 with
warm-up and cosine decay instead of 120 epochs at 1e-4, and at side 160 its first dense layer has 512 inputs instead of
2592.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from models.evaluation.bootstrap import figure
from models.evaluation.metrics import Figure, auroc
from models.nets.basemodel import HIDDEN, BaseModel, two_classes
from models.nets.cxnet import CXNet
from models.nets.layout import place
from models.systems import preparation
from models.training import classify, data, harmonised, weights
from models.training.data import FilmCase
from models.training.fit import Order, choose_device, fit, warm_cosine

NEEDS = ("cxr/labels.csv", "cxr_seg/jsrt")
SIDE, RATE, SMOOTHING = 160, 1e-3, 0.1
CLASSES = ("normal", "covid19")


@dataclass(frozen=True)
class Form:
    system: str
    build: Callable[[], nn.Module]
    epochs: int
    batch: int


def train(
    form: Form,
    folder: Path,
    out: Path,
    order: Order,
) -> None:
    where = choose_device(order.device)
    # Pictures of all films, since those of ``cxnet`` are the same and the cache goes by their number.
    every = data.classifier_cases(folder, order.without)
    stored = harmonised.pictures(every, out, SIDE, "cxnet", lambda film, lungs: preparation.cxnet_input(lungs))
    kept = [number for number, case in enumerate(every) if case.label in CLASSES]
    cases, pictures = [every[number] for number in kept], stored[kept]
    lesson = classify.lesson(cases, CLASSES)
    truth, split, chosen = lesson.truth, lesson.split, lesson.chosen
    sampling, named = lesson.sampling, lesson.named
    torch.manual_seed(order.seed)  # here: preparing pictures may have drawn random numbers
    net = _ready_to_learn(form.build())
    order.begin(net)
    place(net, where)

    def logits(x: Tensor) -> Tensor:
        return two_classes(net(x))

    def step(batch: Tensor, random: torch.Generator) -> Tensor:
        numbers = chosen[batch]
        x = harmonised.augmented(classify.as_batch(pictures, numbers), random)
        z = net(x.to(where, memory_format=torch.channels_last)).float()[:, 0]
        return smoothed(z, truth[numbers].to(where))

    def validate(epoch: int) -> str:
        found, y = classify.predict(logits, pictures, split["val"], where), truth[split["val"]]
        return f"val loss {functional.cross_entropy(found, y):.3f} AUROC {auroc(y == 1, found[:, 1]):.3f}"

    checkpoint = out / f"{form.system}.checkpoint"
    plan = order.plan(form.epochs, form.batch, len(chosen), checkpoint, warm_cosine, where, sampling, named)
    fit(plan, net, torch.optim.Adam(classify.parameters(net, 1e-5), RATE), step, validate)
    temperature, found = classify.judge(logits, pictures, cases, CLASSES, where)
    found |= unknown_illness(lambda numbers: classify.predict(logits, stored, numbers, where)[:, 1], every)
    weights.write(net, out / f"{form.system}.safetensors", found, {"side": SIDE, "temperature": temperature})


def unknown_illness(scores: Callable[[Sequence[int]], Tensor], cases: Sequence[FilmCase]) -> dict[str, Figure]:
    """Test films with pneumonia, which it never learnt, against normal ones of the same source.

    Near 0.5 it does not see illness as such, but what is peculiar to the films of COVID-19 or to their sources.
    """
    sources = {case.source for case in cases if case.label == "pneumonia"}
    asked = [
        number
        for number, case in enumerate(cases)
        if case.split == "test" and case.source in sources and case.label in ("normal", "pneumonia")
    ]
    if not asked:
        return {}
    ill, score = np.array([cases[number].label == "pneumonia" for number in asked]), scores(asked).numpy()
    return {"auroc_pneumonia_against_normal": figure(lambda n: auroc(ill[n], score[n]), len(asked))}


def smoothed(logit: Tensor, target: Tensor) -> Tensor:
    """Binary cross-entropy of (N) logits and classes 0 or 1, smoothed: half of ``SMOOTHING`` on the other class."""
    wanted = target.to(logit.dtype) * (1 - SMOOTHING) + SMOOTHING / 2
    return functional.binary_cross_entropy_with_logits(logit, wanted)


def _ready_to_learn(net: nn.Module) -> nn.Module:
    """Ten rectified units are few: with the usual start most of them are dead from scratch and nothing is learnt.

    Convolutions without normalisation (of the base model) start too small as well.
    """
    for module in net.modules():
        if isinstance(module, nn.Linear) and module.out_features == HIDDEN:
            nn.init.kaiming_uniform_(module.weight, nonlinearity="relu")
            nn.init.constant_(module.bias, 0.5)
        elif isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    return net


dense = partial(train, Form("cxnet-binary", lambda: CXNet(1), epochs=12, batch=16))
base = partial(train, Form("cxnet-base", lambda: BaseModel(1, SIDE), epochs=30, batch=32))
