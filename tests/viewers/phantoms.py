"""Studies with foci at known places, as the viewer tests store them: a drawn film and a drawn CT series, with results.

The matrices are not square, so that rows taken for columns are seen. Heat is a bell around each centre; a focus is
outlined at half the heat. Nothing here was found by a model.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from models.api import (
    FloatImage,
    ImageInput,
    Lesion,
    LungField,
    LungPart,
    ModelIdentity,
    Prediction,
    SliceFinding,
    VolumeField,
    VolumeInput,
)  # fmt: skip
from node.core import settings
from node.pipeline.frames import slices_of
from node.results.record import AnalysisRecord, ImageOutcome, SeriesOutcome
from tests.films import Film, Identity, drawn, uid, wrap
from tests.geometry.multiframe import enhanced
from tests.pipeline.slices import Scan, scan
from tests.results.records import prediction, record

FILM_SHAPE, FILM_FOCI = (640, 520), ((142.0, 250.0, 42.0), (372.5, 410.25, 30.0))  # x, y, radius of the outline
SLICES, SLICE_SHAPE, KEY = 12, (160, 200), 7
SLICE_FOCI = ((52.0, 84.5, 14.0), (146.0, 70.0, 9.0))
CORNERS = 48  # of an outline


def film_study(seed: str = "viewer film", **changes: object) -> tuple[Dataset, AnalysisRecord]:
    """A film and what two systems said of it: one marks both foci, the other finds nothing."""
    rows, columns = FILM_SHAPE
    left = (rows - columns) // 2
    film = wrap(Film(np.ascontiguousarray(drawn(1, rows)[:, left : left + columns]), seed, identity=_patient(seed)))
    for keyword, value in changes.items():
        setattr(film, keyword, value)
    header = _without_pixels(film)
    image = ImageInput(drawn(1, rows)[:, left : left + columns].astype(np.float32), str(header.SOPInstanceUID))
    mask = _ellipse((148, 320), (70, 190)) | _ellipse((372, 320), (70, 190))
    contours = tuple(ring(x, 320, 70, 190) for x in (148, 372))
    lungs = LungField(mask, contours, dataclasses.replace(prediction().model, system="unet-lung"))
    outcome = ImageOutcome(header, image, lungs, (_said("cxnet", FILM_SHAPE, FILM_FOCI), _quiet(prediction())))
    return film, record(header, images=(outcome,))


def ct_study(seed: str = "viewer ct") -> tuple[list[Dataset], AnalysisRecord]:
    """A CT series with foci on one slice."""
    voxels = _thorax()
    slices = scan(Scan(seed, thickness_mm=5.0, voxels=voxels, identity=_patient(seed)))
    headers = [_without_pixels(one) for one in slices]
    volume = VolumeInput(
        voxels.astype(np.float32), tuple(str(h.SOPInstanceUID) for h in headers), uid("series", seed), (5.0, 0.75, 0.75)
    )  # fmt: skip
    said = _said("bit-ct", SLICE_SHAPE, SLICE_FOCI)
    quiet = tuple(SliceFinding(n, str(h.SOPInstanceUID), (0.25, 0.75)) for n, h in enumerate(headers))
    marked = dataclasses.replace(quiet[KEY], heat=said.heat, lesions=said.lesions, key=True)
    found = (*quiet[:KEY], marked, *quiet[KEY + 1 :])
    whole = dataclasses.replace(said, heat=None, heat_in_lung=None, lesions=(), slices=found)
    lungs = VolumeField(lung_parts(), ModelIdentity("ct-lungs", "Drawn lungs", "1", "b" * 64))
    return slices, record(headers[0], images=(), series=(SeriesOutcome(tuple(headers), volume, (whole,), lungs=lungs),))


def enhanced_study(seed: str) -> tuple[Dataset, AnalysisRecord]:
    """The same series as one multi-frame object."""
    slices, made = ct_study(seed)
    whole = enhanced(slices)
    headers = tuple(slices_of(_without_pixels(whole)))
    return whole, dataclasses.replace(
        made, reference=headers[0], series=(dataclasses.replace(made.series[0], headers=headers),)
    )  # fmt: skip


def wanting(made: AnalysisRecord, *kinds: str, **changes: object) -> AnalysisRecord:
    wanted = dataclasses.replace(settings.load().objects, kinds=kinds, **changes)  # type: ignore[arg-type]
    return dataclasses.replace(made, wanted=wanted)


def _patient(seed: str) -> Identity:
    """Each study has a patient of its own, so that the list of studies beside it stays short. No space in the id: OHIF
    and Orthanc do not find such a patient."""
    name = seed.replace(" ", "-").upper()
    return Identity(patient_name="Drawn^Phantom", patient_id=name, study_description="Drawn phantom")


def _without_pixels(ds: Dataset) -> Dataset:
    header = Dataset()
    header.update({element.tag: element for element in ds if element.keyword != "PixelData"})
    header.file_meta = ds.file_meta
    return header


def _said(system: str, shape: tuple[int, int], foci: tuple[tuple[float, float, float], ...]) -> Prediction:
    y, x = np.mgrid[: shape[0], : shape[1]]
    bells = [np.exp2(-((x - cx) ** 2 + (y - cy) ** 2) / r**2) for cx, cy, r in foci]  # a half at the radius
    heat: FloatImage = np.max(bells, axis=0).astype(np.float32)
    lesions = tuple(_focus(number, *focus, shape) for number, focus in enumerate(foci, start=1))
    return dataclasses.replace(prediction(system), heat=heat, lesions=lesions)


def _quiet(said: Prediction) -> Prediction:
    quiet = prediction("cnncf-xr", 0.2)
    return dataclasses.replace(
        quiet, heat=None, heat_in_lung=None, model=dataclasses.replace(said.model, system="cnncf-xr")
    )


def _focus(number: int, x: float, y: float, radius: float, shape: tuple[int, int]) -> Lesion:
    outline = tuple((float(a), float(b)) for a, b in ring(x, y, radius, radius))
    unit = (x / (shape[1] - 1), y / (shape[0] - 1))
    size = (2 * radius, 2 * radius)
    return Lesion(number, (x, y), unit, float(np.pi * radius**2), 40, size, 0.0, 1.0 - number / 10, True, 0.9, outline)


def ring(x: float, y: float, across: float, down: float) -> NDArray[np.float32]:
    turn = np.linspace(0, 2 * np.pi, CORNERS + 1)
    points = np.stack([x + across * np.cos(turn), y + down * np.sin(turn)], axis=1).astype(np.float32)
    points[-1] = points[0]
    return points


def _ellipse(centre: tuple[int, int], radii: tuple[int, int]) -> NDArray[np.bool_]:
    y, x = np.mgrid[: FILM_SHAPE[0], : FILM_SHAPE[1]]
    inside: NDArray[np.bool_] = ((x - centre[0]) / radii[0]) ** 2 + ((y - centre[1]) / radii[1]) ** 2 < 1
    return inside


def _sides() -> list[NDArray[np.bool_]]:
    """(row, column) of each lung as drawn, that on the left of the picture first: the patient's right one."""
    y, x = np.mgrid[-1 : 1 : SLICE_SHAPE[0] * 1j, -1 : 1 : SLICE_SHAPE[1] * 1j]
    return [((x - centre) / 0.32) ** 2 + (y / 0.55) ** 2 < 1 for centre in (-0.45, 0.45)]


def lung_parts() -> NDArray[np.uint8]:
    """(slice, row, column), as ``VolumeField`` has them."""
    right, left = _sides()
    plane = np.where(right, LungPart.RIGHT, np.where(left, LungPart.LEFT, 0)).astype(np.uint8)
    return np.repeat(plane[None], SLICES, axis=0)


def _thorax() -> NDArray[np.int16]:
    """(slice, row, column) HU, with a dense spot at each focus of the key slice."""
    rows, columns = SLICE_SHAPE
    y, x = np.mgrid[-1 : 1 : rows * 1j, -1 : 1 : columns * 1j]
    one = np.where((x / 0.9) ** 2 + (y / 0.8) ** 2 < 1, 40, -1000)
    one = np.where(np.any(_sides(), axis=0), -850, one)
    voxels = np.stack([one + n for n in range(SLICES)]).astype(np.int16)
    j, i = np.mgrid[:rows, :columns]
    for cx, cy, radius in SLICE_FOCI:
        voxels[KEY][(i - cx) ** 2 + (j - cy) ** 2 < radius**2] = 20
    return voxels
