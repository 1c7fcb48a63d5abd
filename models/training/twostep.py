"""Recipe of ``two-step`` (paper 002, 5.1 to 5.4): step 1 alone, Adam 1e-3, batch 32, salt and pepper.

The data has no kinds of pneumonia and no virus but SARS-CoV-2: "bacterial" is learnt from pneumonia of unknown kind,
"viral" from COVID-19 films, and step 2 is not trained. Films are cropped to the lung region that ``unet-lung`` finds,
so its weights must be in ``out`` or installed. Not as published: the crop, a fixed number of epochs with cosine decay
instead of early stopping, sampling balanced by class and source, varied brightness, contrast and resolution.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

from models.api import Mask
from models.images import geometry
from models.images.intensity import U8
from models.nets.layout import place
from models.nets.unet import LungUNet
from models.systems import preparation
from models.systems.twostep import TwoSteps, as_batch, picture
from models.training import augment, classify, data, weights
from models.training.fit import Plan, choose_device, fit
from models.training.lungs import warm_cosine

NEEDS = ("cxr/labels.csv",)
SIDE, EPOCHS, BATCH, RATE = 64, 40, 32, 1e-3
INSTALLED = Path(__file__).parents[1] / "weights"


def train(folder: Path, out: Path, *, device: str, epochs: int | None, seed: int, resume: bool) -> None:
    torch.manual_seed(seed)
    where = choose_device(device)
    cases = data.film_cases(folder)
    pictures = data.cached(out / "cache" / f"two-step-{SIDE}.npz", lambda: _prepare(cases, out))["pictures"]
    truth = torch.tensor([data.CLASSES.index(case.label) for case in cases])
    split = {name: [n for n, c in enumerate(cases) if c.split == name] for name in ("train", "val", "test")}
    chosen = torch.tensor(split["train"])
    steps = TwoSteps(second=False)
    net = place(steps.step1, where)
    sampling = classify.sampling_weights([cases[n] for n in split["train"]])
    checkpoint = out / "two-step.checkpoint"
    plan = Plan(epochs or EPOCHS, BATCH, len(chosen), seed, checkpoint, resume, warm_cosine, sampling, where)

    def step(batch: Tensor, random: torch.Generator) -> Tensor:
        numbers = chosen[batch]
        x = _augmented(as_batch(pictures[numbers.numpy()]), random)
        logits = net(x.to(where, memory_format=torch.channels_last)).float()
        return functional.cross_entropy(logits, truth[numbers].to(where))

    def logits_of(name: str) -> Tensor:
        net.eval()
        with torch.inference_mode():
            found: Tensor = net(as_batch(pictures[split[name]]).to(where))
        return found.float().cpu()

    def validate(epoch: int) -> str:
        found, y = logits_of("val"), truth[split["val"]]
        return f"val loss {functional.cross_entropy(found, y):.3f} accuracy {(found.argmax(1) == y).float().mean():.3f}"

    fit(plan, net, torch.optim.Adam(net.parameters(), RATE), step, validate)
    temperature = classify.fit_temperature(logits_of("val"), truth[split["val"]])
    p = (logits_of("test").double() / temperature).softmax(1).numpy()
    found = classify.figures(p, truth[split["test"]].numpy(), [cases[n] for n in split["test"]], data.CLASSES)
    weights.write(steps, out / "two-step.safetensors", found, {"side": SIDE, "temperature": temperature})


def _augmented(x: Tensor, random: torch.Generator) -> Tensor:
    x = augment.affine(x, random, degrees=10, zoom=(0.9, 1.1), shift=0.1, mirror=True)
    x = augment.brightness_contrast(augment.resolution(x, random), random, 0.25, 0.1)
    return salt_and_pepper(x, random)


def salt_and_pepper(images: Tensor, random: torch.Generator, share: float = 0.02) -> Tensor:
    """(N, C, H, W) with ``share`` of the pixels, in all channels alike, set to 0 or 1."""
    drawn = torch.rand((len(images), 1, *images.shape[2:]), generator=random)
    return images.masked_fill(drawn < share / 2, 0.0).masked_fill(drawn > 1 - share / 2, 1.0)


def _prepare(cases: list[data.FilmCase], out: Path) -> data.Arrays:
    lungs = lung_finder(out)
    films = (data.read_film(case.path) for case in cases)
    return {"pictures": np.stack([picture(film, lungs(film), SIDE)[0] for film in films])}


def lung_finder(out: Path) -> Callable[[U8], Mask]:
    """The lung field (row, column) of a film by the ``unet-lung`` of ``out`` or the installed one; the whole film
    where it finds none."""
    fresh = (out / "unet-lung.safetensors").exists()
    file = (out if fresh else INSTALLED) / "unet-lung.safetensors"
    told = tomllib.loads(file.with_suffix(".figures.toml" if fresh else ".toml").read_text(encoding="utf-8"))
    side = int(told["side"] if fresh else told["settings"]["side"])
    net = LungUNet()
    net.load_state_dict({k: v.float() for k, v in load_file(file).items()})
    place(net, torch.device("cpu")).eval()

    def find(film: U8) -> Mask:
        x = torch.from_numpy(preparation.as_tensor_array(preparation.lung_input(film, side)))[None]
        with torch.inference_mode():
            p = functional.interpolate(net(x).sigmoid(), film.shape, mode="bilinear", align_corners=False)
        mask = geometry.largest_parts(p[0, 0].numpy() >= 0.5, 2)
        return mask if mask.any() else np.ones(film.shape, bool)

    return find
