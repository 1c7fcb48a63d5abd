"""What is segmented in a film or a CT series: lungs, heart, foci; as masks with their meaning. No DICOM object here.

Masks are (row, column) bool in the matrix of the image. A focus is the area inside its outline, of which the corners
count from pixel centres as in ``models.api``; one without an outline is a point and has no segment.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from highdicom.sr import CodedConcept

from models.api import Lesion, LungPart, Mask, ModelIdentity, VolumeField
from node.results import codes, foci, render
from node.results.record import ImageOutcome, SeriesOutcome

ON_EDGE = 1e-6  # of a pixel; nearer to the outline counts as inside
LEFT_COLOUR, HEART_COLOUR, FOCUS_COLOUR = (64, 176, 224), (224, 80, 80), (255, 208, 64)
SIDES = {
    LungPart.RIGHT: ("Right lung", codes.RIGHT, render.CONTOUR),
    LungPart.LEFT: ("Left lung", codes.LEFT, LEFT_COLOUR),
    LungPart.EITHER: ("Lung, side unknown", None, render.CONTOUR),
}


@dataclass(frozen=True)
class Segment:
    """planes: (number of the image, mask) of every image on which there is some of it, ascending.

    family: of algorithms (CID 7162). side: laterality, where it is known. tracking: identifier and UID, of a focus.
    """

    label: str
    category: CodedConcept
    kind: CodedConcept
    model: ModelIdentity
    family: CodedConcept
    colour: tuple[int, int, int]
    planes: Iterable[tuple[int, Mask]]
    side: CodedConcept | None = None
    site: CodedConcept | None = None
    tracking: tuple[str, str] | None = None
    description: str = ""


def of_film(outcome: ImageOutcome) -> list[Segment]:
    found = []
    lungs, heart = outcome.lungs, outcome.heart
    if lungs is not None and lungs.mask.any():
        found.append(_organ("Lungs", codes.LUNG, lungs.model, render.CONTOUR, lungs.mask))
    if heart is not None and heart.heart is not None and heart.heart.any():
        found.append(_organ("Heart", codes.HEART, heart.model, HEART_COLOUR, heart.heart))
    for prediction in outcome.predictions:
        canvas = foci.Canvas(outcome.source, outcome.image.shape, prediction)
        found += [_focus(canvas, lesion, 0) for lesion in prediction.lesions if lesion.outline_px]
    return found


def of_series(outcome: SeriesOutcome) -> list[Segment]:
    found = list(_lungs(outcome.lungs)) if outcome.lungs is not None else []
    rows, columns = outcome.volume.voxels.shape[1:]
    for prediction in outcome.predictions:
        for shown in (one for one in prediction.slices if one.lesions):
            canvas = foci.Canvas(outcome.sources[shown.index], (rows, columns), prediction)
            where = f", slice {shown.index + 1}"
            found += [_focus(canvas, lesion, shown.index, where) for lesion in shown.lesions if lesion.outline_px]
    return found


@dataclass(frozen=True)
class _Side:
    """The planes of a lung, made when they are asked for: those of a volume are many."""

    field: VolumeField
    part: LungPart

    def __iter__(self) -> Iterator[tuple[int, Mask]]:
        for number, plane in enumerate(self.field.parts):
            mask = np.asarray(plane == self.part)
            if mask.any():
                yield number, mask


def _lungs(field: VolumeField) -> Iterator[Segment]:
    """By density and shape: no artificial intelligence."""
    for part in sorted(LungPart(value) for value in np.unique(field.parts) if value):
        label, side, colour = SIDES[part]
        yield Segment(
            label, codes.ANATOMICAL_STRUCTURE, codes.LUNG, field.model, codes.MORPHOLOGICAL_OPERATIONS, colour,
            _Side(field, part), side,
        )  # fmt: skip


def _organ(
    label: str, kind: CodedConcept, model: ModelIdentity, colour: tuple[int, int, int], mask: Mask
) -> Segment:  # fmt: skip
    return Segment(
        label, codes.ANATOMICAL_STRUCTURE, kind, model, codes.ARTIFICIAL_INTELLIGENCE, colour, ((0, mask),)
    )  # fmt: skip


def _focus(canvas: foci.Canvas, lesion: Lesion, plane: int, where: str = "") -> Segment:
    """Coded as in the reports, under the same tracking identifier: where a model looked, not what disease is."""
    prediction = canvas.prediction
    return Segment(
        label=f"{foci.name(canvas, lesion)}{where}",
        category=codes.SPATIAL_CONCEPT,
        kind=codes.VISUAL_EXPLANATION,
        model=prediction.model,
        family=codes.ARTIFICIAL_INTELLIGENCE,
        colour=FOCUS_COLOUR,
        planes=((plane, filled(lesion, canvas.shape)),),
        site=codes.LUNG if lesion.inside_lung else None,
        tracking=(foci.name(canvas, lesion), foci.tracking_uid(canvas, lesion)),
        description=f"Where {prediction.model.name} looked for {prediction.heat_class}; no outline of disease.",
    )


def filled(lesion: Lesion, shape: tuple[int, int]) -> Mask:
    """Pixels whose centre lies inside the outline or on it; where there is none, the pixel nearest to the centre."""
    corners = np.array(lesion.outline_px, float)
    left, top = np.maximum(np.ceil(corners.min(axis=0) - ON_EDGE), 0).astype(int)
    right, bottom = np.minimum(np.floor(corners.max(axis=0) + ON_EDGE), (shape[1] - 1, shape[0] - 1)).astype(int)
    y, x = np.mgrid[top : bottom + 1, left : right + 1].astype(float)
    inside, on_edge = np.zeros(x.shape, np.bool_), np.zeros(x.shape, np.bool_)
    for (x0, y0), (x1, y1) in pairwise(corners):
        along_x, along_y, length = x1 - x0, y1 - y0, np.hypot(x1 - x0, y1 - y0)
        if along_y:
            inside ^= ((y0 > y) != (y1 > y)) & (x < x0 + (y - y0) * along_x / along_y)
        if length:
            share = np.clip(((x - x0) * along_x + (y - y0) * along_y) / length**2, 0, 1)
            on_edge |= np.hypot(x - x0 - share * along_x, y - y0 - share * along_y) < ON_EDGE
    mask = np.zeros(shape, np.bool_)
    mask[top : bottom + 1, left : right + 1] = inside | on_edge
    if not mask.any():
        mask[round(lesion.centre_px[1]), round(lesion.centre_px[0])] = True
    return mask
