"""Heat, contours and outlines of an analysis as layers for the pages: small, and the same on every run.

Heat is reduced to at most ``HEAT_SIDE`` pixels a side, which is finer than any network's own map; polygons are those
of the reports, in pixels of the source (``models.api``), to a tenth.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator

import numpy as np
from PIL import Image

from models.api import FloatImage, Lesion, LungField
from node.db.layers import Layer
from node.results.record import AnalysisRecord, ImageOutcome, SeriesOutcome
from node.results.references import frame_of

HEAT_SIDE = 256
MOST_POINTS = 400  # of a contour; a lung at 2000 pixels has some 3000


def of(record: AnalysisRecord) -> Iterator[Layer]:
    for image in record.images:
        yield from _of_film(image)
    for series in record.series:
        yield from _of_series(series)


def _of_film(outcome: ImageOutcome) -> Iterator[Layer]:
    uid = outcome.image.uid
    if outcome.lungs is not None and len(outcome.lungs.contours):
        yield Layer(uid, 0, outcome.lungs.model.system, "contours", _contours(outcome.lungs))
    for prediction in outcome.predictions:
        yield from _over(uid, 0, prediction.model.system, prediction.heat, prediction.lesions)


def _of_series(outcome: SeriesOutcome) -> Iterator[Layer]:
    for prediction in outcome.predictions:
        for found in prediction.slices:
            frame = frame_of(outcome.headers[found.index])
            yield from _over(found.uid, frame, prediction.model.system, found.heat, found.lesions)


def _over(uid: str, frame: int, system: str, heat: FloatImage | None, lesions: Iterable[Lesion]) -> Iterator[Layer]:
    if heat is not None and heat.any():
        yield Layer(uid, frame, system, "heat", _png(heat))
    outlines = {str(lesion.number): _rounded(lesion.outline_px) for lesion in lesions if lesion.outline_px}
    if outlines:
        yield Layer(uid, frame, system, "outlines", json.dumps(outlines).encode())


def _png(heat: FloatImage) -> bytes:
    rows, columns = heat.shape
    scale = min(1.0, HEAT_SIDE / max(rows, columns))
    size = max(1, round(columns * scale)), max(1, round(rows * scale))
    picture = Image.fromarray(np.clip(heat, 0, 1).astype(np.float32)).resize(size, Image.Resampling.BOX)
    made = io.BytesIO()
    Image.fromarray(np.rint(255 * np.asarray(picture)).astype(np.uint8)).save(made, "PNG")
    return made.getvalue()


def _contours(lungs: LungField) -> bytes:
    thinned = [contour[:: max(1, len(contour) // MOST_POINTS)] for contour in lungs.contours]
    return json.dumps([_rounded(contour) for contour in thinned]).encode()


def _rounded(points: Iterable[Iterable[float]]) -> list[list[float]]:
    return [[round(float(value), 1) for value in point] for point in points]
