"""Lung fields of the training films, cached at 256 x 256.

They are found by ``unet-lung-256`` or else by ``unet-lung`` where that was trained into ``out``, else by the installed
``unet-lung``, so that a classifier learns on what it will be given: a site that changes the one trains the others anew.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from models.images.intensity import U8
from models.nets.layout import place
from models.nets.unet import LungUNet
from models.systems import preparation
from models.systems.unet_lung import lung_probability, mask_of
from models.training import data
from models.training.weights import full_precision

SIDE = 256
INSTALLED = Path(__file__).parents[1] / "weights"
TRAINED = ("unet-lung-256", "unet-lung")


@dataclass(frozen=True)
class Finder:
    """side: of the network's input. mirrored: as the system's card has it."""

    net: LungUNet
    side: int
    mirrored: bool

    def field(self, film: U8) -> NDArray[np.bool_]:
        x = torch.from_numpy(preparation.as_tensor_array(preparation.lung_input(film, self.side)))[None]
        mask = mask_of(lung_probability(self.net, x, (SIDE, SIDE), self.mirrored))
        return mask if mask.any() else np.ones_like(mask)


def lung_fields(films: Sequence[Path], out: Path, name: str) -> NDArray[np.bool_]:
    """(film, 256, 256): the lung field of each film stretched to a square; the whole film where no lung is found."""

    def find() -> data.Arrays:
        finder = _finder(out)
        return {"fields": np.stack([finder.field(data.read_film(film)) for film in films])}

    return data.cached(out / "cache" / f"fields-{name}.npz", find)["fields"]


def _finder(out: Path) -> Finder:
    fresh = next((out / f"{name}.safetensors" for name in TRAINED if (out / f"{name}.safetensors").exists()), None)
    file = fresh or INSTALLED / "unet-lung.safetensors"
    told = tomllib.loads(file.with_suffix(".figures.toml" if fresh else ".toml").read_text(encoding="utf-8"))
    settings = told if fresh else told["settings"]
    net = LungUNet()
    net.load_state_dict(full_precision(file))
    return Finder(place(net, torch.device("cpu")).eval(), int(settings["side"]), bool(settings.get("mirrored", 0)))
