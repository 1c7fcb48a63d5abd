"""What the ``results`` room is given, and what it gives back. Everything else of an analysis stays outside.

Frames are those of ``models.api``: x, y in the source pixel matrix, 0-based pixel centres.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from pydicom import Dataset

from models.api import ImageInput, LungField, ModelIdentity, Prediction
from node.core.settings import Results


@dataclass(frozen=True)
class SystemRefusal:
    """A system that would not judge this image, and its sentence."""

    system: str
    reason: str
    model: ModelIdentity | None = None


@dataclass(frozen=True)
class ImageOutcome:
    """One image that was analysed. ``header``: the source data set as received, without pixel data."""

    header: Dataset
    image: ImageInput
    lungs: LungField | None
    predictions: tuple[Prediction, ...]
    refusals: tuple[SystemRefusal, ...] = ()


@dataclass(frozen=True)
class LeftOut:
    """An image (or other object) of the study that was not analysed, with the sentence why."""

    series_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    modality: str
    reason: str


@dataclass(frozen=True)
class AnalysisRecord:
    """One analysis of one study.

    reference: header of any one source instance; carries patient and study for all objects.
    reason: empty when something was analysed; otherwise one sentence why nothing was.
    started_at: the persisted creation time of the job, aware; every date and time written comes from it.
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


@dataclass(frozen=True)
class BuiltObject:
    """A finished DICOM file. ``kind``: "sr" or "sc"."""

    kind: str
    sop_instance_uid: str
    sop_class_uid: str
    series_instance_uid: str
    content: bytes
