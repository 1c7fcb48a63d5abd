"""Pictures of a result: film, lung contours, heat, numbered centres, scale and words. It is given no header at all, so
no identifying text can reach a pixel. Coordinates as in ``models.api``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from models.api import (
    RESEARCH_USE_ONLY,
    ClassScore,
    FloatImage,
    ImageInput,
    Lesion,
    LungField,
    Prediction,
    SliceFinding,
)
from node.results import lettering

Grey = NDArray[np.uint8]
RGB = NDArray[np.uint8]
LUNG_WINDOW = (-600.0, 1500.0)  # centre and width in HU
CONTOUR, CENTRE = (64, 224, 96), (255, 255, 255)
LEAST_FOR_ALL_WORDS = 200  # pixels; smaller pictures would be covered by words and bear the class and p alone
STRONGEST = 0.55  # opacity of heat 1; heat 0 is transparent
JET_PEAKS = (3, 2, 1)  # of red, green and blue, in quarters of the way from heat 0 to 1
UNDER_SCALE = 110  # the grey that the scale's colours lie on, about that of a lung with its vessels


@dataclass(frozen=True)
class _Overlay:
    """What lies over a film or a slice. contours: closed polygons (n, 2) of x, y."""

    heat: FloatImage | None = None
    contours: Sequence[NDArray[np.float32]] = ()
    lesions: Sequence[Lesion] = ()


def heat_map(image: ImageInput, lungs: LungField | None, prediction: Prediction) -> RGB:
    """(row, column, 3) in the matrix of the source."""
    return _worded(film(image, lungs, prediction), words(prediction, prediction.heat), prediction.heat is not None)


def slice_heat_map(voxels: FloatImage, found: SliceFinding, slices: int, prediction: Prediction) -> RGB:
    """A key slice in the lung window with its heat. voxels: (row, column) HU. ``slices``: of the volume."""
    top, bottom = words(prediction, found.heat)
    return _worded(ct_slice(voxels, found), ([*top, _place(found, slices)], bottom), found.heat is not None)


def stack_slice(voxels: FloatImage, found: SliceFinding, slices: int, prediction: Prediction) -> RGB:
    """Any slice, with what the system says of this one."""
    explained = prediction.heat_class or prediction.decided_class
    place = [score.name for score in prediction.scores].index(explained)
    top = [
        _model(prediction),
        f"{explained}  p = {found.probabilities[place]:.2f} in this slice",
        f"series: {_decided(prediction)}",
        _place(found, slices) + (", key slice" if found.key else ""),
        *(["no heat was made for this slice"] if found.heat is None else []),
    ]
    return _worded(ct_slice(voxels, found), (top, [RESEARCH_USE_ONLY]), found.heat is not None)


def film(image: ImageInput, lungs: LungField | None, prediction: Prediction, bold: float = 1.0) -> Image.Image:
    """Without words; ``bold``: how many times as large as usual the marks are, for a picture that will be reduced."""
    contours = lungs.contours if lungs is not None else ()
    return _drawn(grey(image), _Overlay(prediction.heat, contours, prediction.lesions), bold)


def ct_slice(voxels: FloatImage, found: SliceFinding, bold: float = 1.0) -> Image.Image:
    """Likewise, in the lung window."""
    return _drawn(windowed(voxels), _Overlay(found.heat, (), found.lesions), bold)


def _drawn(picture: Grey, over: _Overlay, bold: float) -> Image.Image:
    found = _heated(picture, over.heat)
    pen, unit = ImageDraw.Draw(found), bold * _unit(found)
    for contour in over.contours:
        pen.line([(float(x), float(y)) for x, y in contour], fill=CONTOUR, width=max(1, round(1.5 * unit)))
    for lesion in over.lesions:
        _centre(pen, lesion.centre_px, str(lesion.number), unit, found.width)
    return found


def _unit(picture: Image.Image) -> float:
    """One screen pixel of a picture of 512: lines and letters grow with the picture, since screens show it whole."""
    return max(1.0, min(picture.size) / 512)


def grey(image: ImageInput) -> Grey:
    """The film as it is shown, 8 bit."""
    low, high = float(image.pixels.min()), float(image.pixels.max())
    shown = image.pixels - low
    shown *= 255  # in place, as below: a new array for each step costs more than the step
    shown /= max(high - low, 1e-9)
    return np.asarray(np.rint(shown, out=shown), dtype=np.uint8)


def windowed(voxels: FloatImage) -> Grey:
    """A slice in the lung window, 8 bit."""
    centre, width = LUNG_WINDOW
    return np.asarray(np.rint(255 * np.clip((voxels - centre) / width + 0.5, 0, 1)), dtype=np.uint8)


def jet(values: FloatImage) -> NDArray[np.float32]:
    """(..., 3) in 0..255 for values in 0..1; the same curve as the pseudo-colour of the systems."""
    return np.stack([_jet(values, peak) for peak in JET_PEAKS], axis=-1)


def _jet(values: FloatImage, peak: int) -> NDArray[np.float32]:
    """One colour. peak: in quarters of the way from 0 to 1."""
    colour = 4 * values - np.float32(peak)
    np.abs(colour, out=colour)
    np.subtract(1.5, colour, out=colour)
    np.clip(colour, 0, 1, out=colour)
    colour *= 255
    return colour


def _heated(picture: Grey, heat: FloatImage | None) -> Image.Image:
    """In colour. Only where there is heat is anything computed."""
    found = Image.fromarray(picture).convert("RGB")
    if heat is None or not (rows := np.flatnonzero(heat.any(axis=1))).size:
        return found
    top, bottom = int(rows[0]), int(rows[-1]) + 1
    columns = np.flatnonzero(heat[top:bottom].any(axis=0))
    left, right = int(columns[0]), int(columns[-1]) + 1
    here = np.s_[top:bottom, left:right]
    found.paste(Image.fromarray(_blended(picture[here].astype(np.float32), heat[here])), (left, top))
    return found


def _blended(below: FloatImage, heat: FloatImage) -> RGB:
    value = np.clip(heat, 0, 1).astype(np.float32, copy=False)
    opacity = STRONGEST * value
    seen_through = below * (1 - opacity)
    made = np.empty((*value.shape, 3), np.uint8)
    for channel, peak in enumerate(JET_PEAKS):
        colour = _jet(value, peak)
        colour *= opacity
        colour += seen_through
        made[..., channel] = np.rint(colour, out=colour)
    return made


def _centre(pen: ImageDraw.ImageDraw, centre: tuple[float, float], label: str, unit: float, width: int) -> None:
    """A cross open in the middle; its number to the right, or to the left where the picture ends."""
    x, y = centre
    arm, gap, line = 9 * unit, 3 * unit, max(1, round(unit))
    for dx, dy in ((1, 0), (-1, 0), (0, 1), (0, -1)):
        ends = [(x + dx * gap, y + dy * gap), (x + dx * arm, y + dy * arm)]
        pen.line(ends, fill="black", width=line + 2)
        pen.line(ends, fill=CENTRE, width=line)
    size, side = 13 * unit, 7 * unit
    right = x + side + lettering.length(label, size) + line <= width
    above = max(y - side, size)
    lettering.outlined(pen, (x + side if right else x - side, above), label, size, "ls" if right else "rs")


def words(prediction: Prediction, heat: FloatImage | None) -> tuple[list[str], list[str]]:
    """(lines at the top, lines at the bottom) of a picture of this heat"""
    top = [_model(prediction), _decided(prediction)]
    if prediction.heat_class and prediction.heat_class != prediction.decided_class:
        shown = _score(prediction, prediction.heat_class)
        found = "heat shown" if heat is not None and heat.any() else "no heat found"
        top.append(f"{found} for {shown.name}  p = {shown.probability:.2f} (not decided)")
    return top, [RESEARCH_USE_ONLY]


def _place(found: SliceFinding, slices: int) -> str:
    return f"slice {found.index + 1} of {slices}, from the feet"


def _model(prediction: Prediction) -> str:
    return f"{prediction.model.name}, version {prediction.model.version}"


def _decided(prediction: Prediction) -> str:
    decided = next(score for score in prediction.scores if score.decision)
    return f"{decided.name}  p = {decided.probability:.2f}"


def _score(prediction: Prediction, name: str) -> ClassScore:
    return next(score for score in prediction.scores if score.name == name)


def _worded(picture: Image.Image, lines: tuple[list[str], list[str]], scale: bool) -> RGB:
    """The picture with its words, the second line larger, and the scale where there is heat."""
    unit, (top, bottom) = _unit(picture), lines
    margin, pad = 8 * unit, 2 * unit
    sized = [(line, (17 if number == 1 else 13) * unit) for number, line in enumerate(top)]
    if min(picture.size) < LEAST_FOR_ALL_WORDS:
        sized, margin = [(top[1], lettering.SMALLEST)], pad
    lettering.plates(picture, sized, margin, pad)
    for line in bottom:
        lettering.plate_below(picture, line, 13 * unit, margin, pad)
    if scale:
        _scale(picture, unit)
    return np.asarray(picture)


def _scale(picture: Image.Image, unit: float) -> None:
    """The colours of heat 0 to 1 at the right edge, as they look over lung."""
    tall, wide = int(picture.height * 0.3), max(6, round(10 * unit))
    left, top = picture.width - wide - round(10 * unit), (picture.height - tall) // 2
    ramp = np.repeat(np.linspace(1, 0, tall, dtype=np.float32)[:, None], wide, axis=1)
    picture.paste(Image.fromarray(_blended(np.full_like(ramp, UNDER_SCALE), ramp)), (left, top))
    pen = ImageDraw.Draw(picture)
    pen.rectangle((left - 1, top - 1, left + wide, top + tall), outline="white")
    for text, y in (("1", top), ("heat", top + tall / 2), ("0", top + tall)):
        lettering.outlined(pen, (left - 4 * unit, y), text, 11 * unit, "rm")
