"""What the recipes of both film classifiers share: batches, sampling, temperature, figures on the test split.

Figures are given for the whole test split and, for COVID-19, against the one source of normal films, source by source:
every normal and pneumonia film comes from one source and every COVID-19 film from others, so a high figure may only
mean that the network knows the source.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

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

Logits = Callable[[Tensor], Tensor]


def as_batch(pictures: U8, numbers: Tensor, device: torch.device) -> Tensor:
    """(n, row, column, 3) 8 bit -> (n, 3, row, column) float 0..1, channels last."""
    chosen = torch.from_numpy(pictures[numbers.numpy()]).permute(0, 3, 1, 2)
    return (chosen.float() / 255).to(device, memory_format=torch.channels_last)


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


def predict(logits: Logits, pictures: U8, numbers: Sequence[int], device: torch.device) -> Tensor:
    """(n, K) logits of the given cases and of their mirror images, averaged over neither: plain, in batches of 32."""
    with torch.inference_mode():
        parts = [logits(as_batch(pictures, part, device)).float().cpu() for part in torch.tensor(numbers).split(32)]
    return torch.cat(parts)


def fit_temperature(logits: Tensor, target: Tensor) -> float:
    """The temperature that minimises the cross-entropy on the validation split, in 0.25 to 8."""
    grid = torch.exp(torch.linspace(np.log(0.25), np.log(8.0), 141))
    losses = torch.stack([functional.cross_entropy(logits / t, target) for t in grid])
    return float(grid[losses.argmin()])


def figures(
    p: NDArray[np.float64], truth: NDArray[np.int64], cases: Sequence[FilmCase], names: Sequence[str]
) -> dict[str, Figure]:
    """All figures of one classifier on the test split, each with its bootstrap interval."""
    covid = list(names).index("covid19")
    said, positive = p.argmax(1), truth == covid
    found = {
        "accuracy": figure(lambda n: float((said[n] == truth[n]).mean()), len(truth)),
        "auroc_covid19": figure(lambda n: metrics.auroc(positive[n], p[n, covid]), len(truth)),
        "sensitivity_covid19": figure(
            lambda n: metrics.confusion(positive[n], said[n] == covid).sensitivity, len(truth)
        ),
        "specificity_covid19": figure(
            lambda n: metrics.confusion(positive[n], said[n] == covid).specificity, len(truth)
        ),
    }
    if len(names) == 3:
        ill = list(names).index("pneumonia")
        some = np.flatnonzero(~positive)
        found["auroc_pneumonia_against_normal"] = figure(
            lambda n: metrics.auroc(truth[some[n]] == ill, p[some[n], ill] / (p[some[n], ill] + p[some[n], 0])),
            len(some),
        )
    for source in sorted({case.source for case, y in zip(cases, truth, strict=True) if y == covid}):
        here = np.array([y != covid or case.source == source for case, y in zip(cases, truth, strict=True)])
        found[f"auroc_covid19_{source}"] = _auroc_of(positive[here], p[here, covid])
    return found


def _auroc_of(truth: NDArray[np.bool_], score: NDArray[np.float64]) -> Figure:
    return figure(lambda n: metrics.auroc(truth[n], score[n]), len(truth))


def parameters(module: nn.Module, decay: float) -> list[dict[str, object]]:
    """Weight decay on weights, none on biases and normalisation."""
    heavy = [p for p in module.parameters() if p.ndim > 1]
    light = [p for p in module.parameters() if p.ndim <= 1]
    return [{"params": heavy, "weight_decay": decay}, {"params": light, "weight_decay": 0.0}]
