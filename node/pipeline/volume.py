"""One CT series from stored files to ``models.api.VolumeInput``: Hounsfield units, slices from the feet to the head.

Stored values -> rescale slope and intercept of each slice (PS3.3 C.11.1) -> Hounsfield units. Pixel padding
(C.7.5.1.1.2) and everything below -1024 become -1024, which is air: scanners write -2000 and less outside the circle
they reconstruct. Slices are sorted by the projection of Image Position (Patient) on the slice normal (C.7.6.2.1.1), the
normal turned towards the head; rows and columns stay as they are stored. One float32 array is filled slice by slice.
Every failure is a ``Refused`` with one sentence that names no person.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from models.api import FloatImage, VolumeInput
from node.core.errors import BadDataSet, NotAccepted, Refused
from node.core.study import StoredInstance
from node.pipeline.film import decode_pixels, read_header
from node.pipeline.header import text_of

AIR = -1024.0  # HU; the least value of 12 bits with the usual intercept
FEWEST_SLICES = 3
SAME_PLACE_MM = 0.01
LARGEST_SPACING_MM = 100.0  # as for films: more is a mistake
UNEVEN = 1.5  # a gap larger than this many medians is worth a sentence
LARGEST_VOXELS = 2**29  # 2 GiB as float32


@dataclass(frozen=True)
class Slice:
    """One stored slice. ``place``: mm along the normal, growing towards the head."""

    instance: StoredInstance
    header: Dataset
    place: float


@dataclass(frozen=True)
class LoadedSeries:
    """``slices``: in the order of the volume. ``repeated``: those at a place already taken, not used."""

    slices: tuple[Slice, ...]
    volume: VolumeInput
    repeated: tuple[Slice, ...]
    notes: tuple[str, ...]


def load_series(instances: Sequence[StoredInstance]) -> LoadedSeries:
    """The volume of a series that ``series.select_series`` took. Raises Refused."""
    slices = sorted((_slice(instance) for instance in instances), key=lambda item: item.place)  # stable
    kept, repeated = _one_for_each_place(slices)
    if len(kept) < FEWEST_SLICES:
        raise NotAccepted(f"The images of the series lie at {len(kept)} places; at least {FEWEST_SLICES} are needed.")
    places = np.array([item.place for item in kept])
    volume = VolumeInput(
        voxels=_voxels(kept),
        slice_uids=tuple(item.instance.sop_instance_uid for item in kept),
        uid=kept[0].instance.series_instance_uid,
        spacing_mm=_spacing(kept[0].header, places),
    )
    return LoadedSeries(tuple(kept), volume, tuple(repeated), _notes(places, len(repeated)))


def normal(header: Dataset) -> NDArray[np.float64] | None:
    """Unit vector along the slice normal, towards the head; None where the orientation is missing or no rotation."""
    cosines = numbers(header, "ImageOrientationPatient", 6)
    if cosines is None:
        return None
    row, column = cosines[:3], cosines[3:]
    across = np.cross(row, column)
    if not np.allclose([row @ row, column @ column, row @ column], [1, 1, 0], atol=0.01):
        return None
    return np.asarray(across if across[2] >= 0 else -across) / float(np.linalg.norm(across))


def numbers(header: Dataset, keyword: str, count: int) -> NDArray[np.float64] | None:
    """A numeric attribute of exactly ``count`` finite values; else None."""
    try:
        value = header.get(keyword)
        found = np.array([float(v) for v in ([value] if count == 1 else value)])
    except Exception:  # noqa: BLE001 - a value pydicom cannot convert counts as absent
        return None
    return found if found.shape == (count,) and np.isfinite(found).all() else None


def _slice(instance: StoredInstance) -> Slice:
    header = read_header(instance.path)
    along, position = normal(header), numbers(header, "ImagePositionPatient", 3)
    if along is None or position is None:
        raise NotAccepted("An image of the series does not state its position and orientation in the patient.")
    return Slice(instance, header, float(position @ along))


def _one_for_each_place(slices: Sequence[Slice]) -> tuple[list[Slice], list[Slice]]:
    kept: list[Slice] = []
    repeated = []
    for item in slices:
        if kept and item.place - kept[-1].place < SAME_PLACE_MM:
            repeated.append(item)
        else:
            kept.append(item)
    return kept, repeated


def _voxels(slices: Sequence[Slice]) -> FloatImage:
    """(slice, row, column) float32, HU."""
    sizes = {(_whole(item.header, "Rows"), _whole(item.header, "Columns")) for item in slices}
    rows, columns = sizes.pop()
    if sizes:
        raise NotAccepted("The images of the series have different numbers of rows or columns.")
    if rows * columns <= 0:
        raise NotAccepted("The images of the series have no Rows and Columns.")
    if len(slices) * rows * columns > LARGEST_VOXELS:
        raise NotAccepted(f"The series has {len(slices)} x {rows} x {columns} voxels, more than this node decodes.")
    voxels = np.empty((len(slices), rows, columns), np.float32)
    for number, item in enumerate(slices):
        slope, intercept = _rescale(item.header)
        try:
            stored = decode_pixels(item.instance.path)
        except Refused as error:
            raise BadDataSet(f"{_named(number, slices)} cannot be decoded.") from error
        if stored.shape != (rows, columns):
            raise BadDataSet(f"{_named(number, slices)} is not a grey image of {columns} x {rows} pixels.")
        with np.errstate(over="ignore"):
            voxels[number] = stored
            voxels[number] *= slope
            voxels[number] += intercept
        if not np.isfinite(voxels[number]).all():
            raise BadDataSet(f"{_named(number, slices)} has no finite Hounsfield units.")
        voxels[number][_is_padding(item.header, stored)] = AIR
    np.maximum(voxels, AIR, out=voxels)
    return voxels


def _named(number: int, slices: Sequence[Slice]) -> str:
    return f"Slice {number + 1} of {len(slices)}, counted from the feet,"


def _rescale(header: Dataset) -> tuple[float, float]:
    """(slope, intercept) to Hounsfield units. Rescale Type (0028,1054) may be absent, which means HU for CT."""
    slope, intercept = numbers(header, "RescaleSlope", 1), numbers(header, "RescaleIntercept", 1)
    if slope is None or intercept is None or slope[0] == 0:
        raise NotAccepted("The series does not state its rescale slope and intercept: Hounsfield units are unknown.")
    if text_of(header, "RescaleType").upper() not in ("", "HU"):
        raise NotAccepted("The rescale type of the series is not HU: Hounsfield units are unknown.")
    return float(slope[0]), float(intercept[0])


def _is_padding(header: Dataset, stored: NDArray[np.generic]) -> NDArray[np.bool_]:
    low, limit = numbers(header, "PixelPaddingValue", 1), numbers(header, "PixelPaddingRangeLimit", 1)
    if low is None:
        return np.zeros(stored.shape, np.bool_)
    first, last = sorted((low[0], low[0] if limit is None else limit[0]))
    return np.asarray((stored >= first) & (stored <= last))


def _spacing(header: Dataset, places: NDArray[np.float64]) -> tuple[float, float, float] | None:
    """(between slices: the median, between rows, between columns) in mm; None where Pixel Spacing is missing."""
    plane = numbers(header, "PixelSpacing", 2)
    if plane is None or (plane <= 0).any() or (plane >= LARGEST_SPACING_MM).any():
        return None
    return float(np.median(np.diff(places))), float(plane[0]), float(plane[1])


def _notes(places: NDArray[np.float64], repeated: int) -> tuple[str, ...]:
    notes = []
    gaps = np.diff(places)
    if gaps.max() > UNEVEN * np.median(gaps):
        usual, largest = float(np.median(gaps)), float(gaps.max())
        notes.append(
            f"The slices are not evenly spaced: the usual gap is {usual:.1f} mm, the largest {largest:.1f} mm."
        )
    if repeated:
        notes.append(f"{repeated} of the images lie where another does; each place was used once.")
    return tuple(notes)


def _whole(header: Dataset, keyword: str) -> int:
    found = numbers(header, keyword, 1)
    return int(found[0]) if found is not None else 0
