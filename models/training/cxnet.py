"""Recipe of ``cxnet`` (paper 004, 7.5 and 7.6): three classes, label smoothing 0.1, Adam, anatomical augmentation.

Films are cropped to the lung region that ``unet-lung`` finds, so its weights must be in ``out`` or installed. Not as
published: smaller input reached in two phases, trained from scratch, sampling balanced by class and source instead of
class weights, and brightness, contrast and resolution of the crop are varied so that a source is harder to recognise.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional

from models.images import geometry
from models.images.intensity import U8
from models.nets.cxnet import CXNet
from models.nets.layout import place
from models.nets.unet import LungUNet
from models.systems import preparation
from models.training import augment, classify, data, weights
from models.training.fit import Plan, choose_device, fit
from models.training.lungs import SIDE as LUNG_SIDE
from models.training.lungs import warm_cosine

NEEDS = ("cxr/labels.csv",)
SIDE, BATCH = 192, 16
PHASES = ((128, 20, 1e-3), (SIDE, 6, 3e-4))  # side, epochs, learning rate: most is learnt on small films
INSTALLED = Path(__file__).parents[1] / "weights" / "unet-lung.safetensors"


def train(folder: Path, out: Path, *, device: str, epochs: int | None, seed: int, resume: bool) -> None:
    torch.manual_seed(seed)
    where = choose_device(device)
    cases = data.film_cases(folder)
    arrays = data.cached(out / "cache" / f"cxnet-{SIDE}.npz", lambda: _prepare(cases, out))
    pictures = arrays["pictures"]
    truth = torch.tensor([data.CLASSES.index(case.label) for case in cases])
    split = {name: [n for n, c in enumerate(cases) if c.split == name] for name in ("train", "val", "test")}
    chosen = torch.tensor(split["train"])
    net = CXNet(3)
    _wake_hidden_layer(net)
    place(net, where)
    sampling = classify.sampling_weights([cases[n] for n in split["train"]])

    def validate(epoch: int) -> str:
        found = classify.predict(net, pictures, split["val"], where)
        y = truth[split["val"]]
        return f"val loss {functional.cross_entropy(found, y):.3f} accuracy {(found.argmax(1) == y).float().mean():.3f}"

    for side, most, rate in PHASES:

        def step(batch: torch.Tensor, random: torch.Generator, side: int = side) -> torch.Tensor:
            numbers = chosen[batch]
            x = classify.as_batch(pictures, numbers, torch.device("cpu"))
            x = functional.interpolate(x, size=(side, side), mode="bilinear", antialias=True)
            x = augment.affine(x, random, degrees=10, zoom=(0.9, 1.2), shift=0.06, mirror=True)
            x = augment.brightness_contrast(augment.resolution(x, random), random, 0.25, 0.1)
            logits = net(x.to(where, memory_format=torch.channels_last)).float()
            return functional.cross_entropy(logits, truth[numbers].to(where), label_smoothing=0.1)

        checkpoint = out / f"cxnet-{side}.checkpoint"
        plan = Plan(epochs or most, BATCH, len(chosen), seed, checkpoint, resume, warm_cosine, sampling, where)
        fit(plan, net, torch.optim.Adam(classify.parameters(net, 1e-5), rate), step, validate)
    temperature = classify.fit_temperature(classify.predict(net, pictures, split["val"], where), truth[split["val"]])
    p = (classify.predict(net, pictures, split["test"], where).double() / temperature).softmax(1).numpy()
    found = classify.figures(p, truth[split["test"]].numpy(), [cases[n] for n in split["test"]], data.CLASSES)
    weights.write(net, out / "cxnet.safetensors", found, {"side": SIDE, "temperature": temperature})


def _wake_hidden_layer(net: CXNet) -> None:
    """Ten rectified units are few: with the usual start most of them are dead from scratch and nothing is learnt."""
    nn.init.kaiming_uniform_(net.hidden.weight, nonlinearity="relu")
    nn.init.constant_(net.hidden.bias, 0.5)


def _prepare(cases: list[data.FilmCase], out: Path) -> data.Arrays:
    path = out / "unet-lung.safetensors"
    net = LungUNet()
    net.load_state_dict({k: v.float() for k, v in load_file(path if path.exists() else INSTALLED).items()})
    place(net, torch.device("cpu")).eval()
    return {"pictures": np.stack([_crop(net, data.read_film(case.path)) for case in cases])}


def _crop(net: LungUNet, film: U8) -> U8:
    """The lung region as the system will crop it; the whole film where no lung is found."""
    x = torch.from_numpy(preparation.as_tensor_array(preparation.lung_input(film, LUNG_SIDE)))[None]
    with torch.inference_mode():
        p = functional.interpolate(net(x).sigmoid(), film.shape, mode="bilinear", align_corners=False)[0, 0].numpy()
    mask = geometry.largest_parts(p >= 0.5, 2)
    return preparation.cxnet_input(film, mask if mask.any() else np.ones(film.shape, bool), SIDE)[0]
