"""Knowledge distillation for ``cnncf-xr`` (paper 000; specification 3.5): four teachers teach one network.

The training films are put into five folds by patient; each teacher learns all folds but one, teacher k without fold k,
so the fifth fold is learnt by all. Their softened probabilities for every training film, not augmented, are averaged:
the soft targets. Logits are kept in ``cache/cnncf-teachers.npz`` and used again by a run of the same films, epochs and
seed. Teachers are measured on the fold they did not learn; that is no test, since recipes are chosen by looking at it.

    soft = train_teachers(films, run)                         # once, before the student
    loss = distil_loss(logits, soft.of(batch), truth[...])    # batch: places in ``films.chosen``
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold
from torch import Tensor
from torch.nn import functional

from models.evaluation import bootstrap
from models.evaluation.metrics import Figure
from models.images.intensity import U8
from models.nets.layout import place
from models.nets.teachers import PLANS, Teacher
from models.training import classify, data
from models.training.fit import Plan, fit

ALPHA, TEMPERATURE, FOLDS = 0.95, 6.0, 5
BATCH, RATE, DECAY = 32, 0.01, 1e-4


@dataclass(frozen=True)
class Films:
    """What is learnt from. All films lie in ``pictures`` (n, side, side, channel) and ``truth`` (n,); ``chosen`` holds
    the numbers of the training films, and ``patients`` and ``sampling`` stand in its order ("": a patient unknown).

    augmented, view: from a batch of pictures (N, channel, side, side) in 0..1 to what a network sees in training, and
    at inference, (N, 3, side, side).
    """

    pictures: U8
    truth: Tensor
    chosen: Tensor
    patients: Sequence[str]
    augmented: Callable[[Tensor, torch.Generator], Tensor]
    view: Callable[[Tensor], Tensor]
    sampling: Tensor | None = None
    classes: int = 2


@dataclass(frozen=True)
class Run:
    """How it is learnt, as the recipe that asks was told. ``rate(progress)``: factor on the learning rate 0.01."""

    out: Path
    epochs: int
    seed: int
    device: torch.device
    resume: bool
    rate: Callable[[float], float]


@dataclass(frozen=True)
class SoftTargets:
    """logits: (teacher, training film, class), films in the order of ``Films.chosen``. accuracy: of each teacher on
    the fold it did not learn."""

    logits: Tensor
    accuracy: dict[str, Figure]

    def of(self, places: Tensor, temperature: float = TEMPERATURE) -> Tensor:
        """(N, K) fused probabilities of the training films at these places of ``Films.chosen``."""
        return fuse(self.logits[:, places], temperature)

    @classmethod
    def none(cls) -> SoftTargets:
        """Where nothing is taught."""
        return cls(torch.empty(0, 0, 0), {})


def fuse(teacher_logits: Tensor, temperature: float = TEMPERATURE) -> Tensor:
    """(teacher, N, K) -> (N, K): mean of the teachers' softened probabilities."""
    return (teacher_logits / temperature).softmax(-1).mean(0)


def distil_loss(
    student: Tensor, fused: Tensor, target: Tensor, alpha: float = ALPHA, temperature: float = TEMPERATURE
) -> Tensor:
    """a T^2 KL(fused || student / T) + (1 - a) CE; with one teacher it is ``losses.distillation``."""
    soft = functional.kl_div((student.float() / temperature).log_softmax(1), fused, reduction="batchmean")
    return alpha * temperature**2 * soft + (1 - alpha) * functional.cross_entropy(student.float(), target)


def train_teachers(films: Films, run: Run, folds: int = FOLDS) -> SoftTargets:
    """Train each teacher without its fold, or take what an equal run left; the fused targets of all training films."""
    key = fingerprint(films, run, folds)
    path = run.out / "cache" / "cnncf-teachers.npz"
    if path.exists() and str(data.cached(path, dict)["key"]) != key:
        path.unlink()
    arrays = data.cached(path, lambda: _teach(films, run, folds) | {"key": np.array(key)})
    truth = films.truth[films.chosen].numpy()
    accuracy = {
        name: _accuracy(logits.argmax(1), truth, arrays["folds"] == number)
        for number, (name, logits) in enumerate(zip(PLANS, arrays["logits"], strict=True))
    }
    return SoftTargets(torch.from_numpy(arrays["logits"]), accuracy)


def folds_of(truth: NDArray[np.int64], patients: Sequence[str], folds: int, seed: int) -> NDArray[np.int64]:
    """Fold of each film: classes alike, a patient in one fold; a film of a patient unknown is one of its own."""
    groups = [patient or f"unknown {number}" for number, patient in enumerate(patients)]
    split = StratifiedGroupKFold(folds, shuffle=True, random_state=seed).split(truth, truth, groups)
    found = np.empty(len(truth), np.int64)
    for number, (_, left_out) in enumerate(split):
        found[left_out] = number
    return found


def fingerprint(films: Films, run: Run, folds: int) -> str:
    """Digest of what decides the teachers: the training films and their labels, epochs, seed, folds."""
    digest = hashlib.sha256(np.ascontiguousarray(films.pictures[films.chosen.numpy()]).tobytes())
    digest.update(films.truth[films.chosen].numpy().tobytes())
    digest.update(json.dumps([list(films.patients), run.epochs, run.seed, folds]).encode())
    return digest.hexdigest()


def _teach(films: Films, run: Run, folds: int) -> data.Arrays:
    fold = folds_of(films.truth[films.chosen].numpy(), films.patients, folds, run.seed)
    logits = [
        _one_teacher(name, films, run, torch.from_numpy(np.flatnonzero(fold != number)))
        for number, name in enumerate(PLANS)
    ]
    return {"logits": np.stack(logits), "folds": fold}


def _one_teacher(name: str, films: Films, run: Run, learnt: Tensor) -> NDArray[np.float32]:
    """(training film, class) logits after training on the places ``learnt`` of ``films.chosen``."""
    torch.manual_seed(run.seed)
    net = place(Teacher(PLANS[name], films.classes), run.device)
    numbers = films.chosen[learnt]
    left_out = sorted(set(films.chosen.tolist()) - set(numbers.tolist()))
    sampling = films.sampling[learnt] if films.sampling is not None else None
    checkpoint = run.out / f"cnncf-teacher-{name}.checkpoint"
    plan = Plan(run.epochs, BATCH, len(numbers), run.seed, checkpoint, run.resume, run.rate, sampling, run.device)
    optimiser = torch.optim.SGD(classify.parameters(net, DECAY), RATE, momentum=0.9)

    def step(batch: Tensor, random: torch.Generator) -> Tensor:
        some = numbers[batch]
        x = films.augmented(classify.as_batch(films.pictures, some), random)
        logits = net(x.to(run.device, memory_format=torch.channels_last)).float()
        return functional.cross_entropy(logits, films.truth[some].to(run.device))

    def left_out_accuracy(epoch: int) -> str:
        said = classify.predict(net, films.pictures, left_out, run.device, films.view).argmax(1)
        return f"{name} accuracy on its left-out fold {float((said == films.truth[left_out]).float().mean()):.3f}"

    fit(plan, net, optimiser, step, left_out_accuracy)
    net.eval()
    return np.asarray(classify.predict(net, films.pictures, films.chosen.tolist(), run.device, films.view).numpy())


def _accuracy(said: NDArray[np.int64], truth: NDArray[np.int64], here: NDArray[np.bool_]) -> Figure:
    right = said[here] == truth[here]
    return bootstrap.figure(lambda n: float(right[n].mean()), len(right))
