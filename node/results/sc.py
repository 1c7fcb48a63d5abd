"""The heat map as a Secondary Capture image (PS3.3 A.8.1) in the matrix of the source image: RGB, or JPEG by switch.

Of a CT series each key slice is an image of its own in the series of its system, which every viewer shows; all slices
that a system judged are a ``stack``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage

from models.api import Prediction, SliceFinding
from node.results import capture, common, pixels, render
from node.results.record import AnalysisRecord, BuiltObject, ImageOutcome, SeriesOutcome
from node.results.references import image_key


@dataclass(frozen=True)
class _Shown:
    """A picture to be: of which source image, by which system, as which Instance Number of its series."""

    header: Dataset  # as received
    source: Dataset  # normalised
    prediction: Prediction
    number: int
    shown: str  # "film", "CT slice"


def heat_maps(record: AnalysisRecord) -> Iterator[BuiltObject]:
    """Film by film, then key slice by key slice."""
    for number, outcome in enumerate(record.images, start=1):
        for prediction in outcome.predictions:
            if prediction.heat is not None:
                yield heat_map(record, outcome, prediction, number)
    for series in record.series:
        for prediction in series.predictions:
            keys = [found for found in prediction.slices if found.key]
            for number, found in enumerate(keys, start=1):
                yield slice_heat_map(record, series, prediction, found, number)


def heat_map(record: AnalysisRecord, outcome: ImageOutcome, prediction: Prediction, number: int) -> BuiltObject:
    """One system's heat on one film. ``number``: Instance Number in the series of its system."""
    shown = _Shown(outcome.header, outcome.source, prediction, number, "film")
    return _captured(record, shown, render.heat_map(outcome.image, outcome.lungs, prediction))


def slice_heat_map(
    record: AnalysisRecord, outcome: SeriesOutcome, prediction: Prediction, found: SliceFinding, number: int
) -> BuiltObject:
    """One system's heat on one key slice."""
    header, source = outcome.headers[found.index], outcome.sources[found.index]
    shown = _Shown(header, source, prediction, number, "CT slice")
    slices, voxels = len(outcome.headers), outcome.volume.voxels[found.index]
    return _captured(record, shown, render.slice_heat_map(voxels, found, slices, prediction))


def uids(record: AnalysisRecord, source: Dataset, system: str) -> tuple[str, str]:
    """(SOP Instance UID, Series Instance UID) of the picture of a system's heat on an image, for what refers to it."""
    kind = f"sc-{system}"
    return capture.picture_uid(record, kind, *image_key(source)), common.series_uid(record, kind)


def _captured(record: AnalysisRecord, shown: _Shown, picture: render.RGB) -> BuiltObject:
    source, model = shown.source, shown.prediction.model
    uid, series = uids(record, source, model.system)
    what = capture.Capture(
        sop_class=SecondaryCaptureImageStorage,
        uid=uid,
        series_uid=series,
        series_number=record.settings.series_number_base + place(model.system),
        number=shown.number,
        description=f"AI heat map {model.system}",
        comment=f"{model.name} {model.version}",
        sources=[source],
    )
    ds = capture.begun(record, source, what)
    capture.like_its_source(ds, source)
    capture.derived(ds, [source], f"Heat of {model.name} over the {shown.shown}.", same_place=True)
    ds.DerivationCodeSequence = [capture.code("130403", "DCM", "Gradient-weighted class activation")]  # CID 217
    syntax = pixels.LOSSY if record.wanted.jpeg else ExplicitVRLittleEndian
    pixels.put(ds, [picture], syntax, [shown.header])
    return common.encode(ds, "sc", syntax)


def place(system: str) -> int:
    """1 to 39, of the system's name alone: the series of a system keeps its number whatever else is analysed."""
    return 1 + int.from_bytes(hashlib.sha256(system.encode()).digest()[:4]) % 39
