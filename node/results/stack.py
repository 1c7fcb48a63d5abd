"""A system's heat over a CT series as one Multi-frame True Color Secondary Capture (PS3.3 A.8.5), packed without loss.

One object for each series and system that judged slices, each system in a series of its own: a frame for every slice
that it judged, which are those that bear lung, in the order of the volume, feet to head. Frame n is made of item n of
Source Image Sequence; its Plane Position (C.7.6.16.2.3, one of the three macros of Table A.8-5b) is that of this
slice, in the same frame of reference. A system that judged the series as a whole has no stack: it has heat for one
slice, a picture of its own (``sc``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from pydicom import Dataset
from pydicom.tag import Tag
from pydicom.uid import MultiFrameTrueColorSecondaryCaptureImageStorage
from pydicom.valuerep import format_number_as_ds

from models.api import Prediction
from node.results import capture, common, pixels, render, sc
from node.results.record import AnalysisRecord, BuiltObject, SeriesOutcome, judged_slices

SLICE_LOCATION_VECTOR = Tag(0x0018, 0x2005)


@dataclass(frozen=True)
class _Stack:
    """headers: of the slices shown, as received. number: Instance Number."""

    outcome: SeriesOutcome
    prediction: Prediction
    number: int

    @property
    def headers(self) -> list[Dataset]:
        return [self.outcome.headers[found.index] for found in self.prediction.slices]


def stacks(record: AnalysisRecord) -> Iterator[BuiltObject]:
    explaining = (
        (outcome, prediction)
        for outcome in record.series
        for prediction in outcome.predictions
        if any(found.heat is not None for found in judged_slices(prediction))
    )
    for number, (outcome, prediction) in enumerate(explaining, start=1):
        yield _built(record, _Stack(outcome, prediction, number))


def _built(record: AnalysisRecord, stack: _Stack) -> BuiltObject:
    sources = [stack.outcome.sources[found.index] for found in stack.prediction.slices]
    model = stack.prediction.model
    what = capture.Capture(
        sop_class=MultiFrameTrueColorSecondaryCaptureImageStorage,
        uid=capture.picture_uid(record, "stack", stack.outcome.volume.uid, model.system),
        series_uid=common.series_uid(record, f"stack-{model.system}"),
        series_number=common.series_number(record, "stack") + sc.place(model.system),
        number=stack.number,
        description=f"AI heat stack {model.system}",
        comment=f"{model.name} {model.version}",
        sources=sources,
    )
    ds = capture.begun(record, sources[0], what)
    capture.like_its_source(ds, sources[0])
    how = f"Heat of {model.name} over CT slices; frame n is made of item n of the Source Image Sequence."
    capture.derived(ds, sources, how, same_place=True)
    ds.DerivationCodeSequence = [capture.code("130403", "DCM", "Gradient-weighted class activation")]  # CID 217
    if "BurnedInAnnotation" not in ds:
        ds.BurnedInAnnotation = "YES"  # type 1 here (C.8.6.3): where slices do not say, the worse is assumed
    _frames(ds, stack, sources)
    syntax = pixels.LOSSY if record.wanted.jpeg else pixels.LOSSLESS
    pixels.put(ds, _pictures(stack), syntax, stack.headers)
    return common.encode(ds, "stack", syntax)


def _pictures(stack: _Stack) -> Iterator[render.RGB]:
    slices = len(stack.outcome.headers)
    for found in stack.prediction.slices:
        yield render.stack_slice(stack.outcome.volume.voxels[found.index], found, slices, stack.prediction)


def _frames(ds: Dataset, stack: _Stack, sources: Sequence[Dataset]) -> None:
    """Multi-frame, SC Multi-frame Image and SC Multi-frame Vector Modules (C.7.6.6, C.8.6.3, C.8.6.4)."""
    ds.NumberOfFrames = len(sources)
    ds.FrameIncrementPointer = SLICE_LOCATION_VECTOR
    ds.SliceLocationVector = [format_number_as_ds(place) for place in _places(stack, sources)]
    keys = [frame for frame, found in enumerate(stack.prediction.slices, start=1) if found.key]
    if keys:
        ds.RepresentativeFrameNumber = keys[len(keys) // 2]
    _positions(ds, sources)


def _places(stack: _Stack, sources: Sequence[Dataset]) -> list[float]:
    """mm along the slice normal, rising from the feet; where a position is missing, slice numbers from the feet."""
    planes = [(source.get("ImagePositionPatient"), source.get("ImageOrientationPatient")) for source in sources]
    if not all(position and cosines for position, cosines in planes):
        return [float(found.index) for found in stack.prediction.slices]
    along = [float(np.dot(np.cross(c[:3], c[3:]), p)) for p, c in planes]
    up = -1.0 if along[-1] < along[0] else 1.0  # of mirrored images the normal of rows and columns points to the feet
    return [round(up * place, 3) for place in along]


def _positions(ds: Dataset, sources: Sequence[Dataset]) -> None:
    """Multi-frame Functional Groups (C.7.6.16), where every slice says where it lies: all three macros or none."""
    needed = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "FrameOfReferenceUID")
    if not all(source.get(keyword) for source in sources for keyword in needed):
        return
    shared, measures = Dataset(), Dataset()
    measures.PixelSpacing = sources[0].PixelSpacing
    shared.PixelMeasuresSequence = [measures]
    ds.SharedFunctionalGroupsSequence = [shared]
    ds.PerFrameFunctionalGroupsSequence = [_position(source) for source in sources]
    ds.FrameOfReferenceUID, ds.PositionReferenceIndicator = sources[0].FrameOfReferenceUID, ""
    ds.pop("PixelAspectRatio", None)  # excluded where the spacing says it (C.7.6.3)


def _position(source: Dataset) -> Dataset:
    item, place, plane = Dataset(), Dataset(), Dataset()
    place.ImagePositionPatient, plane.ImageOrientationPatient = (
        source.ImagePositionPatient, source.ImageOrientationPatient
    )  # fmt: skip
    item.PlanePositionSequence, item.PlaneOrientationSequence = [place], [plane]
    return item
