"""What our Secondary Captures share (PS3.3 A.8): equipment, identity, orientation, source images, burned-in text.

The pictures themselves come from ``render`` and ``sheet``, which see no header; how they are packed is in ``pixels``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydicom import Dataset

from models.api import RESEARCH_USE_ONLY
from node.results import common
from node.results.record import AnalysisRecord
from node.results.references import aspect_ratio, one_for_each_object, patient_orientation, reference

LONGEST_DESCRIPTION, LONGEST_TEXT = 64, 1024  # LO and ST, PS3.5 Table 6.2-1


@dataclass(frozen=True)
class Capture:
    """One object to be. sources: normalised headers of the images that its pixels were made of, in their order.

    conversion: WSD, made at a workstation of images; SYN, synthetic (PS3.3 C.8.6.1).
    """

    sop_class: str
    uid: str
    series_uid: str
    series_number: int
    number: int
    description: str
    comment: str
    sources: Sequence[Dataset]
    conversion: str = "WSD"


def picture_uid(record: AnalysisRecord, kind: str, *index: str) -> str:
    """SOP Instance UID of a picture: its lossy and its lossless form are two objects."""
    return common.instance_uid(record, kind, *index, *(["jpeg"] if record.wanted.jpeg else []))


def begun(record: AnalysisRecord, source: Dataset, what: Capture) -> Dataset:
    """The data set without pixels. ``source``: header that carries patient and study."""
    ds = Dataset()
    common.finish(ds, record, source, what.sop_class, what.uid, what.series_uid)
    ds.Modality, ds.ConversionType = "OT", what.conversion
    ds.BodyPartExamined = "CHEST"  # an unpaired part: without it Laterality (2C) would be missing
    ds.SeriesNumber, ds.InstanceNumber = what.series_number, what.number
    ds.SeriesDescription = f"{what.description} (not for diagnosis)"[:LONGEST_DESCRIPTION]
    ds.ImageType = ["DERIVED", "SECONDARY", "OTHER"]
    ds.DateOfSecondaryCapture, ds.TimeOfSecondaryCapture = common.stamp(record, source)
    ds.SecondaryCaptureDeviceManufacturer = record.settings.manufacturer
    ds.SecondaryCaptureDeviceManufacturerModelName = record.settings.model_name
    ds.SecondaryCaptureDeviceSoftwareVersions = record.software_version
    ds.ImageComments = f"{RESEARCH_USE_ONLY}. {what.comment}"
    ds.PatientOrientation = ""
    ds.RecognizableVisualFeatures = "NO"
    if (said := burned_in(what.sources)) != "":
        ds.BurnedInAnnotation = said
    return ds


def like_its_source(ds: Dataset, source: Dataset) -> None:
    """The picture has the matrix of the source: the same sides of the patient, pixels of the same shape."""
    ds.PatientOrientation = patient_orientation(source)
    if ratio := aspect_ratio(source):
        ds.PixelAspectRatio = ratio


def burned_in(sources: Sequence[Dataset]) -> str:
    """(0028,0301) speaks of identifying text, of which we add none: YES where a source says so, NO where all say no,
    empty where nothing is known."""
    said = {common.text_of(source, "BurnedInAnnotation") for source in sources}
    return "YES" if "YES" in said else "NO" if said <= {"NO"} else ""


def derived(ds: Dataset, sources: Sequence[Dataset], how: str, *, same_place: bool) -> None:
    """Source images in their order, and how the picture was made of them (PS3.3 C.7.6.1.1.3, C.12.4.1.1, C.12.2)."""
    ds.DerivationDescription = f"{how} {RESEARCH_USE_ONLY}."[:LONGEST_TEXT]
    if not sources:
        return
    ds.SourceImageSequence = [source_item(source, same_place) for source in sources]
    by_series: dict[str, list[Dataset]] = {}
    for source in one_for_each_object(sources):
        by_series.setdefault(str(source.SeriesInstanceUID), []).append(source)
    ds.ReferencedSeriesSequence = [series_item(uid, found) for uid, found in by_series.items()]


def source_item(source: Dataset, same_place: bool) -> Dataset:
    """An item of Source Image Sequence (0008,2112)."""
    item = reference(source)
    item.SpatialLocationsPreserved = "YES" if same_place else "NO"
    item.PurposeOfReferenceCodeSequence = [
        code("121322", "DCM", "Source image for image processing operation")  # CID 7202
    ]
    return item


def series_item(uid: str, sources: Sequence[Dataset]) -> Dataset:
    """An item of Referenced Series Sequence (0008,1115), PS3.3 C.12.2. sources: one header of each object."""
    item = Dataset()
    item.SeriesInstanceUID, item.ReferencedInstanceSequence = uid, []
    for source in sources:
        whole = Dataset()
        whole.ReferencedSOPClassUID, whole.ReferencedSOPInstanceUID = source.SOPClassUID, source.SOPInstanceUID
        item.ReferencedInstanceSequence.append(whole)
    return item


def code(value: str, scheme: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item
