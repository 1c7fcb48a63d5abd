"""Harmonised lungs as training pictures: made once, cached with their field, augmented, and cut off outside the field.

A batch is (N, C + 1, S, S) in 0..1, whose last channel is the lung field; what a network sees is (N, C, S, S) with the
middle grey outside the field, before and after augmentation alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from models.api import Mask
from models.images import geometry
from models.images.intensity import U8
from models.systems import preparation
from models.systems.preparation import Harmonised
from models.training import augment, data
from models.training.data import FilmCase
from models.training.fields import lung_fields

Channels = Callable[[U8, Harmonised], U8]  # (film, its lungs) -> (side, side[, C])
MIDDLE = preparation.MIDDLE_GREY / 255


def pictures(cases: Sequence[FilmCase], out: Path, side: int, name: str, channels: Channels) -> U8:
    """(film, side, side, C + 1), cached as ``name``; ``channels`` makes what the network sees of each film."""

    def make() -> data.Arrays:
        fields = lung_fields([case.path for case in cases], out, f"films-{len(cases)}")
        return {"pictures": np.stack([_picture(c.path, f, side, channels) for c, f in zip(cases, fields, strict=True)])}

    return data.cached(out / "cache" / f"{name}-{side}-{len(cases)}.npz", make)["pictures"]


def _picture(path: Path, field: Mask, side: int, channels: Channels) -> U8:
    film = data.read_film(path)
    mask = geometry.resize_u8(field.astype(np.uint8) * 255, film.shape[0], film.shape[1], cubic=False) > 127
    lungs = preparation.harmonised(film, mask, side)
    content = channels(film, lungs)
    content = content if content.ndim == 3 else content[..., None]
    return np.concatenate((content, 255 * lungs.field[..., None].astype(np.uint8)), axis=-1)


def augmented(batch: Tensor, random: torch.Generator) -> Tensor:
    """Turned, zoomed, shifted, mirrored; another tone, contrast, sharpness and noise; cut off outside the field."""
    batch = augment.affine(batch, random, degrees=10, zoom=(0.85, 1.25), shift=0.08, mirror=True)
    x, field = batch[:, :-1], batch[:, -1:]
    x = augment.brightness_contrast(augment.tone(x, random), random, 0.3, 0.15)
    x = torch.cat([augment.resolution(part, random, 0.4) for part in x.split(8)])
    return inside(augment.noise(x, random), field)


def plain(batch: Tensor) -> Tensor:
    """What the system will see at inference."""
    return inside(batch[:, :-1], batch[:, -1:])


def inside(x: Tensor, field: Tensor) -> Tensor:
    return torch.where(field > 0.5, x, torch.full_like(x, MIDDLE))
