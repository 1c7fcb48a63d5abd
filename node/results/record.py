"""What the ``results`` room is given, and what it gives back. Everything else of an analysis stays outside.

Frames are those of ``models.api``: x, y in the source pixel matrix, 0-based pixel centres.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from pydicom import Dataset

from models.api import (
    ImageInput,
    LungField,
    Measured,
    ModelIdentity,
    Prediction,
    SliceFinding,
    VolumeField,
    VolumeInput,
)
from node.core.settings import Objects, Results
from node.results.source import source_of


@dataclass(frozen=True)
class SystemRefusal:
    """A system that would not judge this image, and its sentence.

    ``nothing_to_judge``: there was no occasion, for example no focus to measure; this is no failure.
    """

    system: str
    reason: str
    model: ModelIdentity | None = None
    nothing_to_judge: bool = False


@dataclass(frozen=True)
class ImageOutcome:
    """One image that was analysed. ``header``: the source data set as received, without pixel data.

    indicators: numbers that systems predicted from the foci, one entry for each system.
    biomarkers: numbers measured on heart and lungs, likewise.
    heart: of the system that found the whole of it.
    """

    header: Dataset
    image: ImageInput
    lungs: LungField | None
    predictions: tuple[Prediction, ...]
    refusals: tuple[SystemRefusal, ...] = ()
    indicators: tuple[Measured, ...] = ()
    biomarkers: tuple[Measured, ...] = ()
    heart: LungField | None = None

    @cached_property
    def source(self) -> Dataset:
        """The normalised header."""
        return source_of(self.header)


@dataclass(frozen=True)
class SeriesOutcome:
    """One CT series that was analysed. ``headers``: of every slice, in the order of the volume: as received, or of a
    frame of a multi-frame object as ``references`` says.

    notes: what is worth knowing of how the volume was made, one sentence each.
    lungs: in the matrix of the volume; None where none were found.
    """

    headers: tuple[Dataset, ...]
    volume: VolumeInput
    predictions: tuple[Prediction, ...]
    refusals: tuple[SystemRefusal, ...] = ()
    notes: tuple[str, ...] = ()
    lungs: VolumeField | None = None

    @cached_property
    def sources(self) -> tuple[Dataset, ...]:
        """The normalised headers."""
        return tuple(map(source_of, self.headers))

    def key_slices(self, prediction: Prediction) -> tuple[SliceFinding, ...]:
        """The slices that a prediction rests on: its own key slices, else those of any system, ascending."""
        own = tuple(found for found in prediction.slices if found.key)
        if own or prediction.slices:
            return own
        others = {found.index: found for p in self.predictions for found in p.slices if found.key}
        return tuple(others[index] for index in sorted(others))


def judged_slices(prediction: Prediction) -> tuple[SliceFinding, ...]:
    """The slices with probabilities of their own. A system that names a single slice judged the series as a whole and
    names it to show its heat."""
    return prediction.slices if len(prediction.slices) > 1 else ()


@dataclass(frozen=True)
class LeftOut:
    """An image (or other object) of the study that was not analysed, with the sentence why.

    rule: the name of the rule of selection that decided; empty where something else did.
    """

    series_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    modality: str
    reason: str
    rule: str = ""


@dataclass(frozen=True)
class Predecessor:
    """An object of the analysis of the study that this one takes the place of. ``kind`` as in BuiltObject."""

    kind: str
    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    instance_number: int = 1


@dataclass(frozen=True)
class AnalysisRecord:
    """One analysis of one study.

    reference: header of any one source instance; carries patient and study for all objects.
    reason: empty when something was analysed; otherwise one sentence why nothing was.
    started_at: the persisted creation time of the job, aware; every date and time written comes from it.
    wanted: which objects are built, and how they are written.
    """

    reference: Dataset
    images: tuple[ImageOutcome, ...]
    left_out: tuple[LeftOut, ...]
    reason: str
    started_at: datetime
    instance_set_digest: str
    config_digest: str
    software_version: str
    settings: Results
    wanted: Objects
    series: tuple[SeriesOutcome, ...] = ()
    predecessors: tuple[Predecessor, ...] = ()

    @cached_property
    def source(self) -> Dataset:
        """The normalised header that carries patient and study; mostly that of the first image."""
        for image in self.images:
            if image.header is self.reference:
                return image.source
        for outcome in self.series:
            if outcome.headers[0] is self.reference:
                return outcome.sources[0]
        return source_of(self.reference)

    @property
    def predictions(self) -> tuple[Prediction, ...]:
        """Of all images, then of all series."""
        outcomes: tuple[ImageOutcome | SeriesOutcome, ...] = (*self.images, *self.series)
        return tuple(prediction for outcome in outcomes for prediction in outcome.predictions)

    @property
    def refusals(self) -> tuple[SystemRefusal, ...]:
        outcomes: tuple[ImageOutcome | SeriesOutcome, ...] = (*self.images, *self.series)
        return tuple(refusal for outcome in outcomes for refusal in outcome.refusals)

    @property
    def instances_used(self) -> int:
        slices = {str(header.get("SOPInstanceUID", "")) for outcome in self.series for header in outcome.headers}
        return len(self.images) + len(slices)


@dataclass(frozen=True)
class BuiltObject:
    """A DICOM file. ``kind``: sr (summary), regions, sc (heat map), stack, page, seg, pr, ko, pm, rejection."""

    kind: str
    sop_instance_uid: str
    sop_class_uid: str
    series_instance_uid: str
    content: bytes
