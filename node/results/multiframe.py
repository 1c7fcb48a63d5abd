"""Frames that lie on source images: what our Segmentations and Parametric Maps share (PS3.3 C.7.6.16, C.7.6.17).

Frames on the slices of a CT say where they lie in the patient, in the words of the slices; frames on a film, which has
no frame of reference, say only which film. Every UID is derived, so that a rerun writes the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from highdicom.sr import CodedConcept
from pydicom import Dataset
from pydicom.datadict import tag_for_keyword
from pydicom.multival import MultiValue
from pydicom.uid import UID
from pydicom.valuerep import format_number_as_ds

from node.core.uids import derive
from node.results import capture, common
from node.results.record import AnalysisRecord
from node.results.references import one_for_each_object

PLACED = {"ImagePositionPatient": 3, "ImageOrientationPatient": 6, "PixelSpacing": 2}  # numbers in each
EVEN = 0.01  # steps between slices that differ by less than this share of them are one step


@dataclass(frozen=True)
class Planes:
    """The images that frames lie on, from the feet to the head; or a film alone.

    headers: as received. sources: the same, normalised.
    """

    headers: tuple[Dataset, ...]
    sources: tuple[Dataset, ...]

    @cached_property
    def in_patient(self) -> bool:
        """Whether every one says where it lies, in the same frame of reference."""
        frames = {common.text_of(source, "FrameOfReferenceUID") for source in self.sources}
        return len(frames) == 1 and "" not in frames and all(map(_is_placed, self.sources))

    @property
    def steps(self) -> np.ndarray:
        """mm from each image to the next along the normal."""
        cosines = np.array(self.sources[0].ImageOrientationPatient, float)
        places = np.array([source.ImagePositionPatient for source in self.sources], float)
        return np.abs(np.diff(places @ np.cross(cosines[:3], cosines[3:])))


def _is_placed(source: Dataset) -> bool:
    values = {keyword: source.get(keyword) for keyword in PLACED}
    counted = all(isinstance(value, MultiValue) and len(value) == PLACED[key] for key, value in values.items())
    return counted and min(source.PixelSpacing) > 0


@dataclass(frozen=True)
class Frame:
    """plane: number of the image it lies on, from 0. segment: from 1; 0 in an object without segments."""

    plane: int
    segment: int = 0


def begin(record: AnalysisRecord, planes: Planes, sop_class: str, uid: str, series: str) -> Dataset:
    """What both objects have before their frames."""
    ds = Dataset()
    common.finish(ds, record, planes.sources[0], sop_class, uid, series)
    ds.BodyPartExamined = "CHEST"  # an unpaired part: without it Laterality (2C) would be missing
    ds.ContentCreatorName = ""
    if planes.in_patient:
        ds.FrameOfReferenceUID, ds.PositionReferenceIndicator = planes.sources[0].FrameOfReferenceUID, ""
    by_object = one_for_each_object(planes.sources)
    ds.ReferencedSeriesSequence = [capture.series_item(by_object[0].SeriesInstanceUID, by_object)]
    return ds


def put(ds: Dataset, planes: Planes, frames: Sequence[Frame], derivation: CodedConcept) -> None:
    """Dimensions and functional groups. ``frames``: by segment, then from the feet to the head."""
    ds.NumberOfFrames = len(frames)
    dimensions = [*(["segment"] if frames[0].segment else []), *(["place"] if planes.in_patient else [])]
    _dimensions(ds, dimensions)
    shared = Dataset()
    if planes.in_patient:
        shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [_measures(planes)], [_orientation(planes)]
    ds.SharedFunctionalGroupsSequence = [shared]
    rank = {plane: number for number, plane in enumerate(sorted({frame.plane for frame in frames}), start=1)}
    ds.PerFrameFunctionalGroupsSequence = [_groups(planes, frame, rank, derivation) for frame in frames]


def _dimensions(ds: Dataset, dimensions: Sequence[str]) -> None:
    """Multi-frame Dimension Module, PS3.3 C.7.6.17."""
    organization = Dataset()
    organization.DimensionOrganizationUID = UID(derive("dimensions", ds.SOPInstanceUID))
    ds.DimensionOrganizationSequence, ds.DimensionIndexSequence = [organization], []
    for name in dimensions:
        item, (pointer, group, label) = Dataset(), POINTERS[name]
        item.DimensionOrganizationUID = organization.DimensionOrganizationUID
        item.DimensionIndexPointer, item.FunctionalGroupPointer = tag_for_keyword(pointer), tag_for_keyword(group)
        item.DimensionDescriptionLabel = label
        ds.DimensionIndexSequence.append(item)


POINTERS = {
    "segment": ("ReferencedSegmentNumber", "SegmentIdentificationSequence", "Segment"),
    "place": ("ImagePositionPatient", "PlanePositionSequence", "Place"),
}


def _measures(planes: Planes) -> Dataset:
    """Thickness is that of the slices, else the usual step; the step is written where all are the same."""
    item, source, steps = Dataset(), planes.sources[0], planes.steps
    item.PixelSpacing = source.PixelSpacing
    stated = common.copied(planes.headers[0], ("SliceThickness",)).get("SliceThickness")
    usual = float(np.median(steps)) if steps.size else None
    item.SliceThickness = stated if isinstance(stated, float) and stated > 0 else format_number_as_ds(usual or 1.0)
    if usual and np.ptp(steps) <= EVEN * usual:
        item.SpacingBetweenSlices = format_number_as_ds(round(usual, 6))
    return item


def _orientation(planes: Planes) -> Dataset:
    item = Dataset()
    item.ImageOrientationPatient = planes.sources[0].ImageOrientationPatient
    return item


def _groups(planes: Planes, frame: Frame, rank: dict[int, int], derivation: CodedConcept) -> Dataset:
    groups, content, source = Dataset(), Dataset(), planes.sources[frame.plane]
    places = [rank[frame.plane]] if planes.in_patient else []
    content.DimensionIndexValues = [*([frame.segment] if frame.segment else []), *places]
    if planes.in_patient:
        place = Dataset()
        place.ImagePositionPatient = source.ImagePositionPatient
        groups.PlanePositionSequence = [place]
    groups.FrameContentSequence, groups.DerivationImageSequence = [content], [_derived(source, derivation)]
    if frame.segment:
        identified = Dataset()
        identified.ReferencedSegmentNumber = frame.segment
        groups.SegmentIdentificationSequence = [identified]
    return groups


def _derived(source: Dataset, how: CodedConcept) -> Dataset:
    """Derivation Image Macro, PS3.3 C.7.6.16.2.6."""
    item = Dataset()
    item.DerivationCodeSequence = [how]
    item.SourceImageSequence = [capture.source_item(source, True)]
    return item
