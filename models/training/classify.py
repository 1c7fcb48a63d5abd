"""What the recipes of the film classifiers share: batches, sampling, temperature, figures on films never trained on.

Figures inside the sources say little: every pneumonia film comes from one source and every COVID-19 film from others. A
run ``without`` some sources leaves them out altogether; its figures ``unseen_...`` put films of one such source against
films of another, and say what can be hoped for elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from models.evaluation import metrics
from models.evaluation.bootstrap import figure
from models.evaluation.metrics import Figure
from models.images.intensity import U8
from models.training.data import FilmCase
from models.training.harmonised import plain

Logits = Callable[[Tensor], Tensor]
NORMAL, COVID = "normal", "covid19"


@dataclass(frozen=True)
class Lesson:
    """What a recipe learns from: all cases, and of those in the split ``train`` their numbers, names and weights.

    truth: (case) index of its class, -1 for a label that is none of the classes.
    """

    cases: Sequence[FilmCase]
    truth: Tensor
    split: dict[str, list[int]]
    chosen: Tensor
    named: tuple[str, ...]
    sampling: Tensor


def lesson(cases: Sequence[FilmCase], classes: Sequence[str]) -> Lesson:
    split = split_of(cases)
    return Lesson(
        cases=cases,
        truth=torch.tensor([classes.index(case.label) if case.label in classes else -1 for case in cases]),
        split=split,
        chosen=torch.tensor(split["train"]),
        named=names(cases, split["train"]),
        sampling=sampling_weights([cases[n] for n in split["train"]]),
    )


def split_of(cases: Sequence[FilmCase]) -> dict[str, list[int]]:
    """Split -> case numbers; ``left-out`` holds the sources that the run never trains on."""
    return {name: [n for n, c in enumerate(cases) if c.split == name] for name in ("train", "val", "test", "left-out")}


def names(cases: Sequence[FilmCase], numbers: Sequence[int]) -> tuple[str, ...]:
    """What tells the training films of one run from those of another."""
    return tuple(f"{cases[n].source} {cases[n].path.name}" for n in numbers)


def as_batch(pictures: U8, numbers: Tensor | Sequence[int]) -> Tensor:
    """(n, row, column, channel) 8 bit -> (n, channel, row, column) float 0..1."""
    chosen = torch.from_numpy(pictures[np.asarray(numbers)]).permute(0, 3, 1, 2)
    return chosen.float() / 255


def sampling_weights(cases: Sequence[FilmCase]) -> Tensor:
    """Every class alike, and inside a class every source by the square root of its films."""
    labels = sorted({case.label for case in cases})
    weights = torch.zeros(len(cases), dtype=torch.float64)
    for label in labels:
        sources = sorted({case.source for case in cases if case.label == label})
        members = {s: [n for n, c in enumerate(cases) if c.label == label and c.source == s] for s in sources}
        roots = {source: len(numbers) ** 0.5 for source, numbers in members.items()}
        for source, numbers in members.items():
            weights[numbers] = roots[source] / sum(roots.values()) / len(numbers)
    return weights


def predict(
    logits: Logits,
    pictures: U8,
    numbers: Sequence[int],
    device: torch.device,
    view: Callable[[Tensor], Tensor] = plain,
) -> Tensor:
    """(n, K) logits of the given cases, in batches of 32. ``view``: from a stored picture to the network's input."""
    with torch.inference_mode():
        parts = [
            logits(view(as_batch(pictures, part)).to(device, memory_format=torch.channels_last)).float().cpu()
            for part in torch.tensor(numbers, dtype=torch.int64).split(32)
        ]
    return torch.cat(parts)


def fit_temperature(logits: Tensor, target: Tensor) -> float:
    """The temperature that minimises the cross-entropy on the validation split, in 0.25 to 8."""
    grid = torch.exp(torch.linspace(np.log(0.25), np.log(8.0), 141))
    losses = torch.stack([functional.cross_entropy(logits / t, target) for t in grid])
    return float(grid[losses.argmin()])


def judge(
    logits: Logits,
    pictures: U8,
    cases: Sequence[FilmCase],
    names: Sequence[str],
    device: torch.device,
    view: Callable[[Tensor], Tensor] = plain,
) -> tuple[float, dict[str, Figure]]:
    """(temperature, figures) of a trained network."""
    split = split_of(cases)
    truth = np.array([names.index(case.label) if case.label in names else -1 for case in cases])
    found = predict(logits, pictures, split["val"], device, view)
    temperature = fit_temperature(found, torch.from_numpy(truth[split["val"]]))

    def probabilities(numbers: Sequence[int]) -> NDArray[np.float64]:
        answers = predict(logits, pictures, numbers, device, view).double() / temperature
        return np.asarray(answers.softmax(1).numpy())

    test, left = split["test"], split["left-out"]
    answers = figures(probabilities(test), truth[test], [cases[n] for n in test], names)
    if left:
        answers |= unseen(probabilities(left), [cases[n] for n in left], names)
    return temperature, answers


def figures(
    p: NDArray[np.float64], truth: NDArray[np.int64], cases: Sequence[FilmCase], names: Sequence[str]
) -> dict[str, Figure]:
    """All figures of one classifier on the test split, each with its bootstrap interval."""
    covid = list(names).index(COVID)
    said, positive = p.argmax(1), truth == covid
    found = {
        "accuracy": figure(lambda n: float((said[n] == truth[n]).mean()), len(truth)),
        "auroc_covid19": _auroc_of(positive, p[:, covid]),
        "sensitivity_covid19": figure(
            lambda n: metrics.confusion(positive[n], said[n] == covid).sensitivity, len(truth)
        ),
        "specificity_covid19": figure(
            lambda n: metrics.confusion(positive[n], said[n] == covid).specificity, len(truth)
        ),
    }
    if len(names) == 3:
        ill = list(names).index("pneumonia")
        same = np.array([c.source == "nih-cxr14" for c in cases]) & ~positive
        if same.any():
            found["auroc_pneumonia_against_normal"] = _auroc_of(truth[same] == ill, 1 - p[same, 0])
    for source in sorted({case.source for case, y in zip(cases, truth, strict=True) if y == covid}):
        here = np.array([y != covid or case.source == source for case, y in zip(cases, truth, strict=True)])
        found[f"auroc_covid19_{source}"] = _auroc_of(positive[here], p[here, covid])
    return found


def unseen(p: NDArray[np.float64], cases: Sequence[FilmCase], names: Sequence[str]) -> dict[str, Figure]:
    """Films of sources that the run never saw: each source's ill films against each source's normal ones.

    The score is the probability of COVID-19, or, for ``pneumonia``, that of not being normal.
    """
    covid = list(names).index(COVID)
    kinds = sorted({(case.label, case.source) for case in cases})
    found = {}
    for label, source in kinds:
        for other in [o for kind, o in kinds if kind == NORMAL and label != NORMAL]:
            ill = np.array([c.label == label and c.source == source for c in cases])
            well = np.array([c.label == NORMAL and c.source == other for c in cases])
            score = p[:, covid] if label == COVID else 1 - p[:, 0]
            found[f"unseen_{label}_{source}_against_{other}"] = _auroc_of(ill[ill | well], score[ill | well])
    return found


def _auroc_of(truth: NDArray[np.bool_], score: NDArray[np.float64]) -> Figure:
    return figure(lambda n: metrics.auroc(truth[n], score[n]), len(truth))


def parameters(module: nn.Module, decay: float) -> list[dict[str, object]]:
    """Weight decay on weights, none on biases and normalisation."""
    heavy = [p for p in module.parameters() if p.ndim > 1]
    light = [p for p in module.parameters() if p.ndim <= 1]
    return [{"params": heavy, "weight_decay": decay}, {"params": light, "weight_decay": 0.0}]
