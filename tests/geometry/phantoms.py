"""Phantoms: a thorax in the patient's own millimetres with balls at known places, seen by a CT as set, and a film.

The thorax is a function of points (LPS, mm): x to the left, y to the back, z to the head. ``Scanner`` lays a grid of
pixels through it, as a modality does, and writes one data set for each slice; ``enhanced`` makes one object of them.
So the truth stands in millimetres and never in the pixels of one orientation. Balls are brighter than anything else
and have soft edges, so that the centre of their bright pixels is known to a small part of a pixel. It is no patient.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydicom import Dataset

from tests.films import Film, wrap
from tests.pipeline.slices import Scan, scan

Points = NDArray[np.float64]
AXIAL, CORONAL, SAGITTAL = (1, 0, 0, 0, 1, 0), (1, 0, 0, 0, 0, -1), (0, 1, 0, 0, 0, -1)
PRONE, MIRRORED, UPSIDE_DOWN = (-1, 0, 0, 0, -1, 0), (-1, 0, 0, 0, 1, 0), (1, 0, 0, 0, -1, 0)
LEFT_DOWN, RIGHT_DOWN = (0, 1, 0, -1, 0, 0), (0, -1, 0, 1, 0, 0)  # lying on a side
BRIGHT = 900.0  # HU of a ball; the rest of the thorax stays below 60
EDGE_MM = 2.0


@dataclass(frozen=True)
class Ball:
    centre: tuple[float, float, float]  # LPS, mm
    radius: float


# None of them mirrors another: a flip of any axis or an exchange of two moves them where none should be.
BALLS = (Ball((55.0, -21.0, -33.0), 12.0), Ball((-51.0, 33.0, 7.0), 14.0), Ball((-42.0, -36.0, 41.0), 11.0))


def thorax(points: Points, balls: Sequence[Ball] = BALLS) -> NDArray[np.float32]:
    """(..., 3) mm -> (...) HU: air, soft tissue, two lungs, balls."""
    x, y = points[..., 0], points[..., 1]
    hu = np.where((x / 140) ** 2 + (y / 95) ** 2 < 1, 40.0, -1000.0)
    for side in (-62, 62):
        hu = np.where(((x - side) / 48) ** 2 + (y / 70) ** 2 < 1, -850.0, hu)
    for ball in balls:
        inside = np.clip((ball.radius - np.linalg.norm(points - ball.centre, axis=-1)) / EDGE_MM + 0.5, 0, 1)
        hu = hu + inside * (BRIGHT - hu)
    return np.asarray(hu, dtype=np.float32)


@dataclass(frozen=True)
class Scanner:
    """A CT and how it is set. Matrix and spacing are (rows, columns); ``places``: mm along the slice normal, in the
    order of instance numbers; ``tilt``: degrees of the gantry about the left-right axis, the table staying level."""

    seed: str
    matrix: tuple[int, int] = (320, 320)
    spacing: tuple[float, float] = (1.4, 1.4)
    orientation: ArrayLike = AXIAL
    places: tuple[float, ...] = tuple(float(place) for place in range(-60, 61, 12))
    tilt: float = 0.0
    balls: tuple[Ball, ...] = BALLS
    changes: dict[str, object] = field(default_factory=dict)

    @property
    def cosines(self) -> Points:
        """(2, 3): of the rows, of the columns."""
        cosines = np.array(self.orientation, np.float64).reshape(2, 3)
        angle = math.radians(self.tilt)
        about_x = np.array([[1, 0, 0], [0, math.cos(angle), -math.sin(angle)], [0, math.sin(angle), math.cos(angle)]])
        return np.asarray(cosines @ about_x.T)

    @property
    def along(self) -> Points:
        """Where the table goes: the normal of the untilted slice, towards the head, the left or the back."""
        normal = np.cross(*np.array(self.orientation, np.float64).reshape(2, 3))
        return np.asarray(normal * np.sign(normal[np.argmax(np.abs(normal))]))

    def corner(self, place: float) -> Points:
        """Of the first pixel: the middle of the matrix lies on the patient's long axis."""
        row, column = self.cosines
        half_rows, half_columns = ((np.array(self.matrix) - 1) / 2) * self.spacing
        return np.asarray(self.along * place - row * half_columns - column * half_rows)

    def hounsfield(self, place: float) -> NDArray[np.float32]:
        """(row, column) of one slice."""
        row, column = self.cosines
        rows, columns = self.matrix
        down = np.arange(rows)[:, None, None] * self.spacing[0] * column
        right = np.arange(columns)[None, :, None] * self.spacing[1] * row
        return thorax(self.corner(place) + down + right, self.balls)

    def slices(self) -> list[Dataset]:
        """One data set for each place."""
        voxels = np.stack([self.hounsfield(place) for place in self.places]).round().astype(np.int16)
        found = scan(Scan(self.seed, voxels=voxels), **self.changes)
        for number, (ds, place) in enumerate(zip(found, self.places, strict=True), start=1):
            ds.InstanceNumber = number
            ds.ImageOrientationPatient = [round(float(value), 8) for value in self.cosines.ravel()]
            ds.ImagePositionPatient = [round(float(value), 5) for value in self.corner(place)]
            ds.PixelSpacing = list(self.spacing)
        return found


@dataclass(frozen=True)
class Xray:
    """A film with discs of full brightness. shape: (rows, columns); discs: (x, y, radius) in pixels of the stored
    matrix, counted from the centre of the first; spacing: Imager Pixel Spacing, (between rows, between columns)."""

    seed: str
    shape: tuple[int, int] = (256, 256)
    discs: tuple[tuple[float, float, float], ...] = ((70.3, 81.6, 9.0), (181.8, 140.2, 12.0))
    spacing: tuple[float, float] | None = (0.8, 0.8)
    photometric: str = "MONOCHROME2"
    orientation: tuple[str, str] = ("L", "F")

    def data_set(self) -> Dataset:
        film = Film(self._picture(), self.seed, photometric=self.photometric)
        ds = wrap(film)
        ds.PatientOrientation = list(self.orientation)
        ds.pop("ImagerPixelSpacing", None)
        if self.spacing is not None:
            ds.ImagerPixelSpacing = list(self.spacing)
        return ds

    def _picture(self) -> NDArray[np.uint16]:
        """A body, two lungs and discs; drawn in the stored matrix, whatever the orientation says."""
        rows, columns = self.shape
        y, x = np.mgrid[0:rows, 0:columns].astype(np.float64)
        u, v = 2 * x / (columns - 1) - 1, 2 * y / (rows - 1) - 1
        film = 0.6 * np.clip(8 * (1 - (u / 0.95) ** 2 - (v / 1.2) ** 2), 0, 1)
        for side in (-0.42, 0.42):
            film = film - 0.35 * np.clip(8 * (1 - ((u - side) / 0.3) ** 2 - (v / 0.68) ** 2), 0, 1)
        for cx, cy, radius in self.discs:
            inside = np.clip(radius - np.hypot(x - cx, y - cy) + 0.5, 0, 1)
            film = film + inside * (1 - film)
        return np.asarray(np.rint(film * 4095), dtype=np.uint16)
