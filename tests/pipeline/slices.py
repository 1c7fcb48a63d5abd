"""CT series for the tests: a drawn thorax as CT Image Storage, one data set for each slice, under marker identities."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.uid import CTImageStorage

from node.core.study import StoredInstance
from tests.films import MARKER, Film, Identity, drawn, uid, wrap

SIDE = 64
UPRIGHT = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


@dataclass(frozen=True)
class Scan:
    """A series to be. ``voxels``: (slice, row, column) HU, from the feet; empty: drawn, ``slices`` of them."""

    seed: str = "scan"
    study: str = ""  # as for films: empty for a study of its own
    slices: int = 6
    thickness_mm: float = 5.0
    voxels: NDArray[np.int16] | None = None
    identity: Identity = MARKER

    @property
    def study_uid(self) -> str:
        return uid("study", self.study or self.seed)


def thorax(slices: int, side: int = SIDE) -> NDArray[np.int16]:
    """(slice, row, column) HU: air, soft tissue, two lungs. It is no patient; every slice differs from the next."""
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    one = np.where((x / 0.9) ** 2 + (y / 0.7) ** 2 < 1, 40, -1000)
    for centre in (-0.42, 0.42):
        one = np.where(((x - centre) / 0.33) ** 2 + (y / 0.5) ** 2 < 1, -850, one)
    return np.stack([one + number for number in range(slices)]).astype(np.int16)


def scan(what: Scan, **changes: object) -> list[Dataset]:
    """One data set for each slice, from the feet. ``changes`` hold for every slice; None removes an attribute."""
    voxels = thorax(what.slices) if what.voxels is None else what.voxels
    found = []
    for number, plane in enumerate(voxels):
        ds = wrap(Film(drawn(1, SIDE), f"{what.seed} {number}", what.study or what.seed, identity=what.identity))
        ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = CTImageStorage
        for keyword in ("ViewPosition", "ViewCodeSequence", "PatientOrientation", "PixelIntensityRelationship",
                        "PixelIntensityRelationshipSign", "PresentationIntentType", "ImagerPixelSpacing",
                        "WindowCenter", "WindowWidth", "PresentationLUTShape", "PixelPaddingValue"):  # fmt: skip
            if keyword in ds:
                delattr(ds, keyword)
        ds.Modality, ds.ImageType = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"]
        ds.SeriesInstanceUID, ds.FrameOfReferenceUID = uid("series", what.seed), uid("frame", what.study or what.seed)
        ds.SeriesDescription, ds.SeriesNumber, ds.InstanceNumber = "Thorax 5 mm", 2, len(voxels) - number
        ds.ImageOrientationPatient = list(UPRIGHT)
        ds.ImagePositionPatient = [-150.0, -150.0, -300.0 + number * what.thickness_mm]
        ds.PixelSpacing, ds.SliceThickness = [0.75, 0.75], what.thickness_mm
        ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType = 1, -1024, "HU"
        ds.Rows, ds.Columns = plane.shape
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
        ds.PixelData = (plane + 1024).astype("<i2").tobytes()
        change(ds, **changes)
        found.append(ds)
    return found


def change(ds: Dataset, **changes: object) -> Dataset:
    for keyword, value in changes.items():
        if value is not None:
            setattr(ds, keyword, value)
        elif keyword in ds:
            delattr(ds, keyword)
    return ds


def stored(ds: Dataset, folder: Path) -> StoredInstance:
    path = folder / f"{ds.SOPInstanceUID}.dcm"
    ds.save_as(path, enforce_file_format=True)
    return StoredInstance(
        str(ds.SOPInstanceUID), str(ds.SOPClassUID), str(ds.SeriesInstanceUID), str(ds.StudyInstanceUID),
        str(ds.file_meta.TransferSyntaxUID), str(ds.get("Modality", "")), "0" * 64, path, False,
    )  # fmt: skip
