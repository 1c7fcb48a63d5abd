"""Films for the tests: a grey picture wrapped as a complete CR, DX or Secondary Capture data set, and drawn pictures.

Every identifying attribute is a marker (``MARKER``), so that a test can search logs, metrics and pixels for it. UIDs
are derived from ``seed`` and ``study``: the same film is the same instance. Broken films are in ``bad_films.py``.

Pictures are (row, column) arrays in display sense: higher is brighter, air dark, bone bright; uint8, or uint16 with
12 bits stored. Their files (``shared/data/cxr``) hold 8-bit grey JPEG; ``grey`` decodes, ``jpeg_film`` keeps the bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    JPEGBaseline8Bit,
    SecondaryCaptureImageStorage,
    generate_uid,
)
from pynetdicom.dsutils import encode

from tests.sending import Encoded

Picture = NDArray[np.uint8] | NDArray[np.uint16]
DX = DigitalXRayImageStorageForPresentation
CR = ComputedRadiographyImageStorage
SC = SecondaryCaptureImageStorage


@dataclass(frozen=True)
class Identity:
    """Who the film says it is of. All values together are what no log may hold."""

    patient_name: str = "Zebramarker^Quaggamarker"
    patient_id: str = "PIDMARKER77120"
    issuer: str = "ISSUERMARKER"
    birth_date: str = "18770317"
    sex: str = "F"
    accession_number: str = "ACCMARKER5531"
    referring_physician: str = "Okapimarker^Bongomarker"
    operator: str = "Gnumarker^Tapirmarker"
    institution: str = "Institutionmarker"
    study_description: str = "Descriptionmarker"
    study_id: str = "STUDYIDMARKER"
    comments: str = "Commentmarker of the patient"

    def words(self) -> list[str]:
        """What to search for: each value and each part of a name; the sex is no marker."""
        values = [value for name, value in vars(self).items() if name != "sex"]
        parts = [part for value in values for part in value.split("^")]
        return sorted({word for word in [*values, *parts] if len(word) > 6})


MARKER = Identity()


@dataclass(frozen=True)
class Film:
    """One film to be. ``study``: films of the same study share it; empty: a study of its own."""

    picture: Picture
    seed: str
    study: str = ""
    sop_class: str = DX
    view: str = "PA"
    body_part: str = "CHEST"
    description: str = "Chest PA"
    photometric: str = "MONOCHROME2"
    transfer_syntax: str = ExplicitVRLittleEndian
    spacing_mm: float | None = 0.6
    identity: Identity = MARKER

    @property
    def study_uid(self) -> str:
        return uid("study", self.study or self.seed)

    @property
    def sop_instance_uid(self) -> str:
        return uid("instance", self.seed)


def uid(kind: str, seed: str) -> str:
    """A UID under pydicom's root, the same for the same words."""
    return str(generate_uid(entropy_srcs=["lungnode tests", kind, seed]))


def wrap(film: Film) -> Dataset:
    """The film as a data set that dciodvfy finds no error in, encoded in ``film.transfer_syntax``."""
    ds = _header(film)
    _pixels(ds, film)
    if film.transfer_syntax == JPEGBaseline8Bit:
        return _with_jpeg(ds, _as_jpeg(_stored(film)))
    ds.file_meta = _meta(ds, ExplicitVRLittleEndian)
    if ds.file_meta.TransferSyntaxUID != film.transfer_syntax:
        _transcode(ds, film.transfer_syntax)
    return ds


def jpeg_film(path: Path, film: Film) -> Dataset:
    """The film with the file's own JPEG stream as pixel data; ``film.picture`` must be what the file decodes to."""
    ds = _header(film)
    _pixels(ds, film)
    return _with_jpeg(ds, path.read_bytes())


def grey(path: Path) -> Picture:
    """A JPEG or PNG file as an 8-bit picture."""
    with Image.open(path) as image:
        return np.asarray(image.convert("L"))


def drawn(seed: int = 0, size: int = 512) -> Picture:
    """A drawn chest: body, two lungs, spine, heart, ribs, noise. 12 bits. It is no patient and proves no accuracy."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]

    def ellipse(cx: float, cy: float, rx: float, ry: float) -> NDArray[np.float64]:
        return np.clip(8 * (1 - ((x - cx) / rx) ** 2 - ((y - cy) / ry) ** 2), 0, 1)

    shift = random.uniform(-0.04, 0.04)
    film = 0.62 * ellipse(shift, 0.25, 0.95, 1.25)
    lungs = np.maximum(ellipse(shift - 0.42, 0.0, 0.30, 0.68), ellipse(shift + 0.42, 0.0, 0.30, 0.68))
    film -= 0.45 * lungs
    film += 0.10 * lungs * (np.sin(26 * (y + 0.35 * np.abs(x))) > 0.55)  # ribs
    film += 0.25 * ellipse(shift, 0.0, 0.09, 1.3)  # spine
    film = np.maximum(film, 0.66 * ellipse(shift + 0.12, 0.33, 0.30, 0.33))  # heart
    film += random.normal(0, 0.012, film.shape)
    return (np.clip(film, 0, 1) * 4095).astype(np.uint16)


def renamed(path: Path, seed: str) -> Dataset:
    """A file as it is, under UIDs of its own: the two ``xrv`` films share theirs."""
    ds = dcmread(path)
    ds.StudyInstanceUID, ds.SeriesInstanceUID = uid("study", seed), uid("series", seed)
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = uid("instance", seed)
    return ds


def encoded(ds: Dataset) -> Encoded:
    """The data set's bytes as C-STORE would carry them."""
    syntax = ds.file_meta.TransferSyntaxUID
    content = encode(ds, syntax.is_implicit_VR, syntax.is_little_endian, syntax.is_deflated)
    assert content is not None, "the data set cannot be encoded"
    return Encoded(str(ds.SOPClassUID), str(ds.SOPInstanceUID), str(syntax), content)


def write(ds: Dataset, folder: Path) -> Path:
    """A DICOM file named after its SOP Instance UID."""
    path = folder / f"{ds.SOPInstanceUID}.dcm"
    ds.save_as(path, enforce_file_format=True)
    return path


def _header(film: Film) -> Dataset:
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.SOPClassUID, ds.SOPInstanceUID = film.sop_class, film.sop_instance_uid
    ds.StudyInstanceUID = film.study_uid
    ds.SeriesInstanceUID = uid("series", film.seed)
    ds.Modality = {DX: "DX", CR: "CR"}.get(film.sop_class, "OT")
    _identify(ds, film.identity)
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = "20200102"
    ds.StudyTime = ds.SeriesTime = ds.AcquisitionTime = ds.ContentTime = "101112"
    ds.SeriesNumber, ds.InstanceNumber, ds.AcquisitionNumber = 1, 1, 1
    ds.SeriesDescription = film.description
    ds.BodyPartExamined, ds.ViewPosition = film.body_part, film.view
    ds.PatientOrientation = ["P", "F"] if film.view in ("LL", "RL", "LATERAL") else ["L", "F"]
    ds.Manufacturer, ds.ManufacturerModelName = "Test films", "Drawn by code"
    ds.DeviceSerialNumber, ds.SoftwareVersions = "1", "1"
    if film.sop_class == SC:
        ds.ConversionType = "WSD"
    if film.spacing_mm and film.sop_class != SC:
        ds.ImagerPixelSpacing = [film.spacing_mm, film.spacing_mm]
    if film.sop_class == CR:
        ds.ImageType = ["ORIGINAL", "PRIMARY"]
        ds.PlateType, ds.KVP = "", None
    if film.sop_class == DX:
        _digital_x_ray(ds)
    return ds


def _identify(ds: Dataset, identity: Identity) -> None:
    ds.PatientName, ds.PatientID = identity.patient_name, identity.patient_id
    ds.IssuerOfPatientID = identity.issuer
    ds.PatientBirthDate, ds.PatientSex = identity.birth_date, identity.sex
    ds.AccessionNumber, ds.StudyID = identity.accession_number, identity.study_id
    ds.ReferringPhysicianName, ds.OperatorsName = identity.referring_physician, identity.operator
    ds.InstitutionName, ds.StudyDescription = identity.institution, identity.study_description
    ds.PatientComments = identity.comments


def _digital_x_ray(ds: Dataset) -> None:
    """What the DX IOD demands beyond an image (PS3.3 A.26): presentation intent, anatomy, view, LUT, detector."""
    ds.ImageType = ["ORIGINAL", "PRIMARY", ""]
    ds.PresentationIntentType = "FOR PRESENTATION"
    ds.PixelIntensityRelationship, ds.PixelIntensityRelationshipSign = "LOG", -1
    ds.PresentationLUTShape = "IDENTITY"
    ds.LossyImageCompression, ds.BurnedInAnnotation = "00", "NO"
    ds.ImageLaterality = "U"
    ds.DetectorType, ds.DetectorID = "SCINTILLATOR", "1"
    ds.KVP, ds.PositionerType = "120", "NONE"
    ds.AcquisitionContextSequence = []
    chest = Dataset()
    chest.CodeValue, chest.CodingSchemeDesignator, chest.CodeMeaning = "51185008", "SCT", "Chest"
    ds.AnatomicRegionSequence = [chest]
    view = Dataset()
    view.CodeValue, view.CodingSchemeDesignator, view.CodeMeaning = "399348003", "SCT", "antero-posterior"
    view.ViewModifierCodeSequence = []
    ds.ViewCodeSequence = [view]


def _stored(film: Film) -> Picture:
    """Stored values: MONOCHROME1 stores the negative."""
    if film.photometric == "MONOCHROME2":
        return film.picture
    top = 255 if film.picture.dtype == np.uint8 else 4095
    return (top - film.picture).astype(film.picture.dtype)


def _pixels(ds: Dataset, film: Film) -> None:
    picture = _stored(film)
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, film.photometric
    ds.Rows, ds.Columns = picture.shape
    ds.BitsAllocated = 8 * picture.dtype.itemsize
    ds.BitsStored = 8 if picture.dtype == np.uint8 else 12
    ds.HighBit, ds.PixelRepresentation = ds.BitsStored - 1, 0
    if film.sop_class != SC:
        ds.WindowCenter, ds.WindowWidth = 2 ** (ds.BitsStored - 1), 2**ds.BitsStored
        ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = "0", "1", "US"
    if film.photometric == "MONOCHROME1" and film.sop_class == DX:
        ds.PresentationLUTShape = "INVERSE"
    raw = np.ascontiguousarray(picture).astype(picture.dtype.newbyteorder("<")).tobytes()
    ds.PixelData = raw + b"\0" * (len(raw) % 2)
    ds["PixelData"].VR = "OB" if ds.BitsAllocated == 8 else "OW"


def _meta(ds: Dataset, transfer_syntax: str) -> FileMetaDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = ds.SOPClassUID, ds.SOPInstanceUID
    meta.TransferSyntaxUID = transfer_syntax
    return meta


def _transcode(ds: Dataset, transfer_syntax: str) -> None:
    target = type(ExplicitVRLittleEndian)(transfer_syntax)
    if target.is_compressed and not target.is_deflated:
        ds.compress(target, generate_instance_uid=False)
        return
    if not target.is_little_endian and ds.BitsAllocated == 16:
        ds.PixelData = np.frombuffer(ds.PixelData, "<u2").astype(">u2").tobytes()
    ds.file_meta.TransferSyntaxUID = target


def _as_jpeg(picture: Picture) -> bytes:
    assert picture.dtype == np.uint8, "JPEG Baseline holds 8 bits"
    stream = BytesIO()
    Image.fromarray(picture).save(stream, "JPEG", quality=95)
    return stream.getvalue()


def _with_jpeg(ds: Dataset, stream: bytes) -> Dataset:
    ds.LossyImageCompression, ds.LossyImageCompressionMethod = "01", "ISO_10918_1"
    ds.LossyImageCompressionRatio = round(int(ds.Rows) * int(ds.Columns) / len(stream), 2)
    ds.PixelData = encapsulate([stream + b"\0" * (len(stream) % 2)])
    ds["PixelData"].VR = "OB"
    ds.file_meta = _meta(ds, JPEGBaseline8Bit)
    return ds
