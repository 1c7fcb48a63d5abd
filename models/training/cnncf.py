"""Recipe of ``cnncf-xr`` (paper 000, 3.4 and 3.5): SGD, control gate in two phases, distillation from four teachers.

The teachers are trained first, each without one fold of the training films, and their softened probabilities teach
Stage II beside the labels. Phase 1 trains stem, Stage I and predictor until the gate opens (sensitivity on the
validation films reaches ``TH_SENS`` three epochs in a row); phase 2 latches it and trains Stage II and head while
Stage I is tuned on. Normal against COVID-19. Not as published: masked and harmonised lungs at a smaller side instead of
the whole film, stronger augmentation, sampling balanced by class and source instead of the weights 1:5, fewer epochs.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from models.evaluation.metrics import Figure
from models.nets.cnncf import CNNCF
from models.nets.layout import place
from models.training import classify, data, harmonised, weights
from models.training.distillation import Films, Run, SoftTargets, distil_loss, train_teachers
from models.training.fit import Order, choose_device, fit

NEEDS = ("cxr/labels.csv", "cxr_seg/jsrt")
SIDE, EPOCHS, TEACHER_EPOCHS, BATCH, RATE = 128, 14, 4, 32, 0.01
CLASSES = ("normal", "covid19")
TH_SENS = (
    0.75  # of the gate; the paper does not say its own. Harmonised lungs are harder than whole films of two sources
)


def rate(progress: float) -> float:
    """First twentieth linear from a tenth; x 0.1 at half and at three quarters of the run."""
    if progress < 0.05:
        return 0.1 + 0.9 * progress / 0.05
    return 1.0 if progress < 0.5 else 0.1 if progress < 0.75 else 0.01


def coloured(batch: Tensor, random: torch.Generator | None = None) -> Tensor:
    """(N, 2, S, S) of grey lungs and field -> (N, 3, S, S) in pseudo-colour, augmented in grey when ``random`` is."""
    grey = harmonised.plain(batch) if random is None else harmonised.augmented(batch, random)
    steps = torch.tensor([3.0, 2.0, 1.0]).reshape(1, 3, 1, 1)
    return (1.5 - (4 * grey - steps).abs()).clamp(0, 1)


def train(
    folder: Path,
    out: Path,
    order: Order,
) -> None:
    where = choose_device(order.device)
    cases = [case for case in data.classifier_cases(folder, order.without) if case.label in CLASSES]
    pictures = harmonised.pictures(cases, out, SIDE, "cnncf", lambda film, lungs: lungs.picture)
    lesson = classify.lesson(cases, CLASSES)
    truth, split, chosen = lesson.truth, lesson.split, lesson.chosen
    sampling, named = lesson.sampling, lesson.named
    patients = [cases[n].patient for n in split["train"]]
    films = Films(pictures, truth, chosen, patients, coloured, coloured, sampling)
    length = min(order.length(TEACHER_EPOCHS, BATCH, len(chosen)), TEACHER_EPOCHS)
    run = Run(out, length, order.seed, where, order.resume, rate)
    soft = SoftTargets.none() if order.find_rate else train_teachers(films, run)  # phase 1 has no part in them
    torch.manual_seed(order.seed)
    net = CNNCF(2, SIDE)
    order.begin(net)
    place(net, where)
    net.gate.th_sens = TH_SENS
    optimiser = torch.optim.SGD(classify.parameters(net, 1e-4), RATE, momentum=0.9)
    plan = order.plan(EPOCHS, BATCH, len(chosen), out / "cnncf-xr.checkpoint", rate, where, sampling, named)

    def step(batch: Tensor, random: torch.Generator) -> Tensor:
        numbers = chosen[batch]
        x = coloured(classify.as_batch(pictures, numbers), random).to(where, memory_format=torch.channels_last)
        y = truth[numbers].to(where)
        if not net.gate.is_open:
            return functional.cross_entropy(net.forward_stage_one(x).float(), y, label_smoothing=0.1)
        one, two = net(x)
        taught = distil_loss(two.float(), soft.of(batch).to(where), y)
        return functional.cross_entropy(one.float(), y, label_smoothing=0.1) + taught

    def sensitivity(epoch: int) -> str:
        said = classify.predict(lambda x: net(x)[0], pictures, split["val"], where, coloured).argmax(1)
        ill = truth[split["val"]] == 1
        value = float((said[ill] == 1).float().mean())
        return f"stage I sensitivity {value:.3f}, gate {'open' if net.gate.observe(value) else 'closed'}"

    fit(plan, net, optimiser, step, sensitivity)
    stage = 1 if net.gate.is_open else 0
    temperature, found = classify.judge(lambda x: net(x)[stage], pictures, cases, CLASSES, where, coloured)
    extra = {"side": SIDE, "temperature": temperature, "gate_open": float(net.gate.is_open)}
    weights.write(net, out / "cnncf-xr.safetensors", found | _teachers(soft), extra)


def _teachers(soft: SoftTargets) -> dict[str, Figure]:
    return {f"teacher_{name}_left_out_fold_accuracy": value for name, value in soft.accuracy.items()}
