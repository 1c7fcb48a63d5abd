"""How the rows and columns of a CT series are turned for the systems, and what they find is turned back.

Systems were trained on slices whose columns run to the patient's left and whose rows run to the back: a patient on the
back, head first. Scanners store other orders for patients who lie prone or on a side, and some that enter feet first
(Image Orientation (Patient), PS3.3 C.7.6.2.1.1, says which). Rows and columns are exchanged first, then each may be
reversed; coordinates are those of ``models.api``. Results always speak of the image as it was stored.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from models.api import FloatImage, Lesion, Prediction, SliceFinding, VolumeField, VolumeInput

Pixels = TypeVar("Pixels", FloatImage, NDArray[np.uint8])


@dataclass(frozen=True)
class Turn:
    """exchanged: stored rows are columns of what systems see. rows, columns: reversed after that."""

    exchanged: bool = False
    rows: bool = False
    columns: bool = False

    @property
    def is_none(self) -> bool:
        return self == Turn()

    def volume(self, stored: VolumeInput) -> VolumeInput:
        """What systems are given; the very same volume where nothing is to be turned."""
        if self.is_none:
            return stored
        spacing = stored.spacing_mm
        if spacing is not None and self.exchanged:
            spacing = (spacing[0], spacing[2], spacing[1])
        return dataclasses.replace(stored, voxels=self._image(stored.voxels), spacing_mm=spacing)

    def back(self, prediction: Prediction, shape: tuple[int, int]) -> Prediction:
        """What a system said of the turned volume, said of the stored one. shape: (rows, columns) as stored."""
        if self.is_none:
            return prediction
        return dataclasses.replace(prediction, slices=tuple(self._slice(one, shape) for one in prediction.slices))

    def lungs_back(self, found: VolumeField) -> VolumeField:
        """The lungs of the turned volume in the stored one."""
        return found if self.is_none else dataclasses.replace(found, parts=self._image_back(found.parts))

    def _image(self, stored: FloatImage) -> FloatImage:
        """(..., row, column) turned; a copy in C order, as the systems want it."""
        turned = np.swapaxes(stored, -2, -1) if self.exchanged else stored
        turned = turned[..., ::-1, :] if self.rows else turned
        return np.ascontiguousarray(turned[..., ::-1] if self.columns else turned)

    def _image_back(self, turned: Pixels) -> Pixels:
        stored = turned[..., ::-1, :] if self.rows else turned
        stored = stored[..., ::-1] if self.columns else stored
        return np.ascontiguousarray(np.swapaxes(stored, -2, -1) if self.exchanged else stored)

    def _slice(self, found: SliceFinding, shape: tuple[int, int]) -> SliceFinding:
        heat = None if found.heat is None else self._image_back(found.heat)
        return dataclasses.replace(found, heat=heat, lesions=tuple(self._lesion(one, shape) for one in found.lesions))

    def _lesion(self, lesion: Lesion, shape: tuple[int, int]) -> Lesion:
        along = math.radians(lesion.angle_deg)
        return dataclasses.replace(
            lesion,
            centre_px=self._point(lesion.centre_px, shape),
            centre_unit=self._point(lesion.centre_unit, (2, 2)),  # 0..1 is the matrix of two pixels each way
            angle_deg=_angle(*self._direction(math.cos(along), math.sin(along))),
            outline_px=tuple(self._point(point, shape) for point in lesion.outline_px),
        )

    def _point(self, point: tuple[float, float], shape: tuple[int, int]) -> tuple[float, float]:
        """(x, y) of the turned image -> (x, y) of the stored one."""
        rows, columns = (shape[1], shape[0]) if self.exchanged else shape
        x = columns - 1 - point[0] if self.columns else point[0]
        y = rows - 1 - point[1] if self.rows else point[1]
        return (y, x) if self.exchanged else (x, y)

    def _direction(self, x: float, y: float) -> tuple[float, float]:
        x, y = -x if self.columns else x, -y if self.rows else y
        return (y, x) if self.exchanged else (x, y)


def turn_of(cosines: NDArray[np.float64]) -> Turn:
    """cosines: Image Orientation (Patient), six values of an axial image; the nearest of the eight turns."""
    row, column = cosines[:3], cosines[3:]  # direction of growing column index, then of growing row index
    exchanged = bool(abs(row[0]) < abs(row[1]))
    left, back = (column[0], row[1]) if exchanged else (row[0], column[1])
    return Turn(exchanged, rows=bool(back < 0), columns=bool(left < 0))


def _angle(x: float, y: float) -> float:
    """Of an axis without a sense, -90 < angle <= 90."""
    angle = math.degrees(math.atan2(y, x))
    return angle - 180 if angle > 90 else angle + 180 if angle <= -90 else angle
