"""Recipe of ``two-step`` (paper 002, 5.1 to 5.4): step 1 alone, Adam 1e-3, batch 32, salt and pepper.

The data has no kinds of pneumonia and no virus but SARS-CoV-2: "bacterial" is learnt from pneumonia of unknown kind,
"viral" from COVID-19 films, and step 2 is not trained. The lung field of ``unet-lung`` must be in ``out`` or installed.
Not as published: masked and harmonised lungs instead of the whole film, a loss that asks first whether a film is
normal, a fixed number of epochs with cosine decay, sampling balanced by class and source, stronger augmentation.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from models.nets.layout import place
from models.systems.twostep import TwoSteps
from models.training import classify, data, harmonised, weights
from models.training.fit import Order, choose_device, fit, warm_cosine
from models.training.losses import abnormal_first

NEEDS = ("cxr/labels.csv", "cxr_seg/jsrt")
SIDE, EPOCHS, BATCH, RATE = 64, 40, 32, 1e-3


def train(
    folder: Path,
    out: Path,
    order: Order,
) -> None:
    where = choose_device(order.device)
    cases = data.classifier_cases(folder, order.without)
    pictures = harmonised.pictures(cases, out, SIDE, "grey", lambda film, lungs: lungs.picture)
    lesson = classify.lesson(cases, data.CLASSES)
    truth, split, chosen = lesson.truth, lesson.split, lesson.chosen
    sampling, named = lesson.sampling, lesson.named
    torch.manual_seed(order.seed)  # here: preparing pictures may have drawn random numbers
    steps = TwoSteps(second=False)
    order.begin(steps)
    net = place(steps.step1, where)
    checkpoint = out / "two-step.checkpoint"
    plan = order.plan(EPOCHS, BATCH, len(chosen), checkpoint, warm_cosine, where, sampling, named)

    def step(batch: Tensor, random: torch.Generator) -> Tensor:
        numbers = chosen[batch]
        x = salt_and_pepper(harmonised.augmented(classify.as_batch(pictures, numbers), random), random)
        logits = net(_three(x).to(where, memory_format=torch.channels_last)).float()
        return abnormal_first(logits, truth[numbers].to(where))

    def validate(epoch: int) -> str:
        found, y = classify.predict(net, pictures, split["val"], where, _view), truth[split["val"]]
        return f"val loss {functional.cross_entropy(found, y):.3f} accuracy {(found.argmax(1) == y).float().mean():.3f}"

    fit(plan, net, torch.optim.Adam(net.parameters(), RATE), step, validate)
    temperature, found = classify.judge(net, pictures, cases, data.CLASSES, where, _view)
    weights.write(steps, out / "two-step.safetensors", found, {"side": SIDE, "temperature": temperature})


def _view(batch: Tensor) -> Tensor:
    return _three(harmonised.plain(batch))


def _three(grey: Tensor) -> Tensor:
    return grey.expand(-1, 3, -1, -1)


def salt_and_pepper(images: Tensor, random: torch.Generator, share: float = 0.02) -> Tensor:
    """(N, C, H, W) with ``share`` of the pixels, in all channels alike, set to 0 or 1."""
    drawn = torch.rand((len(images), 1, *images.shape[2:]), generator=random)
    return images.masked_fill(drawn < share / 2, 0.0).masked_fill(drawn > 1 - share / 2, 1.0)
