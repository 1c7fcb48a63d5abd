"""Presentation states (PS3.3 A.33.1): lung contours and foci that a reader can switch on over the source image itself.

One for each system and film, and for each system and CT series over its key slices. Colour films have
none: the IOD is for grey images. Applying one leaves the grey values as they were (``appearance``).
Points count from the corner of the first pixel (PS3.3 C.10.5.1.2), ours from its centre: half a pixel is added.
highdicom makes the marks; the modules around them are written here, since its class knows neither frames, nor pixels
that are not square, nor look-up tables of 12 bits.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from highdicom.color import CIELabColor
from highdicom.pr import GraphicLayer, GraphicObject, TextObject
from numpy.typing import ArrayLike, NDArray
from pydicom import Dataset
from pydicom.uid import GrayscaleSoftcopyPresentationStateStorage

from models.api import FloatImage, Lesion, Prediction, SliceFinding
from node.results import appearance, common, foci, render
from node.results.record import AnalysisRecord, BuiltObject, ImageOutcome, SeriesOutcome
from node.results.references import frame_of, image_key

LAYERS = {  # name, in the order of drawing -> description, colour
    "LUNGS": ("Lung contours", render.CONTOUR),
    "FOCI": ("Where the model looked", (255, 208, 64)),
    "NOTICE": ("What the model says", (255, 255, 255)),
}
MOST_POINTS = 4096  # of one line: its coordinates must fit the 65534 bytes of an FL (PS3.5 section 7.1.2)
TEXT_BOX = (0.02, 0.02, 0.65, 0.24)  # left, top, right, bottom as shares of the image
LABEL_SIDE = 0.04  # of the box of a number, as a share of the shorter side
LONGEST_TEXT = 1024  # ST


@dataclass(frozen=True)
class _Shown:
    """A film or a slice with its marks. header: as received. values: its least and greatest modality value."""

    header: Dataset
    canvas: foci.Canvas
    contours: tuple[NDArray[np.float32], ...]
    lesions: tuple[Lesion, ...]
    heat: FloatImage | None
    values: tuple[float, float]

    @property
    def frame(self) -> int:
        """Of a multi-frame object, from 1; 0 where the image is an object of its own."""
        return frame_of(self.header)


def states(record: AnalysisRecord) -> Iterator[BuiltObject]:
    for number, shown in enumerate(_all(record), start=1):
        yield _state(record, shown, number)


def _all(record: AnalysisRecord) -> Iterator[list[_Shown]]:
    """The images of each presentation state."""
    for image in record.images:
        if appearance.is_grey(image.header):
            yield from ([_of_film(image, prediction)] for prediction in image.predictions)
    for outcome in record.series:
        for prediction in outcome.predictions:
            slices = [found for found in prediction.slices if found.key]
            yield from _alike(_of_slice(outcome, prediction, found) for found in slices)


def _of_film(outcome: ImageOutcome, prediction: Prediction) -> _Shown:
    pixels = outcome.image.pixels
    return _Shown(
        header=outcome.header,
        canvas=foci.Canvas(outcome.source, outcome.image.shape, prediction),
        contours=outcome.lungs.contours if outcome.lungs else (),
        lesions=prediction.lesions,
        heat=prediction.heat,
        values=(float(pixels.min()), float(pixels.max())),
    )


def _of_slice(outcome: SeriesOutcome, prediction: Prediction, found: SliceFinding) -> _Shown:
    """``values`` are those of the volume, so that slices without a window are all as bright."""
    voxels, header = outcome.volume.voxels, outcome.headers[found.index]
    rows, columns = voxels.shape[1:]
    return _Shown(
        header=header,
        canvas=foci.Canvas(outcome.sources[found.index], (rows, columns), prediction),
        contours=(),
        lesions=found.lesions,
        heat=found.heat,
        values=(float(voxels.min()), float(voxels.max())),
    )


def _alike(images: Iterable[_Shown]) -> list[list[_Shown]]:
    """Those that share a Modality LUT, of which a presentation state has but one."""
    found: list[tuple[Dataset, list[_Shown]]] = []
    for shown in images:
        lut = appearance.modality_lut(shown.header)
        group = next((group for other, group in found if other == lut), None)
        if group is None:
            found.append((lut, [shown]))
        else:
            group.append(shown)
    return [group for _, group in found]


def _state(record: AnalysisRecord, images: Sequence[_Shown], number: int) -> BuiltObject:
    first = images[0]
    source, system = first.canvas.source, first.canvas.system
    keys = [part for shown in images for part in image_key(shown.header)]
    uid, series = common.instance_uid(record, "pr", system, *keys), common.series_uid(record, "pr")
    ds = Dataset()
    common.finish(ds, record, source, GrayscaleSoftcopyPresentationStateStorage, uid, series)
    ds.Modality, ds.BodyPartExamined = "PR", "CHEST"  # an unpaired part: without it Laterality (2C) would be missing
    ds.SeriesNumber, ds.InstanceNumber = common.series_number(record, "pr"), number
    ds.SeriesDescription = "AI marks (not for diagnosis)"
    ds.ContentLabel, ds.ContentCreatorName = "AI MARKS", ""
    ds.ContentDescription = f"AI marks of {system} (not for diagnosis)"[:64]
    ds.PresentationCreationDate, ds.PresentationCreationTime = common.stamp(record, source)
    del ds.ContentDate, ds.ContentTime  # not of this IOD
    ds.ReferencedSeriesSequence = [_series(images)]
    _appearance(ds, images)
    _marks(ds, images)
    return common.encode(ds, "pr")


def _appearance(ds: Dataset, images: Sequence[_Shown]) -> None:
    header = images[0].header
    ds.update(appearance.modality_lut(header))
    ds.SoftcopyVOILUTSequence = _windows(images)
    ds.PresentationLUTShape = appearance.sense(header)
    ds.DisplayedAreaSelectionSequence = [appearance.displayed_area(header, images[0].canvas.shape)]


def _windows(images: Sequence[_Shown]) -> list[Dataset]:
    """One item for each window, with the images that it is for where there are several."""
    found: list[tuple[Dataset, list[_Shown]]] = []
    for shown in images:
        item = appearance.voi_lut(shown.header, shown.values)
        group = next((group for other, group in found if other == item), None)
        if group is None:
            found.append((item, [shown]))
        else:
            group.append(shown)
    if len(found) == 1:
        return [found[0][0]]
    for item, group in found:
        item.ReferencedImageSequence = _references(group)
    return [item for item, _ in found]


def _series(images: Sequence[_Shown]) -> Dataset:
    item = Dataset()
    item.SeriesInstanceUID = images[0].canvas.source.SeriesInstanceUID
    item.ReferencedImageSequence = _references(images)
    return item


def _references(images: Sequence[_Shown]) -> list[Dataset]:
    """An item for each object, with the frames of it (PS3.3 Table 10-3)."""
    found: dict[str, Dataset] = {}
    for shown in images:
        source = shown.canvas.source
        item = found.setdefault(source.SOPInstanceUID, Dataset())
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = source.SOPClassUID, source.SOPInstanceUID
        if shown.frame:
            frames = item.get("ReferencedFrameNumber") or []
            item.ReferencedFrameNumber = [*(frames if isinstance(frames, Sequence) else [frames]), shown.frame]
    return list(found.values())


def _marks(ds: Dataset, images: Sequence[_Shown]) -> None:
    """Graphic Annotation and Graphic Layer Modules (PS3.3 C.10.5, C.10.7)."""
    drawn = [mark for shown in images for mark in _annotations(shown)]
    used = {item.GraphicLayer for item in drawn}
    ds.GraphicAnnotationSequence = drawn
    ds.GraphicLayerSequence = []
    for order, (name, (description, colour)) in enumerate(LAYERS.items(), start=1):
        if name in used:
            layer = GraphicLayer(name, order, description, CIELabColor.from_rgb(*colour))
            layer.GraphicLayerRecommendedDisplayGrayscaleValue = 0xFFFF
            ds.GraphicLayerSequence.append(layer)


def _annotations(shown: _Shown) -> Iterator[Dataset]:
    lines = [_line(shown, contour) for contour in shown.contours if len(contour) > 1]
    if lines:
        yield _annotation(shown, "LUNGS", lines, [])
    marks = [mark for lesion in shown.lesions for mark in _focus(shown, lesion)]
    if marks:
        yield _annotation(shown, "FOCI", marks, [_number(shown, lesion) for lesion in shown.lesions])
    yield _annotation(shown, "NOTICE", [], [_notice(shown)])


def _annotation(shown: _Shown, layer: str, graphics: list[GraphicObject], texts: list[TextObject]) -> Dataset:
    item = Dataset()
    item.ReferencedImageSequence, item.GraphicLayer = _references([shown]), layer
    if texts:
        item.TextObjectSequence = texts
    if graphics:
        item.GraphicObjectSequence = graphics
    return item


def _focus(shown: _Shown, lesion: Lesion) -> Iterator[GraphicObject]:
    """Its centre and outline, under the tracking identifier that the reports give it."""
    name, uid = f"{shown.canvas.system} focus {lesion.number}", foci.tracking_uid(shown.canvas, lesion)
    yield GraphicObject("POINT", _inside(shown, [lesion.centre_px]), "PIXEL", tracking_id=name, tracking_uid=uid)
    if len(lesion.outline_px) > 1:
        yield _line(shown, lesion.outline_px, name, uid)


def _line(shown: _Shown, points: ArrayLike, name: str | None = None, uid: str | None = None) -> GraphicObject:
    return GraphicObject("POLYLINE", _thinned(_inside(shown, points)), "PIXEL", tracking_id=name, tracking_uid=uid)


def _inside(shown: _Shown, points: ArrayLike) -> NDArray[np.float64]:
    """(n, 2) of x, y from the corner of the first pixel, kept inside the image."""
    rows, columns = shown.canvas.shape
    return np.clip(np.asarray(points, np.float64).reshape(-1, 2) + 0.5, 0, (columns, rows))


def _thinned(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Without points on a straight line; then every second, third ... where there are still too many. Ends stay."""
    before, after = points[1:-1] - points[:-2], points[2:] - points[1:-1]
    turns = (before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]) | ((before * after).sum(axis=1) < 0)
    kept = points[np.concatenate([[True], turns, [True]])]
    step = -(-len(kept) // MOST_POINTS)
    return kept if step == 1 else np.concatenate([kept[:-1:step], kept[-1:]])


def _number(shown: _Shown, lesion: Lesion) -> TextObject:
    """Right above the centre, or as near as the image allows."""
    rows, columns = shown.canvas.shape
    x, y = _inside(shown, [lesion.centre_px])[0]
    side = LABEL_SIDE * min(rows, columns)
    left, top = min(x + side / 2, columns - side), max(y - 1.5 * side, 0.0)
    box = (float(left), float(top), float(left + side), float(top + side))
    point = (float(x), float(y))
    return TextObject(str(lesion.number), "PIXEL", box, point, text_justification="LEFT", anchor_point_visible=False)


def _notice(shown: _Shown) -> TextObject:
    """Class, probability and the limits of use, at the top left of the image."""
    rows, columns = shown.canvas.shape
    top, bottom = render.words(shown.canvas.prediction, shown.heat)
    left, upper, right, lower = TEXT_BOX
    box = (left * columns, upper * rows, right * columns, lower * rows)
    return TextObject("\r\n".join([*bottom, *top])[:LONGEST_TEXT], "PIXEL", box, text_justification="LEFT")
