"""Where the slices of a CT series lie: one stack in the patient, as headers tell it. No pixels, no rules.

Positions are Image Position (Patient) in mm, LPS, of the centre of the first pixel; orientations the six direction
cosines of Image Orientation (Patient) (PS3.3 C.7.6.2.1.1). Slices are counted from the feet, from 1.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from node.results.references import frame_of

Vectors = NDArray[np.float64]
SAME_PLACE_MM = 0.01
SAME_DIRECTION = 0.02  # of direction cosines, about one degree


@dataclass(frozen=True)
class Plane:
    """One slice by its header."""

    header: Dataset

    @cached_property
    def cosines(self) -> Vectors | None:
        """Six of them; None where they are missing or no rotation."""
        found = numbers(self.header, "ImageOrientationPatient", 6)
        if found is None:
            return None
        row, column = found[:3], found[3:]
        return found if np.allclose([row @ row, column @ column, row @ column], [1, 1, 0], atol=0.01) else None

    @cached_property
    def position(self) -> Vectors | None:
        return numbers(self.header, "ImagePositionPatient", 3)

    @property
    def is_placed(self) -> bool:
        return self.cosines is not None and self.position is not None

    @property
    def name(self) -> str:
        """Frame 7; image number 12. What people type stands in neither."""
        if frame := frame_of(self.header):
            return f"frame {frame}"
        number = numbers(self.header, "InstanceNumber", 1)
        return "an image without number" if number is None else f"image number {int(number[0])}"


@dataclass(frozen=True)
class Stack:
    """Slices in the order given; each is placed."""

    planes: tuple[Plane, ...]

    @cached_property
    def cosines(self) -> Vectors:
        """(slice, 6)"""
        return np.array([plane.cosines for plane in self.planes])

    @cached_property
    def positions(self) -> Vectors:
        """(slice, 3)"""
        return np.array([plane.position for plane in self.planes])

    @cached_property
    def usual(self) -> Vectors:
        """The orientation that most slices have: the cosines of one of them."""
        rounded = [tuple(row) for row in np.round(self.cosines / SAME_DIRECTION).tolist()]
        return np.asarray(self.cosines[rounded.index(Counter(rounded).most_common(1)[0][0])])

    @cached_property
    def normal(self) -> Vectors:
        """Unit vector across the slices, towards the head; of slices that stand upright, to the left or the back."""
        across = np.cross(self.usual[:3], self.usual[3:])
        leading = across[2] if abs(across[2]) > 0.01 else across[np.argmax(np.abs(across))]
        return np.asarray(across * np.sign(leading) / np.linalg.norm(across))

    @cached_property
    def places(self) -> Vectors:
        """(slice,) mm along the normal."""
        return np.asarray(self.positions @ self.normal)

    @cached_property
    def order(self) -> tuple[int, ...]:
        """From the feet to the head; slices at one place stay as given."""
        return tuple(np.argsort(self.places, kind="stable").tolist())

    @cached_property
    def firsts(self) -> tuple[int, ...]:
        """The first slice at each place, from the feet to the head."""
        kept: list[int] = []
        for index in self.order:
            if not kept or self.places[index] - self.places[kept[-1]] >= SAME_PLACE_MM:
                kept.append(index)
        return tuple(kept)

    @property
    def steps(self) -> Vectors:
        """mm from each place to the next."""
        return np.diff(self.places[list(self.firsts)])

    def counted(self, index: int) -> int:
        """Which slice it is from the feet."""
        return self.order.index(index) + 1

    def turned(self, most_difference: float = SAME_DIRECTION) -> list[int]:
        """Slices whose orientation is another than that of most, from the feet."""
        off = np.abs(self.cosines - self.usual).max(axis=1) > most_difference
        return [index for index in self.order if off[index]]

    def odd(self, values: Sequence[Hashable]) -> list[int]:
        """Slices whose value is another than that of most, from the feet; ``values`` in the order given."""
        most = Counter(values).most_common(1)[0][0]
        return [index for index in self.order if values[index] != most]


def stack_of(planes: Sequence[Plane]) -> Stack | None:
    """None where there is no slice, or one that does not say where it lies."""
    return Stack(tuple(planes)) if planes and all(plane.is_placed for plane in planes) else None


def usual_step(steps: Vectors) -> float:
    """The median; of an even number the lower of the two in the middle, so that it is a step that occurs."""
    return float(np.sort(steps)[(len(steps) - 1) // 2])


def numbers(header: Dataset, keyword: str, count: int) -> Vectors | None:
    """A numeric attribute of exactly ``count`` finite values; else None."""
    try:
        value = header.get(keyword)
        found = np.array([float(v) for v in ([value] if count == 1 else value)])
    except Exception:  # noqa: BLE001 - a value pydicom cannot convert counts as absent
        return None
    return found if found.shape == (count,) and np.isfinite(found).all() else None
