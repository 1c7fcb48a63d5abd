"""Analysis records of a CT series, made up: a drawn thorax and findings that no model gave."""

from __future__ import annotations

import dataclasses

import numpy as np
from pydicom import Dataset

from models.api import LungPart, ModelIdentity, Prediction, SliceFinding, VolumeField, VolumeInput
from node.pipeline.ensemble import mean_of
from node.results.record import AnalysisRecord, SeriesOutcome
from tests.pipeline.slices import Scan, scan, thorax
from tests.results.records import SIZE, prediction, record

SLICES = 5
KEYS = (2, 3)  # slices with heat


def slice_headers(**changes: object) -> list[Dataset]:
    """Of each slice, from the feet, without pixel data; ``changes`` as for ``scan``."""
    data_sets = scan(Scan("results", voxels=thorax(SLICES, SIZE)), **changes)
    for ds in data_sets:
        del ds.PixelData
    return data_sets


def of_series(headers: list[Dataset], system: str, probability: float = 0.75) -> Prediction:
    """A film's made-up answer, told slice by slice."""
    film = prediction(system, probability)
    slices = tuple(
        SliceFinding(
            number,
            str(header.SOPInstanceUID),
            (1 - probability * number / SLICES, probability * number / SLICES),
            film.heat if number in KEYS else None,
            film.lesions if number == KEYS[-1] else (),
            key=number in KEYS,
        )
        for number, header in enumerate(headers)
    )
    return dataclasses.replace(film, heat=None, heat_in_lung=None, lesions=(), slices=slices)


def of_whole_series(headers: list[Dataset], system: str) -> Prediction:
    """A system that judges the series as a whole and shows its heat on one slice."""
    told = of_series(headers, system, 0.6)
    return dataclasses.replace(told, slices=(dataclasses.replace(told.slices[2], lesions=()),))


def series_outcome(headers: list[Dataset], *predictions: Prediction) -> SeriesOutcome:
    volume = VolumeInput(
        thorax(SLICES, SIZE).astype(np.float32),
        tuple(str(header.SOPInstanceUID) for header in headers),
        str(headers[0].SeriesInstanceUID),
        (5.0, 0.75, 0.75),
    )
    found = predictions or (of_series(headers, "bit-ct"), of_whole_series(headers, "cnncf-ct"))
    mean = mean_of(found, "0.1.0")
    every = (*found, *([mean] if mean else ()))
    return SeriesOutcome(tuple(headers), volume, every, (), ("A remark on the scan.",), drawn_lungs(volume))


def drawn_lungs(volume: VolumeInput) -> VolumeField:
    """Those of the drawn thorax, which lies upright: the right one has the lower columns."""
    lung = (volume.voxels < -500) & (volume.voxels > -900)
    parts = np.where(np.arange(lung.shape[2]) < lung.shape[2] // 2, LungPart.RIGHT, LungPart.LEFT)
    return VolumeField((lung * parts).astype(np.uint8), ModelIdentity("ct-lungs", "Made up lungs", "1", ""))


def ct_record(headers: list[Dataset] | None = None, **changes: object) -> AnalysisRecord:
    headers = headers or slice_headers()
    return record(headers[0], **{"images": (), "series": (series_outcome(headers),), **changes})
