"""The border between ``node`` and ``models``: what goes in, what comes out. NumPy only, so importing it is cheap.

Frame: every coordinate is in the *source pixel matrix*, (column, row) order named ``x, y``, 0-based, the centre of
the first pixel is (0, 0); unit coordinates are x/(columns-1), y/(rows-1). Arrays are (row, column).
Nothing here knows DICOM; identifiers are opaque strings. Every output is for research use only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

FloatImage = NDArray[np.float32]
Mask = NDArray[np.bool_]

RESEARCH_USE_ONLY = "Research use only, not for diagnosis"
LITTLE_MEMORY = "The memory of the device did not suffice"  # how a note begins that says what was done instead


class RefusedInput(Exception):
    """The system will not judge this input. The message is one sentence a radiologist can read."""


class WeightsMismatch(Exception):
    """The weights on disk are not those that the card names, or are absent; the system must not run."""


@dataclass(frozen=True)
class Code:
    """A coded concept: value, scheme designator, meaning (PS3.16), as plain text."""

    value: str
    scheme: str
    meaning: str


@dataclass(frozen=True)
class ImageInput:
    """One projection radiograph, ready for any film system.

    pixels: (row, column) float32, display sense: higher is brighter, air dark, bone bright (MONOCHROME2 after
        Modality LUT and VOI LUT). All values finite. No fixed range: systems scale by the minimum and maximum.
    padding: (row, column) bool, True where the source had no image data (pixel padding); pixels there hold the
        minimum of the rest. None where there is no padding.
    spacing_mm: (between rows, between columns) in the detector plane, only when the source states it.
    uid: opaque identifier that seeds anything random, so a rerun is the same.
    """

    pixels: FloatImage
    uid: str
    spacing_mm: tuple[float, float] | None = None
    padding: Mask | None = None

    def __post_init__(self) -> None:
        if self.pixels.ndim != 2 or self.pixels.dtype != np.float32:
            raise ValueError(f"pixels must be (row, column) float32, got {self.pixels.shape} {self.pixels.dtype}")
        if self.padding is not None and (self.padding.shape != self.pixels.shape or self.padding.dtype != np.bool_):
            raise ValueError("padding must be a bool array of the same shape as pixels")

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        rows, columns = self.pixels.shape
        return rows, columns


@dataclass(frozen=True)
class VolumeInput:
    """One axial chest CT series, ready for any CT system.

    voxels: (slice, row, column) float32, Hounsfield units after Modality LUT (PS3.3 C.11.1), slices ascending along
        the slice normal (feet to head). All values finite. Systems are given rows that run to the patient's back and
        columns that run to the left, or nearly so.
    slice_uids: opaque identifier of each slice, in the same order. uid: of the series; seeds anything random.
    spacing_mm: (between slices, between rows, between columns).
    """

    voxels: FloatImage
    slice_uids: tuple[str, ...]
    uid: str
    spacing_mm: tuple[float, float, float] | None = None

    def __post_init__(self) -> None:
        if self.voxels.ndim != 3 or self.voxels.dtype != np.float32:
            raise ValueError(f"voxels must be (slice, row, column) float32, got {self.voxels.shape}")
        if len(self.slice_uids) != len(self.voxels):
            raise ValueError(f"{len(self.voxels)} slices have {len(self.slice_uids)} identifiers")


@dataclass(frozen=True)
class QuantityKind:
    """What a number means: stored name, UCUM unit, coded concept (private where a bare standard code would mislead)."""

    name: str
    unit: str
    code: Code


@dataclass(frozen=True)
class Quantity:
    """A biomarker measured in the image, or a laboratory value predicted from it: never a laboratory's own."""

    kind: QuantityKind
    value: float

    def __post_init__(self) -> None:
        if not np.isfinite(self.value):
            raise ValueError(f"{self.kind.name} is {self.value}")


@dataclass(frozen=True)
class Measured:
    """What a system says in numbers alone, without classes: predicted indicators."""

    model: ModelIdentity
    quantities: tuple[Quantity, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class LungField:
    """What a segmentation system found: the lung field of one film.

    mask: (row, column) bool in the source matrix. contours: closed polygons, each (n, 2) float32 of (x, y).
    heart: likewise, where the system knows it; ``heart_is_whole`` is false where only a part of it was found.
    quantities: biomarkers, where the system measures them.
    """

    mask: Mask
    contours: tuple[NDArray[np.float32], ...]
    model: ModelIdentity
    notes: tuple[str, ...] = ()
    heart: Mask | None = None
    quantities: tuple[Quantity, ...] = ()
    heart_is_whole: bool = True

    @property
    def share(self) -> float:
        """Share of the matrix that is lung, 0..1."""
        return float(self.mask.mean())


@dataclass(frozen=True)
class VolumeField:
    """The lungs of one CT series.

    parts: (slice, row, column) uint8 in the matrix of the volume: 0 outside, else the value of a ``LungPart``.
    """

    parts: NDArray[np.uint8]
    model: ModelIdentity

    @property
    def mask(self) -> Mask:
        """(slice, row, column): lung of either side; a new array."""
        return np.asarray(self.parts > 0)


class LungPart(IntEnum):
    """Whose lung a voxel is; ``EITHER`` where the two could not be told apart."""

    RIGHT = 1
    LEFT = 2
    EITHER = 3


@dataclass(frozen=True)
class ModelIdentity:
    """Which model spoke: for rows, reports (TID 4019) and derived UIDs."""

    system: str  # id of the card, e.g. "cxnet"
    name: str  # e.g. "COVID-CXNet (three classes)"
    version: str
    weights_sha256: str
    source: str = ""  # the paper, one line


@dataclass(frozen=True)
class ClassScore:
    """One class of one system. ``decision``: the system's rule says this class is present."""

    name: str  # stored spelling: "normal", "pneumonia", "covid19"
    probability: float
    decision: bool
    threshold: float
    code: Code

    def __post_init__(self) -> None:
        if not 0.0 <= self.probability <= 1.0:  # also false for NaN
            raise ValueError(f"probability of {self.name} is {self.probability}")


@dataclass(frozen=True)
class Lesion:
    """One cluster of explanation heat (DBSCAN) and its principal axes (PCA).

    It marks where a classifier looked, which need not be a lesion in the pathologist's sense.
    """

    number: int  # 1.. by falling peak heat
    centre_px: tuple[float, float]  # (x, y)
    centre_unit: tuple[float, float]  # (x, y), 0..1
    area_px: float  # in source pixels
    dbscan_size: int  # points of the DBSCAN grid
    axis_lengths_px: tuple[float, float]  # full lengths (4 standard deviations), major then minor, source pixels
    angle_deg: float  # of the major axis from +x towards +y (clockwise on the screen), -90 < angle <= 90
    peak_heat: float  # 0..1
    inside_lung: bool  # centre lies in the lung field
    lung_share: float  # share of the cluster that lies in the lung field, 0..1
    outline_px: tuple[tuple[float, float], ...] = ()  # closed polygon (x, y), first point repeated


@dataclass(frozen=True)
class SliceFinding:
    """One slice of a CT series: class probabilities in the order of the scores.

    key: the prediction rests on this slice, and a reader is led to it. Every key slice has heat; other slices may have
    it too. Lesions are found on key slices alone.
    """

    index: int  # of the slice in the volume
    uid: str
    probabilities: tuple[float, ...]
    heat: FloatImage | None = None  # (row, column) 0..1 over the slice
    lesions: tuple[Lesion, ...] = ()
    key: bool = False

    def __post_init__(self) -> None:
        if self.key and self.heat is None:
            raise ValueError(f"slice {self.index} is a key slice without heat")
        if self.lesions and not self.key:
            raise ValueError(f"slice {self.index} has lesions and is no key slice")


@dataclass(frozen=True)
class Prediction:
    """All that one classifier says of one film, or of one CT series.

    heat: (row, column) float32 in 0..1 over the source matrix, for class ``heat_class``; None when not explained.
    heat_in_lung: share of the heat's mass inside the lung field, 0..1; None when there is no lung field or heat.
    details: further numbers worth storing, e.g. {"stage1.covid19": 0.61, "gate_open": 1.0}.
    slices: of a CT series only: every slice that was judged, ascending; ``heat`` is then None.
    """

    model: ModelIdentity
    scores: tuple[ClassScore, ...]
    decided_class: str
    rule: str  # one line: "class with the highest probability", "p(covid19) >= 0.50"
    heat: FloatImage | None = None
    heat_class: str | None = None
    heat_in_lung: float | None = None
    lesions: tuple[Lesion, ...] = ()
    details: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    slices: tuple[SliceFinding, ...] = ()


@dataclass(frozen=True)
class Card:
    """A model card as the node needs it: read from TOML without loading any weights."""

    system: str
    name: str
    version: str
    kind: str  # "lungs" (segmentation), "film" or "ct" (classifiers), "indicators" (numbers from lesions)
    source: str  # the paper
    weights: Path
    weights_sha256: str  # empty: no weights ship, and the system refuses to run
    entry_point: str  # "models.systems.cxnet:CXNet"
    classes: tuple[str, ...]  # in the order of the network's outputs
    codes: tuple[Code, ...]  # one for each class
    threshold: float  # for a positive decision, where the system's rule has one
    settings: Mapping[str, float]  # what the system's code reads, e.g. {"side": 192}
    text: str  # the whole card for people, as written
    quantities: tuple[QuantityKind, ...] = ()  # of a system that gives numbers, in the order of its outputs
    minimum_age_years: float | None = None  # of the patients it was made for, where the card says so

    @property
    def identity(self) -> ModelIdentity:
        return ModelIdentity(self.system, self.name, self.version, self.weights_sha256, self.source)


class Segmenter(Protocol):
    """A system that finds the lung field."""

    card: Card

    def segment(self, image: ImageInput) -> LungField: ...


class VolumeSegmenter(Protocol):
    """What finds the lungs of a CT series. It needs no weights."""

    identity: ModelIdentity

    def segment(self, volume: VolumeInput) -> VolumeField:
        """Raises RefusedInput where there is no lung."""


class FilmSystem(Protocol):
    """A classifier of frontal chest films; explains itself by heat and lesions. Raises RefusedInput."""

    card: Card

    def predict(self, image: ImageInput, lungs: LungField | None) -> Prediction: ...


class CTSystem(Protocol):
    """A classifier of chest CT series. Raises RefusedInput."""

    card: Card

    def predict(self, volume: VolumeInput) -> Prediction: ...


class IndicatorSystem(Protocol):
    """Numbers from the lesions that classifiers marked on a film. Raises RefusedInput, also when there is no lesion."""

    card: Card

    def measure(self, image: ImageInput, lesions: tuple[Lesion, ...]) -> Measured: ...


class Registry(Protocol):
    """What a worker gets from ``models.registry.Registry(folder)``.

    ``cards`` and ``verify`` never import torch; ``load_*`` do, once per system, and keep it warm.
    """

    def cards(self) -> tuple[Card, ...]: ...

    def verify(self) -> Mapping[str, str]:
        """System id -> "" when the digest matches, else the sentence why not."""

    def load_segmenter(self, system: str, device: str = "cpu") -> Segmenter: ...

    def volume_segmenter(self) -> VolumeSegmenter: ...

    def load_film_system(self, system: str, device: str = "cpu") -> FilmSystem: ...

    def load_ct_system(self, system: str, device: str = "cpu") -> CTSystem: ...

    def load_indicator_system(self, system: str, device: str = "cpu") -> IndicatorSystem: ...
