"""What a network sees of a film, and whether that tells where the film came from.

Features are what the system offers as ``features(image, lungs) -> (n,)``, else what its linear layers received while it
predicted, else the film itself, 32 x 32. The source probe fits a logistic regression on them, five-fold with no patient
on both sides: sources told apart within one diagnosis are a shortcut that the network could take.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.manifold import TSNE
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from models.evaluation.bootstrap import figure
from models.evaluation.metrics import Figure, auroc

Features = NDArray[np.float64]  # (film, value)
WIDTHS = range(32, 4097)  # of a layer's input that is worth keeping; a flattened map is wider, a squeezed head narrower


@dataclass(frozen=True)
class Axes:
    """Principal axes of one set of pictures. mean: (row, column); vectors: (k, row, column)."""

    mean: NDArray[np.float64]
    vectors: NDArray[np.float64]
    shares: NDArray[np.float64]  # of the variance
    singular: NDArray[np.float64]


@dataclass(frozen=True)
class Probe:
    """How well the features tell one thing. auroc: one against the rest, mean over the classes."""

    classes: tuple[str, ...]
    balanced_accuracy: Figure
    auroc: Figure


def principal_axes(pictures: NDArray[np.float64], count: int = 5) -> Axes:
    """(n, row, column) -> mean picture and at most ``count`` eigenvectors, the largest |component| positive (3.7)."""
    n, rows, columns = pictures.shape
    found = PCA(min(count, n, rows * columns), svd_solver="full").fit(pictures.reshape(n, -1))
    vectors = found.components_.copy()
    largest = np.abs(vectors).argmax(1)
    vectors *= np.sign(vectors[np.arange(len(vectors)), largest])[:, None]
    shape = (len(vectors), rows, columns)
    mean = found.mean_.reshape(rows, columns)
    return Axes(mean, vectors.reshape(shape), found.explained_variance_ratio_, found.singular_values_)


def on_a_plane(features: Features, seed: int = 0) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(n, 2) by PCA and (n, 2) by t-SNE (perplexity 30, fewer for few films; started from the PCA)."""
    scaled = StandardScaler().fit_transform(features)
    flat = PCA(2, svd_solver="full").fit_transform(scaled)
    perplexity = min(30.0, (len(features) - 1) / 3)
    bent = TSNE(2, perplexity=perplexity, init="pca", random_state=seed).fit_transform(scaled)
    return np.asarray(flat, dtype=float), np.asarray(bent, dtype=float)


@contextmanager
def listening(system: object) -> Iterator[dict[str, NDArray[np.float32]]]:
    """Inside, a prediction fills the dictionary: name of a linear layer -> what it received first, mean over a batch.

    Layers in the order in which they were reached.
    """
    heard: dict[str, NDArray[np.float32]] = {}
    hooks = []
    for name, layer in _linear_layers(system).items():

        def keep(module: nn.Module, inputs: tuple[Tensor, ...], name: str = name) -> None:
            if name not in heard and inputs[0].shape[-1] in WIDTHS:
                heard[name] = inputs[0].detach().float().reshape(-1, inputs[0].shape[-1]).mean(0).cpu().numpy()

        hooks.append(layer.register_forward_pre_hook(keep))
    try:
        yield heard
    finally:
        for hook in hooks:
            hook.remove()


def _linear_layers(system: object) -> dict[str, nn.Linear]:
    """Every linear layer of every network that the system holds, once, by attribute and path."""
    layers: dict[str, nn.Linear] = {}
    seen: set[int] = set()
    for attribute, value in vars(system).items() if hasattr(system, "__dict__") else ():
        for number, net in enumerate(value if isinstance(value, (tuple, list)) else (value,), 1):
            for path, layer in net.named_modules() if isinstance(net, nn.Module) else ():
                if isinstance(layer, nn.Linear) and id(layer) not in seen:
                    seen.add(id(layer))
                    layers[f"network {number} of {attribute.strip('_')}, layer {path}"] = layer
    return layers


def choose(heard: Sequence[Mapping[str, NDArray[np.float32]]]) -> tuple[str, Features] | None:
    """The layer reached last that every film has reached; None when there is none."""
    common = [name for name in (heard[0] if heard else ()) if all(name in one for one in heard)]
    return (common[-1], np.stack([one[common[-1]] for one in heard]).astype(float)) if common else None


def probe(features: Features, answers: Sequence[str], patients: Sequence[str], seed: int = 0) -> Probe | None:
    """Held-out answers of a five-fold logistic regression; None when a class has under ten films."""
    classes, y, counts = np.unique(np.asarray(answers), return_inverse=True, return_counts=True)
    if len(classes) < 2 or counts.min() < 10:
        return None
    p = np.full((len(y), len(classes)), np.nan)
    folds = StratifiedGroupKFold(5, shuffle=True, random_state=seed)
    for learnt, held in folds.split(features, y, patients):
        if len(np.unique(y[learnt])) < len(classes):
            return None
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000, class_weight="balanced"))
        p[held] = model.fit(features[learnt], y[learnt]).predict_proba(features[held])
    said = p.argmax(1)
    return Probe(
        tuple(str(name) for name in classes),
        figure(lambda n: _balanced(y[n], said[n], len(classes)), len(y), seed),
        figure(lambda n: _area(y[n], p[n]), len(y), seed),
    )


def _balanced(truth: NDArray[np.int64], said: NDArray[np.int64], classes: int) -> float:
    """Mean of the classes' sensitivities; NaN when a class is missing."""
    counts = np.bincount(truth, minlength=classes)
    hits = np.bincount(truth[truth == said], minlength=classes)
    return float((hits / counts).mean()) if counts.all() else float("nan")


def _area(truth: NDArray[np.int64], p: NDArray[np.float64]) -> float:
    return float(np.mean([auroc(truth == number, p[:, number]) for number in range(p.shape[1])]))
