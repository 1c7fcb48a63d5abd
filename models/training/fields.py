"""Lung fields of the training films, found by the just trained or the installed ``unet-lung``, cached at 256 x 256."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from models.images import geometry
from models.images.intensity import U8
from models.nets.layout import place
from models.nets.unet import LungUNet
from models.systems import preparation
from models.training import data
from models.training.weights import full_precision

SIDE = 256
INSTALLED = Path(__file__).parents[1] / "weights"


def lung_fields(films: Sequence[Path], out: Path, name: str) -> NDArray[np.bool_]:
    """(film, 256, 256): the lung field of each film stretched to a square; the whole film where no lung is found."""

    def find() -> data.Arrays:
        net, side = _finder(out)
        return {"fields": np.stack([_field(net, data.read_film(film), side) for film in films])}

    return data.cached(out / "cache" / f"fields-{name}.npz", find)["fields"]


def _finder(out: Path) -> tuple[LungUNet, int]:
    """The network and the side of its input: of ``out`` where it was trained there, else of the installed card."""
    fresh = (out / "unet-lung.safetensors").exists()
    file = (out if fresh else INSTALLED) / "unet-lung.safetensors"
    told = tomllib.loads(file.with_suffix(".figures.toml" if fresh else ".toml").read_text(encoding="utf-8"))
    net = LungUNet()
    net.load_state_dict(full_precision(file))
    return place(net, torch.device("cpu")).eval(), int(told["side"] if fresh else told["settings"]["side"])


@torch.inference_mode()
def _field(net: LungUNet, film: U8, side: int) -> NDArray[np.bool_]:
    x = torch.from_numpy(preparation.as_tensor_array(preparation.lung_input(film, side)))[None]
    p = functional.interpolate(net(x).sigmoid(), (SIDE, SIDE), mode="bilinear", align_corners=False)[0, 0].numpy()
    mask = geometry.largest_parts(p >= 0.5, 2)
    return mask if mask.any() else np.ones_like(mask)
