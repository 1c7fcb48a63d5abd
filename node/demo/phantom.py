"""A synthetic frontal chest radiograph, drawn by code from thickness maps and Beer's law.

It is no patient and no simulation of physics beyond exp(-mu t); it has what the systems look for: two lung fields,
heart, mediastinum, ribs, clavicles, diaphragm, and patchy peripheral opacities in both lower zones.
Frame: (row, column), row 0 at the top, the patient's right on the left of the picture (posterior-anterior view).
"""

from __future__ import annotations

import io
from datetime import datetime

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import (
    UID,
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
)
from scipy import ndimage

from node.core.uids import derive

Map = NDArray[np.float64]


def draw_film(size: int = 1024, seed: int = 0, opacities: bool = True) -> NDArray[np.uint16]:
    """(size, size) uint16, 12 bits used, MONOCHROME2: bone bright, air dark."""
    y, x = np.mgrid[0:size, 0:size] / size
    rng = np.random.default_rng(seed)
    lungs = _lungs(x, y) * (1 - 0.75 * _heart_shape(x, y))
    central = np.maximum(_heart(x, y), _mediastinum(x, y)) + 0.25 * np.minimum(_heart(x, y), _mediastinum(x, y))
    tissue = 1.55 * _body(x, y) * _muscle(x, y) - 1.10 * lungs + central
    tissue += _vessels(x, y, rng) * lungs
    if opacities:
        tissue += _opacities(x, y, rng) * lungs
    bone = _ribs(x, y) * (0.15 + 0.85 * _lungs(x, y)) + _clavicles(x, y) + _spine(x, y)
    exposure = np.exp(-0.9 * ndimage.gaussian_filter(tissue + bone, size / 700))
    exposure += rng.normal(0.0, 0.004, exposure.shape) * np.sqrt(exposure)
    film = -np.log(np.clip(exposure, 0.05, 1.2))
    film = (film - film.min()) / np.ptp(film)
    return np.asarray(np.round(film * 4095), dtype=np.uint16)


def _soft(distance: Map, width: float) -> Map:
    """1 inside (negative distance), 0 outside, a smooth edge of ``width``."""
    return np.asarray(1.0 / (1.0 + np.exp(np.clip(distance / width, -40, 40))))


def _ellipse(x: Map, y: Map, cx: float, cy: float, rx: float, ry: float, turn: float = 0.0) -> Map:
    c, s = np.cos(turn), np.sin(turn)
    u, v = (x - cx) * c + (y - cy) * s, -(x - cx) * s + (y - cy) * c
    return np.asarray(np.hypot(u / rx, v / ry) - 1.0)


def _body(x: Map, y: Map) -> Map:
    trunk = _soft(_ellipse(x, y, 0.5, 0.75, 0.47, 0.80), 0.02)
    shoulders = _soft(_ellipse(x, y, 0.5, 0.42, 0.62, 0.30), 0.03)
    neck = _soft(np.abs(x - 0.5) - 0.13, 0.015)
    return np.asarray(np.maximum.reduce([trunk, shoulders, neck]))


def _muscle(x: Map, y: Map) -> Map:
    """Thickness varies: thinner towards the skin and the shoulders, thicker in the abdomen."""
    return np.asarray(0.92 + 0.30 * np.clip((y - 0.68) / 0.12, 0, 1) - 0.35 * np.abs(x - 0.5) ** 2)


def _lungs(x: Map, y: Map) -> Map:
    def one(cx: float, lean: float) -> Map:
        upper = _soft(_ellipse(x, y, cx, 0.36, 0.135, 0.25, lean), 0.035)
        lower = _soft(_ellipse(x, y, cx - lean * 0.13, 0.54, 0.165, 0.29, lean / 2), 0.035)
        return np.asarray(np.maximum(upper, lower))

    dome = 0.745 - 0.05 * np.cos((x - 0.27) * 8.0) * (x < 0.5) - 0.035 * np.cos((x - 0.73) * 9.0) * (x >= 0.5)
    above_diaphragm = _soft((y - dome), 0.008)
    return np.asarray(np.maximum(one(0.295, 0.22), one(0.705, -0.22)) * above_diaphragm)


def _heart_shape(x: Map, y: Map) -> Map:
    return _soft(_ellipse(x, y, 0.560, 0.635, 0.165, 0.125, 0.45), 0.06)


def _heart(x: Map, y: Map) -> Map:
    return np.asarray(0.55 * _heart_shape(x, y) * _soft(y - 0.73, 0.01))


def _mediastinum(x: Map, y: Map) -> Map:
    width = 0.075 + 0.03 * np.clip((y - 0.35) / 0.4, 0, 1)
    trachea = 0.35 * _soft(np.abs(x - 0.497) - 0.014, 0.006) * _soft(y - 0.36, 0.01)
    knob = 0.35 * _soft(_ellipse(x, y, 0.575, 0.345, 0.04, 0.04), 0.1)
    return np.asarray(0.85 * _soft(np.abs(x - 0.505) - width, 0.012) + knob - trachea)


def _ribs(x: Map, y: Map) -> Map:
    total = np.zeros_like(x)
    for number in range(10):
        top = 0.105 + 0.062 * number
        for side in (-1, 1):
            u = (x - 0.5) * side
            arc = top + 0.02 + 1.1 * np.maximum(u - 0.05, 0) ** 1.6
            reach = 0.24 + 0.018 * number
            inside = (
                _soft(np.abs(y - arc) - 0.0085, 0.003) * _soft(u - min(reach, 0.41), 0.01) * _soft(0.045 - u, 0.008)
            )
            total += 0.22 * inside
    return total


def _clavicles(x: Map, y: Map) -> Map:
    total = np.zeros_like(x)
    for side in (-1, 1):
        u = (x - 0.5) * side
        line = 0.195 - 0.16 * u + 0.018 * np.sin(u * 16)
        total += 0.30 * _soft(np.abs(y - line) - 0.011, 0.004) * _soft(u - 0.37, 0.01) * _soft(0.045 - u, 0.006)
    return total


def _spine(x: Map, y: Map) -> Map:
    column = _soft(np.abs(x - 0.5) - 0.032, 0.006)
    discs = 0.8 + 0.2 * np.cos(y * 2 * np.pi * 19)
    return np.asarray(0.30 * column * discs)


def _vessels(x: Map, y: Map, rng: np.random.Generator) -> Map:
    """Branching markings from both hila, fading outwards."""
    total = np.zeros_like(x)
    for cx in (0.41, 0.60):
        for angle in rng.uniform(0, 2 * np.pi, 26):
            bend = rng.normal(0, 0.8)
            u, v = x - cx, y - 0.47
            along = u * np.cos(angle) + v * np.sin(angle)
            across = -u * np.sin(angle) + v * np.cos(angle) - bend * along**2
            inside = _soft(np.abs(across) - 0.007 * np.exp(-np.maximum(along, 0) * 5), 0.003) * (along > 0)
            total += 0.20 * inside * np.exp(-np.maximum(along, 0) * 6) * np.clip(along * 25, 0, 1)
    return total


def _opacities(x: Map, y: Map, rng: np.random.Generator) -> Map:
    size = x.shape[0]
    texture = ndimage.gaussian_filter(rng.normal(size=x.shape), size / 90)
    texture = 0.75 + 0.25 * texture / texture.std()
    left = _soft(_ellipse(x, y, 0.235, 0.585, 0.085, 0.115, 0.2), 0.22)
    right = _soft(_ellipse(x, y, 0.775, 0.600, 0.075, 0.105, -0.2), 0.22)
    return np.asarray(0.62 * np.clip(texture, 0.2, 1.4) * np.maximum(left, right))


def film_as_dicom(pixels: NDArray[np.uint16] | NDArray[np.uint8], at: datetime, spacing_mm: float | None) -> bytes:
    """A file of an invented patient around grey pixels, MONOCHROME2: DX for presentation (PS3.3 A.26) where the spacing
    is known, else CR (A.2), which can do without one."""
    study = UID(derive("demo-study", at.isoformat()))
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = ComputedRadiographyImageStorage
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = UID(derive("demo-image", study))
    ds.StudyInstanceUID, ds.SeriesInstanceUID = study, UID(derive("demo-series", study))
    ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex = "Phantom^Demo", "DEMO-1", "19700101", "O"
    ds.StudyDate = ds.ContentDate = ds.AcquisitionDate = at.strftime("%Y%m%d")
    ds.StudyTime = ds.ContentTime = ds.AcquisitionTime = at.strftime("%H%M%S")
    ds.AccessionNumber, ds.StudyID, ds.ReferringPhysicianName = "DEMO", "1", ""
    ds.StudyDescription, ds.SeriesDescription = "Demonstration", "Chest PA"
    ds.Modality, ds.Manufacturer, ds.SeriesNumber, ds.InstanceNumber = "CR", "lungnode demo", 1, 1
    ds.BodyPartExamined, ds.ViewPosition = "CHEST", "PA"
    ds.ImageType, ds.PatientOrientation = ["ORIGINAL", "PRIMARY"], ["L", "F"]
    if spacing_mm is not None:
        _as_dx(ds, spacing_mm)
    _add_pixels(ds, pixels)
    buffer = io.BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _as_dx(ds: Dataset, spacing_mm: float) -> None:
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = DigitalXRayImageStorageForPresentation
    ds.Modality, ds.PresentationIntentType, ds.ImageLaterality = "DX", "FOR PRESENTATION", "U"
    ds.BurnedInAnnotation, ds.LossyImageCompression, ds.PresentationLUTShape = "NO", "00", "IDENTITY"
    region = Dataset()
    region.CodeValue, region.CodingSchemeDesignator, region.CodeMeaning = "51185008", "SCT", "Chest"  # CID 4031
    ds.AnatomicRegionSequence, ds.AcquisitionContextSequence = [region], []
    ds.DetectorType, ds.PositionerType = "DIRECT", "NONE"
    ds.ImagerPixelSpacing = [round(spacing_mm, 4)] * 2
    ds.PixelIntensityRelationship, ds.PixelIntensityRelationshipSign = "LOG", 1


def _add_pixels(ds: Dataset, pixels: NDArray[np.uint16] | NDArray[np.uint8]) -> None:
    ds.Rows, ds.Columns = pixels.shape
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PixelRepresentation = 1, "MONOCHROME2", 0
    ds.BitsAllocated = 8 * pixels.itemsize
    ds.BitsStored = 8 if pixels.itemsize == 1 else 12
    ds.HighBit = ds.BitsStored - 1
    high = (1 << ds.BitsStored) - 1
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = 0, 1, "US"
    ds.WindowCenter, ds.WindowWidth = (high + 1) / 2, high + 1
    content = pixels.tobytes()
    ds.PixelData = content + b"\0" * (len(content) % 2)
