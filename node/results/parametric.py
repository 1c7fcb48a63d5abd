"""A system's heat on the key slices of a CT as a Parametric Map (PS3.3 A.75): the numbers themselves, float32, 0 to 1.

One object for each series and system, a frame for each key slice in the order of the volume. Films have none: without a
frame of reference the numbers have no place that a viewer could use.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from highdicom.pm import RealWorldValueMapping
from pydicom import Dataset
from pydicom.uid import ParametricMapStorage

from models.api import RESEARCH_USE_ONLY, FloatImage, Prediction, SliceFinding
from node.results import codes, common, multiframe, pixels
from node.results.multiframe import Frame, Planes
from node.results.record import AnalysisRecord, BuiltObject

IMAGE_TYPE = ["DERIVED", "PRIMARY", "VOLUME", "QUANTITY"]  # PS3.3 C.8.32.2


def maps(record: AnalysisRecord) -> Iterator[BuiltObject]:
    explaining = (
        (outcome, prediction, keys)
        for outcome in record.series
        for prediction in outcome.predictions
        if (keys := [found for found in prediction.slices if found.key])
    )
    for number, (outcome, prediction, keys) in enumerate(explaining, start=1):
        planes = Planes(outcome.headers, outcome.sources)
        if planes.in_patient:
            yield _map(record, planes, prediction, keys, number)


def _map(
    record: AnalysisRecord, planes: Planes, prediction: Prediction, keys: Sequence[SliceFinding], number: int
) -> BuiltObject:
    system, source = prediction.model.system, planes.sources[0]
    uid = common.instance_uid(record, "pm", str(source.SeriesInstanceUID), system)
    series = common.series_uid(record, f"pm {source.FrameOfReferenceUID}")
    ds = multiframe.begin(record, planes, ParametricMapStorage, uid, series)
    ds.Modality, ds.SeriesNumber, ds.InstanceNumber = "OT", common.series_number(record, "pm"), number
    ds.SeriesDescription = "AI heat as numbers (not for diagnosis)"
    ds.ContentLabel, ds.ContentDescription = "AI HEAT", f"Heat of {system} on key slices (not for diagnosis)"[:64]
    ds.ImageType, ds.AcquisitionContextSequence = IMAGE_TYPE, []
    ds.ImageComments = f"{RESEARCH_USE_ONLY}. {prediction.model.name} {prediction.model.version}"
    ds.RecognizableVisualFeatures, ds.BurnedInAnnotation = "NO", "NO"  # numbers alone, without the slice
    multiframe.put(ds, planes, [Frame(found.index) for found in keys], codes.HEAT)
    _meaning(ds.SharedFunctionalGroupsSequence[0], prediction)
    _pixels(ds, planes, [found.heat for found in keys if found.heat is not None])
    return common.encode(ds, "pm")


def _meaning(shared: Dataset, prediction: Prediction) -> None:
    """Parametric Map Frame Type, Pixel Value Transformation, Frame VOI LUT and Real World Value Mapping Macros."""
    kind, values, window = Dataset(), Dataset(), Dataset()
    kind.FrameType = IMAGE_TYPE
    values.RescaleIntercept, values.RescaleSlope, values.RescaleType = 0, 1, "US"
    window.WindowCenter, window.WindowWidth, window.VOILUTFunction = 0.5, 1, "LINEAR_EXACT"
    shared.ParametricMapFrameTypeSequence, shared.PixelValueTransformationSequence = [kind], [values]
    shared.FrameVOILUTSequence = [window]
    shared.RealWorldValueMappingSequence = [
        RealWorldValueMapping(
            lut_label="HEAT",
            lut_explanation=f"Where {prediction.model.system} looked for {prediction.heat_class}"[:64],
            unit=codes.NO_UNITS,
            value_range=(0.0, 1.0),
            slope=1.0,
            intercept=0.0,
            quantity_definition=codes.HEAT,
        )
    ]


def _pixels(ds: Dataset, planes: Planes, heat: Sequence[FloatImage]) -> None:
    """Floating Point Image Pixel Module, PS3.3 C.7.6.24."""
    frames = np.stack(heat).astype("<f4")
    ds.Rows, ds.Columns = frames.shape[1:]
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.BitsAllocated = 1, "MONOCHROME2", 32
    ds.PixelPresentation, ds.PresentationLUTShape = "MONOCHROME", "IDENTITY"
    pixels.history(ds, planes.headers, None)
    ds.FloatPixelData = frames.tobytes()
