"""The four imaging biomarkers of paper 003 that one film gives (specification 6.6): measured, not predicted.

Masks are (row, column) in the film's own matrix. Diameters are horizontal and count pixels from the first to the last,
both included. Names and units are those of the card's [[quantities]].
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.api import Mask


def cardiac_diameter(heart: Mask) -> int:
    """From the rightmost to the leftmost border of the whole heart, which may lie on different rows; 0 when empty."""
    columns = np.flatnonzero(heart.any(axis=0))
    return int(columns[-1] - columns[0] + 1) if columns.size else 0


def thoracic_diameter(lungs: Mask) -> int:
    """The widest row of the lung field, from its first to its last lung pixel; 0 when empty."""
    rows = lungs[lungs.any(axis=1)]
    if not len(rows):
        return 0
    first, last = rows.argmax(axis=1), lungs.shape[1] - 1 - rows[:, ::-1].argmax(axis=1)
    return int((last - first + 1).max())


def lung_intensity(film: NDArray[np.float64], lungs: Mask) -> tuple[float, float]:
    """(mean, standard deviation with ddof 0) of the equalised film (0..255) in the lung field, on 0..1."""
    values = film[lungs] / 255.0
    return float(values.mean()), float(values.std())


def measure(
    film: NDArray[np.float64], lungs: Mask, heart: Mask, column_spacing_mm: float | None = None
) -> dict[str, float]:
    """Every biomarker by its stored name. ``film``: equalised, 0..255. ``lungs`` must not be empty.

    Without a heart there is neither its diameter nor the ratio; millimetres only where the spacing is known.
    """
    mean, deviation = lung_intensity(film, lungs)
    found = {"lung_mean": mean, "lung_sd": deviation, "lung_share": float(lungs.mean())}
    diameters = {"thoracic_diameter": thoracic_diameter(lungs)}
    if heart.any():
        diameters["cardiac_diameter"] = cardiac_diameter(heart)
        found["cardiothoracic_ratio"] = diameters["cardiac_diameter"] / diameters["thoracic_diameter"]
    for name, pixels in diameters.items():
        found[f"{name}_px"] = float(pixels)
        if column_spacing_mm is not None:
            found[f"{name}_mm"] = pixels * column_spacing_mm
    return found
