"""One CT series from stored files to ``models.api.VolumeInput``: Hounsfield units, slices from the feet to the head.

Stored values -> rescale slope and intercept of each slice (PS3.3 C.11.1) -> Hounsfield units. Pixel padding
(C.7.5.1.1.2) and everything below -1024 become -1024, which is air: scanners write -2000 and less outside the circle
they reconstruct. Slices are sorted by where they lie (``stack``); rows and columns stay as they are stored, and
``turn`` says how systems want them. A slice may be an object or a frame of a multi-frame one (``frames``). One float32
array is filled slice by slice. Every failure is a ``Refused`` with one sentence that names no person.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from models.api import FloatImage, VolumeInput
from node.core.errors import BadDataSet, NotAccepted, Transient
from node.core.study import StoredInstance
from node.pipeline.film import read_header
from node.pipeline.frames import slices_of, stored_values
from node.pipeline.header import text_of
from node.pipeline.stack import Plane, Stack, numbers, stack_of, usual_step
from node.pipeline.turn import Turn, turn_of
from node.results.references import frame_of

AIR = -1024.0  # HU; the least value of 12 bits with the usual intercept
FEWEST_SLICES = 3
LARGEST_SPACING_MM = 100.0  # as for films: more is a mistake
UNEVEN = 1.1  # steps that differ by more than this from the usual one are worth a sentence
LARGEST_VOXELS = 2**29  # 2 GiB as float32
TURNED = (
    "The images are stored with their rows or columns running otherwise than in a patient on the back, head first; "
    "the systems were given them turned, and places are told in the images as they are stored."
)


@dataclass(frozen=True)
class Slice:
    """One stored slice; ``header`` as ``frames`` lays it out."""

    instance: StoredInstance
    header: Dataset


@dataclass(frozen=True)
class LoadedSeries:
    """``slices``: in the order of the volume. ``repeated``: those that another one equals, place and pixels, not used.

    turn: what the systems want done to rows and columns.
    """

    slices: tuple[Slice, ...]
    volume: VolumeInput
    repeated: tuple[Slice, ...]
    turn: Turn
    notes: tuple[str, ...]


def load_series(instances: Sequence[StoredInstance]) -> LoadedSeries:
    """The volume of a series that ``series.choose`` took. Raises Refused."""
    slices = [Slice(i, header) for i in instances for header in slices_of(read_header(i.path))]
    stack = _one_stack(slices)
    voxels = _voxels(slices, stack)
    kept = [slices[index] for index in stack.firsts]
    repeated = [slices[index] for index in stack.order if index not in set(stack.firsts)]
    volume = VolumeInput(
        voxels=voxels,
        slice_uids=tuple(item.instance.sop_instance_uid for item in kept),
        uid=kept[0].instance.series_instance_uid,
        spacing_mm=_spacing(kept[0].header, stack),
    )
    turn = turn_of(stack.usual)
    return LoadedSeries(tuple(kept), volume, tuple(repeated), turn, _notes(stack, turn))


def _one_stack(slices: Sequence[Slice]) -> Stack:
    """What there is no volume without, whatever the rules of selection allow."""
    stack = stack_of([Plane(item.header) for item in slices])
    if stack is None:
        raise NotAccepted("An image of the series does not state its position and orientation in the patient.")
    if odd := stack.turned():
        raise NotAccepted(f"{_named(stack, odd[0])} has another orientation than most of the series.")
    if odd := stack.odd([_size(item.header) for item in slices]):
        raise NotAccepted(f"{_named(stack, odd[0])} has another number of rows or columns than most of the series.")
    if len(stack.firsts) < FEWEST_SLICES:
        raise NotAccepted(
            f"The images of the series lie at {len(stack.firsts)} places; at least {FEWEST_SLICES} are needed."
        )
    return stack


def _voxels(slices: Sequence[Slice], stack: Stack) -> FloatImage:
    """(place, row, column) float32, HU. What lies at a place already taken must show the same there."""
    rows, columns = _size(slices[0].header)
    places = len(stack.firsts)
    if rows * columns <= 0:
        raise NotAccepted("The images of the series have no Rows and Columns.")
    if places * rows * columns > LARGEST_VOXELS:
        raise NotAccepted(f"The series has {places} x {rows} x {columns} voxels, more than this node decodes.")
    voxels = np.empty((places, rows, columns), np.float32)
    number = {index: place for place, index in enumerate(stack.firsts)}
    for index, plane in _planes(slices, stack, stack.firsts):
        voxels[number[index]] = plane
    for index, plane in _planes(slices, stack, [index for index in stack.order if index not in number]):
        place = int(np.searchsorted(stack.places[list(stack.firsts)], stack.places[index], side="right")) - 1
        if not np.array_equal(plane, voxels[place]):
            raise NotAccepted(
                f"{_named(stack, index)} lies where {stack.planes[stack.firsts[place]].name} does and shows something "
                "else: there are two stacks in one series."
            )
    return voxels


def _planes(slices: Sequence[Slice], stack: Stack, wanted: Iterable[int]) -> Iterator[tuple[int, FloatImage]]:
    """(index, HU) of the slices wanted, file by file, one at a time."""
    files: dict[Path, list[int]] = {}
    for index in sorted(wanted):
        files.setdefault(slices[index].instance.path, []).append(index)
    for path, indices in files.items():
        planes = stored_values(path, [frame_of(slices[index].header) for index in indices])
        for index in indices:
            yield index, _hounsfield(slices[index].header, planes, _named(stack, index))


def _hounsfield(header: Dataset, planes: Iterator[NDArray[Any]], name: str) -> FloatImage:
    """The next of the stored planes in HU."""
    slope, intercept = _rescale(header)
    try:
        stored = next(planes)
    except Transient:
        raise
    except Exception as error:
        raise BadDataSet(f"{name} cannot be decoded.") from error
    rows, columns = _size(header)
    if stored.shape != (rows, columns):
        raise BadDataSet(f"{name} is not a grey image of {columns} x {rows} pixels.")
    with np.errstate(over="ignore"):
        plane = stored.astype(np.float32)
        plane *= slope
        plane += intercept
    if not np.isfinite(plane).all():
        raise BadDataSet(f"{name} has no finite Hounsfield units.")
    plane[_is_padding(header, stored)] = AIR
    return np.maximum(plane, AIR, out=plane)


def _named(stack: Stack, index: int) -> str:
    counted = f"Slice {stack.counted(index)} of {len(stack.planes)} from the feet"
    return f"{counted} ({stack.planes[index].name})"


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


def _spacing(header: Dataset, stack: Stack) -> tuple[float, float, float] | None:
    """(between slices: the median, between rows, between columns) in mm; None where Pixel Spacing is missing."""
    plane = numbers(header, "PixelSpacing", 2)
    if plane is None or (plane <= 0).any() or (plane >= LARGEST_SPACING_MM).any():
        return None
    return float(np.median(stack.steps)), float(plane[0]), float(plane[1])


def _notes(stack: Stack, turn: Turn) -> tuple[str, ...]:
    notes = []
    usual, least, most = usual_step(stack.steps), float(stack.steps.min()), float(stack.steps.max())
    if most > UNEVEN * usual or least < usual / UNEVEN:
        notes.append(
            f"The slices are not evenly spaced: the usual gap is {usual:.1f} mm, the smallest {least:.1f} mm, the "
            f"largest {most:.1f} mm."
        )
    if repeated := len(stack.planes) - len(stack.firsts):
        notes.append(f"{repeated} of the images are the same as another at the same place; each place was used once.")
    return (*notes, *([] if turn.is_none else [TURNED]))


def _size(header: Dataset) -> tuple[int, int]:
    """(rows, columns); 0 for what is not stated."""
    rows, columns = numbers(header, "Rows", 1), numbers(header, "Columns", 1)
    return int(rows[0]) if rows is not None else 0, int(columns[0]) if columns is not None else 0
