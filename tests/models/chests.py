"""A chest CT drawn by code, in Hounsfield units. No anatomy: body, lungs, airway and table are ellipses and a bar."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.api import VolumeInput


def ellipse(side: int, x: float, y: float, a: float, b: float) -> NDArray[np.bool_]:
    rows, columns = np.mgrid[:side, :side]
    return ((columns - x) / a) ** 2 + ((rows - y) / b) ** 2 <= 1


def chest(slices: int = 24, side: int = 128, first: int = 4, last: int = 20) -> VolumeInput:
    """A body with two lungs in the slices first..last - 1, an airway and a table, in noise."""
    unit = side / 128
    random = np.random.default_rng(5)
    voxels = np.full((slices, side, side), -1000, np.float32)
    voxels[:, ellipse(side, 64 * unit, 60 * unit, 50 * unit, 36 * unit)] = 40
    lungs = ellipse(side, 42 * unit, 58 * unit, 15 * unit, 22 * unit)
    lungs |= ellipse(side, 86 * unit, 58 * unit, 15 * unit, 22 * unit)
    voxels[first:last, lungs] = -850
    voxels[:, ellipse(side, 64 * unit, 50 * unit, 4 * unit, 4 * unit)] = -1000
    voxels[:, round(112 * unit) : round(114 * unit), round(10 * unit) : round(118 * unit)] = 150
    voxels += random.normal(0, 12, voxels.shape).astype(np.float32)
    return VolumeInput(voxels, tuple(f"1.2.{n}" for n in range(slices)), "1.2")
