"""Segmentation objects (PS3.3 A.51), BINARY: one for the CT series that was analysed, one for each film.

Only frames on which there is something are written. highdicom describes the segments; the object around them is written
here, since its class wants every segment of every slice in memory at once and knows no frames of a multi-frame source.
A series that does not say where its slices lie in the patient has none. Film and series stand in series of their own:
one of them has a frame of reference and the other has not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from copy import deepcopy

import numpy as np
from highdicom import AlgorithmIdentificationSequence
from highdicom.color import CIELabColor
from highdicom.seg import SegmentAlgorithmTypeValues, SegmentDescription
from pydicom import Dataset
from pydicom.uid import SegmentationStorage

from models.api import Mask
from node.results import codes, common, multiframe, pixels, segments
from node.results.multiframe import Frame, Planes
from node.results.record import AnalysisRecord, BuiltObject
from node.results.references import image_key, patient_orientation
from node.results.segments import Segment

LONGEST = 64  # LO


def of_series(record: AnalysisRecord) -> Iterator[BuiltObject]:
    for number, outcome in enumerate(record.series, start=1):
        planes, found = Planes(outcome.headers, outcome.sources), segments.of_series(outcome)
        if found and planes.in_patient:
            uid = common.instance_uid(record, "seg", outcome.volume.uid)
            series = common.series_uid(record, f"seg {planes.sources[0].FrameOfReferenceUID}")
            ds = multiframe.begin(record, planes, SegmentationStorage, uid, series)
            ds.SeriesNumber, ds.InstanceNumber = common.series_number(record, "seg"), number
            rows, columns = outcome.volume.voxels.shape[1:]
            yield _built(ds, planes, found, (rows, columns))


def of_films(record: AnalysisRecord) -> Iterator[BuiltObject]:
    for number, outcome in enumerate(record.images, start=1):
        planes, found = Planes((outcome.header,), (outcome.source,)), segments.of_film(outcome)
        if found:
            source = planes.sources[0]
            uid, series = (
                common.instance_uid(record, "film-seg", *image_key(source)), common.series_uid(record, "film-seg")
            )  # fmt: skip
            ds = multiframe.begin(record, planes, SegmentationStorage, uid, series)
            ds.SeriesNumber, ds.InstanceNumber = common.series_number(record, "film-seg"), number
            ds.PatientOrientation = patient_orientation(source)
            yield _built(ds, planes, found, outcome.image.shape)


def _built(ds: Dataset, planes: Planes, found: Sequence[Segment], shape: tuple[int, int]) -> BuiltObject:
    """Segmentation Series and Image Modules (C.8.20.1, C.8.20.2)."""
    ds.Modality = "SEG"
    ds.SeriesDescription = "AI segmentation (not for diagnosis)"
    ds.ImageType = ["DERIVED", "PRIMARY"]
    ds.ContentLabel, ds.ContentDescription = "AI SEGMENTATION", "Lungs and where models looked (not for diagnosis)"
    ds.SegmentationType = "BINARY"
    ds.SegmentsOverlap = "YES" if any(segment.tracking for segment in found) else "NO"
    ds.SegmentSequence = [_described(segment, number) for number, segment in enumerate(found, start=1)]
    frames = [Frame(plane, number) for number, segment in enumerate(found, start=1) for plane, _ in segment.planes]
    multiframe.put(ds, planes, frames, codes.SEGMENTATION)
    ds.Rows, ds.Columns = shape
    _pixels(ds, planes, _packed(mask for segment in found for _, mask in segment.planes))
    return common.encode(ds, "seg")


def _described(segment: Segment, number: int) -> SegmentDescription:
    name, uid = segment.tracking or (None, None)
    item = SegmentDescription(
        segment_number=number,
        segment_label=segment.label[:LONGEST],
        segmented_property_category=segment.category,
        segmented_property_type=segment.kind,
        algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=_algorithm(segment),
        tracking_uid=uid,
        tracking_id=name,
        anatomic_regions=[segment.site] if segment.site else None,
        display_color=CIELabColor.from_rgb(*segment.colour),
    )
    if segment.side is not None:
        kind = deepcopy(segment.kind)  # the concept itself is everybody's
        kind.SegmentedPropertyTypeModifierCodeSequence = [segment.side]
        item.SegmentedPropertyTypeCodeSequence = [kind]
    if segment.description:
        item.SegmentDescription = segment.description
    return item


def _algorithm(segment: Segment) -> AlgorithmIdentificationSequence:
    model = segment.model
    digest = {"weights sha256": model.weights_sha256} if model.weights_sha256 else {}
    return AlgorithmIdentificationSequence(
        name=model.name[:LONGEST],
        family=segment.family,
        version=model.version[:LONGEST],
        parameters={"system": model.system, **digest},
    )


def _packed(masks: Iterable[Mask]) -> bytes:
    """One bit a pixel, frame after frame without gaps, the first pixel in the lowest bit (PS3.5 section 8.1.1)."""
    packed, rest = bytearray(), np.zeros(0, np.bool_)
    for mask in masks:
        bits = np.concatenate([rest, mask.ravel()])
        whole = bits.size // 8 * 8
        packed += np.packbits(bits[:whole], bitorder="little").tobytes()
        rest = bits[whole:]
    return bytes(packed) + np.packbits(rest, bitorder="little").tobytes()


def _pixels(ds: Dataset, planes: Planes, content: bytes) -> None:
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 1, 1, 0, 0
    pixels.history(ds, planes.headers, None)
    ds.PixelData = content + b"\0" * (len(content) % 2)
    ds["PixelData"].VR = "OB"
