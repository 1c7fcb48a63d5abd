"""Recipe of ``patch-vote`` (paper 003, 6.3): one random lung patch of each drawn film a step, ResNet-18, L1, Adam.

Lung fields are those of ``unet-lung``, so its weights must be in ``out`` or installed. Not as published: from scratch
at a higher rate with cosine decay and little weight decay (the paper starts from ImageNet weights), films at half the
side and equalised over the lungs, sampling balanced by class and source, a loss that asks first whether a film is
normal, varied tone and resolution. Figures are of 32 patches a film, the temperature of 16; the system takes as many as
its card says.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from models.evaluation import metrics
from models.evaluation.bootstrap import figure
from models.evaluation.metrics import Figure
from models.images import patching
from models.images.geometry import resize_u8
from models.images.intensity import U8
from models.nets.layout import place
from models.systems.patches import build, patches, picture, vote
from models.systems.preparation import grey_batch
from models.training import augment, classify, data, weights
from models.training.fields import lung_fields
from models.training.fit import Order, choose_device, fit, warm_cosine
from models.training.losses import abnormal_first

NEEDS = ("cxr/labels.csv", "cxr_seg/jsrt")
SIDE, SIZE, COUNT = 512, 112, 100  # of the film, of a patch; patches a film in the system
EPOCHS, BATCH, RATE, L1, DECAY = 8, 16, 5e-4, 1e-5, 1e-4
VALIDATION, CALIBRATION, TEST = 4, 16, 32  # patches a film


def train(
    folder: Path,
    out: Path,
    order: Order,
) -> None:
    where = choose_device(order.device)
    cases = data.classifier_cases(folder, order.without)
    films = data.cached(out / "cache" / f"patch-vote-{SIDE}.npz", lambda: _prepare(cases, out))["films"]
    lesson = classify.lesson(cases, data.CLASSES)
    truth, split, chosen = lesson.truth, lesson.split, lesson.chosen
    sampling, named = lesson.sampling, lesson.named
    torch.manual_seed(order.seed)  # here: preparing pictures may have drawn random numbers
    net = build(3)
    order.begin(net)
    place(net, where)
    checkpoint = out / "patch-vote.checkpoint"
    plan = order.plan(EPOCHS, BATCH, len(chosen), checkpoint, warm_cosine, where, sampling, named)

    def step(batch: Tensor, random: torch.Generator) -> Tensor:
        numbers = chosen[batch]
        x = _augmented(grey_batch(draw(films, numbers, random)), random)
        logits = net(x.to(where, memory_format=torch.channels_last)).float()
        loss = abnormal_first(logits, truth[numbers].to(where))
        return loss + L1 * sum(w.abs().sum() for w in net.parameters() if w.ndim > 1)

    def logits_of(name: str, count: int) -> Tensor:
        return film_logits(net, films, [cases[n].path.stem for n in split[name]], split[name], count)

    def validate(epoch: int) -> str:
        found, y = logits_of("val", VALIDATION), truth[split["val"]]
        mean = found.softmax(2).mean(1)
        return f"val loss {functional.nll_loss(mean.log(), y):.3f} accuracy {(mean.argmax(1) == y).float().mean():.3f}"

    fit(plan, net, torch.optim.Adam(classify.parameters(net, DECAY), RATE), step, validate)
    temperature = fit_temperature(logits_of("val", CALIBRATION), truth[split["val"]])
    p = (logits_of("test", TEST).double() / temperature).softmax(2).numpy()
    found = figures(p, truth[split["test"]].numpy(), [cases[n] for n in split["test"]])
    if split["left-out"]:
        means = (logits_of("left-out", TEST).double() / temperature).softmax(2).mean(1).numpy()
        found |= classify.unseen(means, [cases[n] for n in split["left-out"]], data.CLASSES)
    settings = {"film_side": SIDE, "patch": SIZE, "patches": COUNT, "temperature": temperature, "probabilistic": 0}
    weights.write(net, out / "patch-vote.safetensors", found, settings)


def draw(films: U8, numbers: Tensor, random: torch.Generator) -> U8:
    """(n, SIZE, SIZE): one random lung patch of each film."""
    numpy = np.random.default_rng(int(torch.randint(2**62, (), generator=random)))
    return np.concatenate(
        [patching.cut(films[n], patching.lung_centres(films[n], 1, numpy), SIZE) for n in numbers.tolist()]
    )


def _augmented(x: Tensor, random: torch.Generator) -> Tensor:
    x = augment.affine(x, random, degrees=5, zoom=(0.85, 1.25), shift=0.0, mirror=True)
    inside = x > 0
    x = augment.brightness_contrast(augment.tone(x, random), random, 0.3, 0.15)
    x = torch.cat([augment.resolution(part, random, 0.4) for part in x.split(8)])
    return augment.noise(x, random) * inside  # what is outside the lung stays 0, as the system will show it


def film_logits(net: nn.Module, films: U8, uids: Sequence[str], numbers: Sequence[int], count: int) -> Tensor:
    """(film, patch, class) logits of ``count`` patches of each film, the same ones whenever asked."""
    net.eval()
    device = next(net.parameters()).device
    parts = []
    with torch.inference_mode():
        for uid, n in zip(uids, numbers, strict=True):
            cut, _ = patches(films[n], uid, count, SIZE)
            parts.append(net(grey_batch(cut).to(device)).float().cpu())
    return torch.stack(parts)


def fit_temperature(logits: Tensor, target: Tensor) -> float:
    """The temperature in 0.25 to 8 that minimises the cross-entropy of a film's mean probabilities."""
    grid = torch.exp(torch.linspace(np.log(0.25), np.log(8.0), 141))
    means = [(logits / t).softmax(2).mean(1).clamp_min(1e-12) for t in grid]
    return float(grid[torch.stack([functional.nll_loss(mean.log(), target) for mean in means]).argmin()])


def figures(p: NDArray[np.float64], truth: NDArray[np.int64], cases: Sequence[data.FilmCase]) -> dict[str, Figure]:
    """As of every film classifier, by the mean over the patches; what depends on the decision by the vote."""
    votes = [vote(one) for one in p]
    found = classify.figures(np.stack([v.mean for v in votes]), truth, cases, data.CLASSES)
    said, covid = np.array([v.decided for v in votes]), data.CLASSES.index("covid19")

    def confusion(n: NDArray[np.int64]) -> metrics.Confusion:
        return metrics.confusion(truth[n] == covid, said[n] == covid)

    return found | {
        "accuracy": figure(lambda n: float((said[n] == truth[n]).mean()), len(truth)),
        "sensitivity_covid19": figure(lambda n: confusion(n).sensitivity, len(truth)),
        "specificity_covid19": figure(lambda n: confusion(n).specificity, len(truth)),
    }


def _prepare(cases: list[data.FilmCase], out: Path) -> data.Arrays:
    fields = lung_fields([case.path for case in cases], out, f"films-{len(cases)}")
    return {"films": np.stack([_masked(case.path, field) for case, field in zip(cases, fields, strict=True)])}


def _masked(path: Path, field: NDArray[np.bool_]) -> U8:
    film = data.read_film(path)
    lungs = resize_u8(field.astype(np.uint8) * 255, film.shape[0], film.shape[1], cubic=False) > 127
    return picture(film, lungs, SIDE)
