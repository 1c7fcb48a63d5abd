"""The heat map as a Secondary Capture image (PS3.3 A.8.1), RGB, lossless, in the matrix of the source image.

Of a CT series each key slice is an image of its own in the series of its system, which every viewer shows; one
multi-frame object for all of them is not written yet.
"""

from __future__ import annotations

from dataclasses import dataclass

from pydicom import Dataset
from pydicom.uid import SecondaryCaptureImageStorage

from models.api import RESEARCH_USE_ONLY, Prediction, SliceFinding
from node.results import common, render
from node.results.record import AnalysisRecord, BuiltObject, ImageOutcome, SeriesOutcome
from node.results.references import aspect_ratio, image_key, patient_orientation, reference


@dataclass(frozen=True)
class _Shown:
    """A picture to be: of which source image, by which system, as which Instance Number of its series."""

    source: Dataset
    prediction: Prediction
    number: int
    shown: str  # "film", "CT slice"


def heat_map(record: AnalysisRecord, outcome: ImageOutcome, prediction: Prediction, number: int) -> BuiltObject:
    """One system's heat on one film. ``number``: Instance Number in the series of its system."""
    shown = _Shown(common.source_of(outcome.header), prediction, number, "film")
    return _capture(record, shown, render.heat_map(outcome.image, outcome.lungs, prediction))


def slice_heat_map(
    record: AnalysisRecord, outcome: SeriesOutcome, prediction: Prediction, found: SliceFinding, number: int
) -> BuiltObject:
    """One system's heat on one key slice."""
    shown = _Shown(common.source_of(outcome.headers[found.index]), prediction, number, "CT slice")
    slices = len(outcome.headers)
    return _capture(record, shown, render.slice_heat_map(outcome.volume.voxels[found.index], found, slices, prediction))


def uids(record: AnalysisRecord, source: Dataset, system: str) -> tuple[str, str]:
    """(SOP Instance UID, Series Instance UID) of the picture of a system's heat on an image, for what refers to it."""
    kind = f"sc-{system}"
    return common.instance_uid(record, kind, *image_key(source)), common.series_uid(record, kind)


def _capture(record: AnalysisRecord, shown: _Shown, picture: render.RGB) -> BuiltObject:
    source, prediction = shown.source, shown.prediction
    uid, series = uids(record, source, prediction.model.system)
    ds = Dataset()
    common.finish(ds, record, source, SecondaryCaptureImageStorage, uid, series)
    ds.Modality, ds.ConversionType = "OT", "WSD"  # workstation
    ds.BodyPartExamined = "CHEST"  # an unpaired part: without it Laterality (2C) would be missing
    ds.SeriesNumber = record.settings.series_number_base + 1 + _rank(record, prediction)
    ds.InstanceNumber = shown.number
    ds.SeriesDescription = f"AI heat map {prediction.model.system} (not for diagnosis)"[:64]
    ds.ImageType = ["DERIVED", "SECONDARY", "OTHER"]
    day, time = common.stamp(record, source)
    ds.DateOfSecondaryCapture, ds.TimeOfSecondaryCapture = day, time
    ds.SecondaryCaptureDeviceManufacturer = record.settings.manufacturer
    ds.SecondaryCaptureDeviceManufacturerModelName = record.settings.model_name
    ds.SecondaryCaptureDeviceSoftwareVersions = record.software_version
    ds.PatientOrientation = patient_orientation(source)
    _derivation(ds, shown)
    _burned_in(ds, source)
    if ratio := aspect_ratio(source):
        ds.PixelAspectRatio = ratio
    ds.ImageComments = f"{RESEARCH_USE_ONLY}. {prediction.model.name} {prediction.model.version}"
    _pixels(ds, picture)
    return common.encode(ds, "sc")


def _rank(record: AnalysisRecord, prediction: Prediction) -> int:
    systems = dict.fromkeys(p.model.system for p in record.predictions)
    return list(systems).index(prediction.model.system)


def _derivation(ds: Dataset, shown: _Shown) -> None:
    """Source image and how the picture was derived from it (PS3.3 C.7.6.1.1.3, C.12.4.1.1)."""
    source, item = shown.source, reference(shown.source)
    item.SpatialLocationsPreserved = "YES"
    item.PurposeOfReferenceCodeSequence = [
        code("121322", "DCM", "Source image for image processing operation")  # CID 7202
    ]
    ds.SourceImageSequence = [item]
    ds.DerivationDescription = f"Heat of {shown.prediction.model.name} over the {shown.shown}. {RESEARCH_USE_ONLY}."
    ds.DerivationCodeSequence = [code("130403", "DCM", "Gradient-weighted class activation")]  # CID 217
    series, whole = Dataset(), Dataset()
    series.SeriesInstanceUID = source.SeriesInstanceUID
    whole.ReferencedSOPClassUID, whole.ReferencedSOPInstanceUID = source.SOPClassUID, source.SOPInstanceUID
    series.ReferencedInstanceSequence = [whole]
    ds.ReferencedSeriesSequence = [series]


def code(value: str, scheme: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def _burned_in(ds: Dataset, source: Dataset) -> None:
    """(0028,0301) speaks of identifying text, of which the overlay adds none: what the source says, if it does."""
    said = common.text_of(source, "BurnedInAnnotation")
    if said in ("YES", "NO"):
        ds.BurnedInAnnotation = said
    ds.RecognizableVisualFeatures = "NO"


def _pixels(ds: Dataset, picture: render.RGB) -> None:
    ds.Rows, ds.Columns = picture.shape[:2]
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PlanarConfiguration = 3, "RGB", 0
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
    ds.LossyImageCompression = "00"
    content = picture.tobytes()
    ds.PixelData = content + b"\0" * (len(content) % 2)
