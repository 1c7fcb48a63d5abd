"""Synthetic images on disk, made once and sent many times: before each sending they get new UIDs in place.

A receiver that has seen an instance may pass over it (Orthanc does), so none may come twice. UIDs have one length, 64
characters: a new one changes a few bytes of the file and nothing else. The pixels are noise of 12 bits; no receiver
looks at them, and none compresses.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import (
    PYDICOM_ROOT_UID,
    UID,
    ComputedRadiographyImageStorage,
    CTImageStorage,
    ExplicitVRLittleEndian,
)

HEAD = 8192  # every UID of a file stands before this
STUDY, SERIES, INSTANCE = "study", "series", "instance"


@dataclass(frozen=True)
class Kind:
    """name: as in the tables. size: rows and columns of 16 bit."""

    name: str
    sop_class: UID
    modality: str
    count: int
    size: int

    def fewer(self, count: int) -> Kind:
        return Kind(self.name, self.sop_class, self.modality, min(count, self.count), self.size)


CT = Kind("CT slices of 0.53 MB", CTImageStorage, "CT", 300, 512)
FILMS = Kind("films of 8.4 MB", ComputedRadiographyImageStorage, "CR", 60, 2048)


@dataclass(frozen=True)
class Image:
    """One file. places: (offset in the file, which UID stands there)."""

    path: Path
    bytes: int
    places: tuple[tuple[int, str], ...]

    def rename(self, uids: dict[str, str]) -> None:
        with self.path.open("r+b") as file:
            for offset, what in self.places:
                file.seek(offset)
                file.write(uids[what].encode())


def new_uid() -> str:
    """Always 64 characters."""
    return f"{PYDICOM_ROOT_UID}1{secrets.randbelow(10**37):037d}"


def make(folder: Path, kind: Kind) -> list[Image]:
    """The files of one kind, named in their order."""
    folder.mkdir(parents=True)
    pixels = np.random.default_rng(kind.size).integers(0, 4096, (kind.size, kind.size), dtype=np.uint16).tobytes()
    uids = {what: new_uid() for what in (STUDY, SERIES, INSTANCE)}
    return [_write(folder / f"{number:04d}.dcm", kind, number + 1, pixels, uids) for number in range(kind.count)]


def shared_out(images: list[Image], associations: int) -> list[list[Image]]:
    """One share for each association, each a study of its own, every instance new."""
    assert len(images) >= associations, "an association would have nothing to send"
    shares = [images[number::associations] for number in range(associations)]
    for share in shares:
        study, series = new_uid(), new_uid()
        for image in share:
            image.rename({STUDY: study, SERIES: series, INSTANCE: new_uid()})
    return shares


def _write(path: Path, kind: Kind, number: int, pixels: bytes, uids: dict[str, str]) -> Image:
    ds = _header(kind, number, uids)
    ds.Rows = ds.Columns = kind.size
    ds.PixelData = pixels
    ds["PixelData"].VR = "OW"
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = kind.sop_class, UID(uids[INSTANCE])
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.save_as(path, enforce_file_format=True)
    with path.open("rb") as file:
        head = file.read(HEAD)
    places = tuple((offset, what) for what, uid in uids.items() for offset in _all(head, uid.encode()))
    assert len(places) == len(uids) + 1, "the instance is named twice, study and series once"
    return Image(path, path.stat().st_size, places)


def _all(content: bytes, wanted: bytes) -> list[int]:
    found, place = [], content.find(wanted)
    while place >= 0:
        found.append(place)
        place = content.find(wanted, place + 1)
    return found


def _header(kind: Kind, number: int, uids: dict[str, str]) -> Dataset:
    """What a scanner writes of the patient, study, equipment and image modules, without sequences."""
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 100"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.SOPClassUID, ds.SOPInstanceUID = kind.sop_class, uids[INSTANCE]
    ds.StudyInstanceUID, ds.SeriesInstanceUID = uids[STUDY], uids[SERIES]
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = "20240102"
    ds.StudyTime = ds.SeriesTime = ds.AcquisitionTime = ds.ContentTime = "101112.000000"
    ds.Modality, ds.Manufacturer, ds.ManufacturerModelName = kind.modality, "Bench", "Noise of 12 bits"
    ds.InstitutionName, ds.StationName, ds.DeviceSerialNumber = "Bench", "BENCH1", "1"
    ds.StudyDescription, ds.SeriesDescription, ds.BodyPartExamined = "Chest", "Chest", "CHEST"
    ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex = "Bench^Bench", "BENCH", "19600101", "O"
    ds.AccessionNumber, ds.StudyID, ds.ReferringPhysicianName = "1", "1", ""
    ds.SeriesNumber, ds.InstanceNumber = 1, number
    ds.FrameOfReferenceUID = f"{PYDICOM_ROOT_UID}1"
    ds.ImagePositionPatient, ds.ImageOrientationPatient = [-180, -180, number], [1, 0, 0, 0, 1, 0]
    ds.PixelSpacing, ds.SliceThickness, ds.KVP, ds.PatientPosition = [0.7, 0.7], 1, 120, "HFS"
    ds.RescaleIntercept, ds.RescaleSlope, ds.WindowCenter, ds.WindowWidth = -1024, 1, -600, 1600
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PixelRepresentation = 1, "MONOCHROME2", 0
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 12, 11
    return ds
