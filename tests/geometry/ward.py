"""A phantom through the whole node but the network: received, selected, loaded, judged by a ``Finder``, written as rows
and DICOM objects; and what those say, read back as another program would, in pixels and in the patient's millimetres.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from scipy import ndimage

from node.core import settings
from node.core.job import JobKind
from node.db import jobs
from node.pipeline.analyse import Analyse
from node.results.build import MAKERS
from tests.geometry.finder import Finders
from tests.pipeline.waiting import Room

ANALYSIS = dataclasses.replace(
    settings.load().analysis,
    segmenter="lungs", biomarkers="", systems=("finder",), ct_systems=("finder-ct",), indicators=(), ensemble=False,
)  # fmt: skip


@dataclass(frozen=True)
class Place:
    """A point that a result names. x, y: pixels from the centre of the first; frame: 0 for an object of one image."""

    sop_uid: str
    frame: int
    x: float
    y: float
    tracking_uid: str = ""
    millimetres: tuple[float, ...] | None = None  # of a frame that says itself where it lies


@dataclass(frozen=True)
class Image:
    """A source image as it was sent: what places are held against."""

    sop_uid: str
    frame: int
    shape: tuple[int, int]
    spacing: tuple[float, float]
    position: NDArray[np.float64]
    cosines: NDArray[np.float64]  # (2, 3)

    def millimetres(self, x: float, y: float) -> NDArray[np.float64]:
        """LPS, PS3.3 equation C.7.6.2.1-1."""
        return np.asarray(self.position + x * self.spacing[1] * self.cosines[0] + y * self.spacing[0] * self.cosines[1])

    def pixels(self, point: NDArray[np.float64]) -> tuple[float, float, float]:
        """(x, y, mm beside the plane) of a point in the patient."""
        off = point - self.position
        x, y = self.cosines[0] @ off / self.spacing[1], self.cosines[1] @ off / self.spacing[0]
        return float(x), float(y), float(np.cross(*self.cosines) @ off)


class Analysed:
    """What came of a study."""

    def __init__(self, folder: Path, data_sets: Sequence[Dataset], kinds: Sequence[str] = tuple(MAKERS)) -> None:
        folder.mkdir(exist_ok=True)
        self.room, self.systems = Room(folder), Finders()
        for ds in data_sets:
            self.study_uid = self.room.take(ds)
        self.room.clock.pass_by(100)
        assert self.room.close() == [self.study_uid]
        usual = settings.load()
        wanted = dataclasses.replace(usual.objects, kinds=tuple(kinds))
        whole = dataclasses.replace(usual, analysis=ANALYSIS, objects=wanted)
        with self.room.database.write() as session:
            job = jobs.claim(session, JobKind.ANALYSE, "w", "t", self.room.clock())
        assert job is not None
        Analyse(self.room.database, self.room.archive, self.systems, whole, "0.1.0", self.room.clock)(job)

    @property
    def reasons(self) -> set[str]:
        """Why images were left out."""
        return {str(row["reason"]) for row in self.room.rows("SELECT reason FROM selections WHERE NOT taken")}

    def files(self, kind: str = "") -> list[Path]:
        rows = self.room.rows("SELECT kind, path FROM outputs ORDER BY id")
        return [self.room.archive.path(str(row["path"])) for row in rows if kind in ("", row["kind"])]

    def objects(self, kind: str) -> list[Dataset]:
        return [dcmread(BytesIO(path.read_bytes())) for path in self.files(kind)]

    def rows(self) -> list[Place]:
        """Of the database."""
        found = self.room.rows("SELECT * FROM lesions ORDER BY id")
        return [
            Place(str(r["sop_uid"]), int(str(r["frame"] or 0)), float(str(r["x_px"])), float(str(r["y_px"])),
                  str(r["tracking_uid"]))
            for r in found
        ]  # fmt: skip

    def points(self, kind: str) -> list[Place]:
        """POINT items of a report; half a pixel less, since they count from the corner (PS3.3 C.18.6.1.2)."""
        return [place for ds in self.objects(kind) for group in _groups(ds) for place in _points(group)]

    def outlines(self, kind: str) -> list[Place]:
        """The centre of the area within each POLYLINE item of a report."""
        return [place for ds in self.objects(kind) for group in _groups(ds) for place in _points(group, "POLYLINE")]


def images(data_sets: Sequence[Dataset]) -> list[Image]:
    """Of slices and of the frames of Enhanced CT, read attribute by attribute."""
    return [image for ds in data_sets for image in _images(ds)]


def _images(ds: Dataset) -> Iterator[Image]:
    if "PerFrameFunctionalGroupsSequence" not in ds:
        yield _image(ds, 0, ds, ds, ds)
        return
    (shared,) = ds.SharedFunctionalGroupsSequence
    for number, group in enumerate(ds.PerFrameFunctionalGroupsSequence, start=1):
        (measures,), (plane,) = shared.PixelMeasuresSequence, shared.PlaneOrientationSequence
        yield _image(ds, number, measures, plane, group.PlanePositionSequence[0])


def _image(ds: Dataset, frame: int, measures: Dataset, orientation: Dataset, position: Dataset) -> Image:
    rows, columns = (float(value) for value in measures.PixelSpacing)
    return Image(
        str(ds.SOPInstanceUID),
        frame,
        (int(ds.Rows), int(ds.Columns)),
        (rows, columns),
        np.array([float(value) for value in position.ImagePositionPatient]),
        np.array([float(value) for value in orientation.ImageOrientationPatient]).reshape(2, 3),
    )


def _items(ds: Dataset) -> Iterator[Dataset]:
    for item in ds.get("ContentSequence", ()):
        yield item
        yield from _items(item)


def _groups(ds: Dataset) -> Iterator[Dataset]:
    for item in _items(ds):
        if "ConceptNameCodeSequence" in item and item.ConceptNameCodeSequence[0].get("CodeValue") == "125007":
            yield item


def _points(group: Dataset, kind: str = "POINT") -> Iterator[Place]:
    """The first region of a group: others repeat it below its numbers."""
    tracking = next(
        (str(item.UID) for item in group.ContentSequence if item.ValueType == "UIDREF"), ""
    )  # fmt: skip
    for item in group.ContentSequence:
        if item.get("GraphicType") == kind:
            (image,) = (child.ReferencedSOPSequence[0] for child in item.ContentSequence)
            x, y = _middle(np.array(item.GraphicData, float).reshape(-1, 2)) - 0.5
            frame = int(image.get("ReferencedFrameNumber", 0) or 0)
            yield Place(str(image.ReferencedSOPInstanceUID), frame, float(x), float(y), tracking)


def _middle(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of a point, or of the area within a closed line."""
    if len(points) == 1:
        return points[0]
    here, there = points[:-1], points[1:]
    crossed = here[:, 0] * there[:, 1] - there[:, 0] * here[:, 1]
    return np.asarray(((here + there) * crossed[:, None]).sum(axis=0) / (3 * crossed.sum()))


def marks(ds: Dataset) -> Iterator[Place]:
    """Centres that a presentation state draws; points count from the corner (PS3.3 C.10.5.1.2)."""
    for annotation in ds.GraphicAnnotationSequence:
        (image,) = annotation.ReferencedImageSequence
        for mark in annotation.get("GraphicObjectSequence", ()):
            if mark.GraphicType == "POINT":
                x, y = (float(value) - 0.5 for value in mark.GraphicData)
                yield Place(
                    str(image.ReferencedSOPInstanceUID), int(image.get("ReferencedFrameNumber", 0) or 0), x, y,
                    str(mark.TrackingUID),
                )  # fmt: skip


def frames(ds: Dataset) -> Iterator[Place]:
    """The middle of each focus in a segmentation, and of each patch of full heat in a parametric map; by the frame's
    source image, and by its own Plane Position."""
    pixels = ds.pixel_array if "PixelData" in ds else np.frombuffer(ds.FloatPixelData, "<f4") > 0.99
    pixels = pixels.reshape(-1, ds.Rows, ds.Columns)
    for groups, mask in zip(ds.PerFrameFunctionalGroupsSequence, pixels, strict=True):
        tracking = ""
        if "SegmentIdentificationSequence" in groups:
            number = groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber
            tracking = str(ds.SegmentSequence[number - 1].get("TrackingUID", ""))
            if not tracking:
                continue  # an organ
        (source,) = groups.DerivationImageSequence[0].SourceImageSequence
        for part in _parts(mask):
            y, x = ndimage.center_of_mass(part)
            frame = int(source.get("ReferencedFrameNumber", 0) or 0)
            here = _own_place(ds, groups, float(x), float(y))
            yield Place(str(source.ReferencedSOPInstanceUID), frame, float(x), float(y), tracking, here)


def _parts(mask: NDArray[np.generic]) -> Iterator[NDArray[np.bool_]]:
    labels, count = ndimage.label(mask, np.ones((3, 3), bool))
    yield from (labels == number for number in range(1, count + 1))


def _own_place(ds: Dataset, groups: Dataset, x: float, y: float) -> tuple[float, ...] | None:
    if "PlanePositionSequence" not in groups:
        return None
    (shared,) = ds.SharedFunctionalGroupsSequence
    image = _image(ds, 0, shared.PixelMeasuresSequence[0], shared.PlaneOrientationSequence[0],
                   groups.PlanePositionSequence[0])  # fmt: skip
    return tuple(float(value) for value in image.millimetres(x, y))


def pictures(ds: Dataset) -> Iterator[tuple[Dataset, NDArray[np.uint8]]]:
    """(the item of Source Image Sequence, the picture) of each frame of a secondary capture."""
    frames = ds.pixel_array if "NumberOfFrames" in ds else ds.pixel_array[None]
    yield from zip(ds.SourceImageSequence, frames, strict=True)


def red_places(ds: Dataset) -> Iterator[Place]:
    """The middle, between its ends, of each patch of strong heat in a secondary capture: numbers and crosses over it do
    not move its ends. Its right eighth, where the scale stands, is not looked at; a patch has at least 25 pixels."""
    for source, picture in pictures(ds):
        red = picture[..., 0].astype(int) - picture[..., 1:].max(axis=2) > 45
        red[:, red.shape[1] * 7 // 8 :] = False
        labels, _ = ndimage.label(ndimage.binary_closing(np.pad(red, 8), iterations=3)[8:-8, 8:-8])
        for number, (down, right) in enumerate(ndimage.find_objects(labels), start=1):
            if (labels == number).sum() >= 25:
                x, y = (right.start + right.stop - 1) / 2, (down.start + down.stop - 1) / 2
                frame = int(source.get("ReferencedFrameNumber", 0) or 0)
                yield Place(str(source.ReferencedSOPInstanceUID), frame, x, y)
