"""Lesion centres: DBSCAN over hot points of a heat map, with principal axes (paper 000; specification 3.7).

The heat is resampled to a 64 x 64 grid; points of at least half the maximum are clustered with eps 3 and 5 points;
noise is dropped. Where a lung field is known only heat inside it is clustered, unless asked otherwise: the lungs of a
CT slice are found by their air, which a solid lesion lacks. Coordinates as in ``models.api``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull, QhullError
from sklearn.cluster import DBSCAN

from models.api import FloatImage, Lesion, LungField, Mask
from models.images.geometry import resize_float

GRID, SHARE_OF_MAXIMUM, EPS, MIN_SAMPLES = 64, 0.5, 3.0, 5


@dataclass(frozen=True)
class Cluster:
    """points: (n, 2) grid coordinates (x, y) in units of ``side`` - 1 steps from 0 to 1."""

    points: NDArray[np.float64]
    peak: float

    @property
    def centre(self) -> tuple[float, float]:
        x, y = self.points.mean(axis=0)
        return float(x), float(y)


def clusters(heat: NDArray[np.float32]) -> list[Cluster]:
    """Clusters of one (64, 64) map in 0..1, hottest first; an all-zero map has none."""
    maximum = float(heat.max())
    if maximum <= 0:
        return []
    rows, columns = np.nonzero(heat >= SHARE_OF_MAXIMUM * maximum)
    points = np.stack((columns, rows), axis=1).astype(float)
    labels = DBSCAN(eps=EPS, min_samples=MIN_SAMPLES).fit_predict(points)
    found = [
        Cluster(points[labels == label], float(heat[rows[labels == label], columns[labels == label]].max()))
        for label in range(labels.max() + 1)
    ]
    return sorted(found, key=lambda cluster: (-cluster.peak, -len(cluster.points), cluster.centre))


def find_lesions(heat: FloatImage, lungs: Mask | None, inside_alone: bool = True) -> tuple[Lesion, ...]:
    """Lesions of a heat map over the source matrix (row, column), numbered from the hottest.

    ``lungs``: the lung field in the same matrix; with ``inside_alone`` heat outside it is not clustered.
    """
    rows, columns = heat.shape
    grid = resize_float(heat, GRID, GRID)
    field = _grid_mask(lungs) if lungs is not None else np.ones((GRID, GRID), bool)
    found = clusters(np.where(field | (not inside_alone), grid, 0).astype(np.float32))
    return tuple(_lesion(number, cluster, field, rows, columns) for number, cluster in enumerate(found, start=1))


def heat_share(heat: FloatImage, lungs: LungField) -> float | None:
    """Share of the heat's mass inside the lung field; None for a map without heat."""
    total = float(heat.sum())
    return float(heat[lungs.mask].sum()) / total if total > 0 else None


def _grid_mask(mask: Mask) -> Mask:
    """A grid point is lung when at least half of its cell is."""
    return np.asarray(resize_float(mask.astype(np.float32), GRID, GRID) >= 0.5)


def _lesion(number: int, cluster: Cluster, field: Mask, rows: int, columns: int) -> Lesion:
    cell = np.array([columns / GRID, rows / GRID])
    points = (cluster.points + 0.5) * cell - 0.5  # centres of grid cells in the source matrix
    centre = np.array(cluster.centre)
    x, y = points.mean(axis=0).tolist()
    lengths, angle = _axes(points)
    inside = field[cluster.points[:, 1].astype(int), cluster.points[:, 0].astype(int)]
    return Lesion(
        number=number,
        centre_px=(x, y),
        centre_unit=(x / (columns - 1), y / (rows - 1)),
        area_px=len(cluster.points) * (rows / GRID) * (columns / GRID),
        dbscan_size=len(cluster.points),
        axis_lengths_px=lengths,
        angle_deg=angle,
        peak_heat=cluster.peak,
        inside_lung=bool(field[round(float(centre[1])), round(float(centre[0]))]),
        lung_share=float(inside.mean()),
        outline_px=_outline(points, cell, rows, columns),
    )


def _axes(points: NDArray[np.float64]) -> tuple[tuple[float, float], float]:
    """PCA of the points: full lengths (4 standard deviations), major then minor, and the major axis's angle."""
    values, vectors = np.linalg.eigh(np.cov(points.T, ddof=0))
    major = vectors[:, 1] if vectors[0, 1] > 0 or (vectors[0, 1] == 0 and vectors[1, 1] > 0) else -vectors[:, 1]
    minor_length, major_length = 4 * np.sqrt(np.maximum(values, 0))
    return (float(major_length), float(minor_length)), float(np.degrees(np.arctan2(major[1], major[0])))


def _outline(
    points: NDArray[np.float64], cell: NDArray[np.float64], rows: int, columns: int
) -> tuple[tuple[float, float], ...]:
    """Convex hull of the points' cells, closed, inside the image."""
    corners = np.concatenate(
        [points + np.array(step) * cell for step in ((-0.5, -0.5), (-0.5, 0.5), (0.5, -0.5), (0.5, 0.5))]
    )
    try:
        hull = corners[ConvexHull(corners).vertices]
    except QhullError:
        return ()
    hull = np.clip(hull, 0, (columns - 1, rows - 1))
    ring = [(float(x), float(y)) for x, y in hull]
    return (*ring, ring[0])
