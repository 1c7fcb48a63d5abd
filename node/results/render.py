"""Pictures of a result: film, lung contours, heat, numbered centres, scale and words. It is given no header at all, so
no identifying text can reach a pixel. Coordinates as in ``models.api``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from models.api import RESEARCH_USE_ONLY, FloatImage, ImageInput, Lesion, LungField, Prediction, SliceFinding

Grey = NDArray[np.uint8]
RGB = NDArray[np.uint8]
LUNG_WINDOW = (-600.0, 1500.0)  # centre and width in HU
CONTOUR, CENTRE = (64, 224, 96), (255, 255, 255)
STRONGEST = 0.55  # opacity of heat 1; heat 0 is transparent


def heat_map(image: ImageInput, lungs: LungField | None, prediction: Prediction) -> RGB:
    """(row, column, 3) in the matrix of the source."""
    contours = lungs.contours if lungs is not None else ()
    return _picture(grey(image), prediction.heat, contours, prediction.lesions, words(prediction, prediction.heat))


def slice_heat_map(voxels: FloatImage, found: SliceFinding, slices: int, prediction: Prediction) -> RGB:
    """One slice in the lung window with its heat. voxels: (row, column) HU. ``slices``: of the volume."""
    top, bottom = words(prediction, found.heat)
    lines = [*top, f"slice {found.index + 1} of {slices}, from the feet"]
    return _picture(windowed(voxels), found.heat, (), found.lesions, (lines, bottom))


def _picture(
    film: Grey,
    heat: FloatImage | None,
    contours: Sequence[NDArray[np.float32]],
    lesions: Sequence[Lesion],
    lines: tuple[list[str], list[str]],
) -> RGB:
    picture = Image.fromarray(_overlay(film, heat))
    pen = ImageDraw.Draw(picture)
    unit = max(1.0, min(film.shape) / 512)  # one screen pixel of a 512 film
    for contour in contours:
        pen.line([(float(x), float(y)) for x, y in contour], fill=CONTOUR, width=max(1, round(1.5 * unit)))
    for lesion in lesions:
        _centre(pen, lesion.centre_px, str(lesion.number), unit)
    _words(picture, pen, lines, unit)
    if heat is not None:
        _scale(picture, pen, unit)
    return np.asarray(picture)


def grey(image: ImageInput) -> Grey:
    """The film as it is shown, 8 bit."""
    low, high = float(image.pixels.min()), float(image.pixels.max())
    return np.asarray(np.rint(255 * (image.pixels - low) / max(high - low, 1e-9)), dtype=np.uint8)


def windowed(voxels: FloatImage) -> Grey:
    """A slice in the lung window, 8 bit."""
    centre, width = LUNG_WINDOW
    return np.asarray(np.rint(255 * np.clip((voxels - centre) / width + 0.5, 0, 1)), dtype=np.uint8)


def jet(values: FloatImage) -> NDArray[np.float32]:
    """(..., 3) in 0..255 for values in 0..1; the same curve as the pseudo-colour of the systems."""
    return np.asarray(255 * np.clip(1.5 - np.abs(4 * values[..., None] - np.array([3, 2, 1])), 0, 1), dtype=np.float32)


def _overlay(film: Grey, heat: FloatImage | None) -> RGB:
    colour = np.repeat(film[..., None], 3, axis=2).astype(np.float32)
    if heat is None:
        return colour.astype(np.uint8)
    opacity = (STRONGEST * np.clip(heat, 0, 1))[..., None]
    return np.asarray(np.rint(colour * (1 - opacity) + jet(heat) * opacity), dtype=np.uint8)


def _centre(pen: ImageDraw.ImageDraw, centre: tuple[float, float], label: str, unit: float) -> None:
    x, y = centre
    arm, gap, width = 9 * unit, 3 * unit, max(1, round(unit))
    for dx, dy in ((1, 0), (-1, 0), (0, 1), (0, -1)):
        ends = [(x + dx * gap, y + dy * gap), (x + dx * arm, y + dy * arm)]
        pen.line(ends, fill="black", width=width + 2)
        pen.line(ends, fill=CENTRE, width=width)
    pen.text(
        (x + 7 * unit, y - 7 * unit), label, CENTRE, _font(13 * unit), "ls", stroke_width=width, stroke_fill="black"
    )


def _font(size: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(max(8.0, size))


def words(prediction: Prediction, heat: FloatImage | None) -> tuple[list[str], list[str]]:
    """(lines at the top, lines at the bottom) of a picture of this heat"""
    model = prediction.model
    decided = next(score for score in prediction.scores if score.decision)
    top = [f"{model.name}, version {model.version}", f"{decided.name}  p = {decided.probability:.2f}"]
    if prediction.heat_class and prediction.heat_class != prediction.decided_class:
        shown = next(score for score in prediction.scores if score.name == prediction.heat_class)
        found = "heat shown" if heat is not None and heat.any() else "no heat found"
        top.append(f"{found} for {shown.name}  p = {shown.probability:.2f} (not decided)")
    return top, [RESEARCH_USE_ONLY]


def _words(picture: Image.Image, pen: ImageDraw.ImageDraw, lines: tuple[list[str], list[str]], unit: float) -> None:
    top, bottom = lines
    margin = 8 * unit
    y = margin
    for number, line in enumerate(top):
        font = _fitting(pen, line, (17 if number == 1 else 13) * unit, picture.width - 2 * margin)
        y = _line(pen, (margin, y), line, font, unit)
    font = _fitting(pen, bottom[0], 13 * unit, picture.width - 2 * margin)
    _line(pen, (margin, picture.height - margin - 16 * unit), bottom[0], font, unit)


def _fitting(
    pen: ImageDraw.ImageDraw, line: str, size: float, room: float
) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The font, smaller where the line would leave the picture."""
    length = pen.textlength(line, _font(size))
    return _font(size if length <= room else size * room / length)


def _line(
    pen: ImageDraw.ImageDraw,
    place: tuple[float, float],
    line: str,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    unit: float,
) -> float:
    """One line of text on a dark plate; returns where the next begins."""
    left, top, right, bottom = pen.textbbox(place, line, font)
    pad = 2 * unit
    pen.rectangle((left - pad, top - pad, right + pad, bottom + pad), fill=(0, 0, 0))
    pen.text(place, line, "white", font)
    return float(bottom + 3 * pad)


def _scale(picture: Image.Image, pen: ImageDraw.ImageDraw, unit: float) -> None:
    """The colour scale at the right edge: heat 0 to 1."""
    height, width = int(picture.height * 0.3), max(6, round(10 * unit))
    left, top = picture.width - width - round(10 * unit), (picture.height - height) // 2
    ramp = np.linspace(1, 0, height, dtype=np.float32)[:, None]
    picture.paste(Image.fromarray(np.repeat(jet(ramp), width, axis=1).astype(np.uint8)), (left, top))
    pen.rectangle((left - 1, top - 1, left + width, top + height), outline="white")
    font = _font(11 * unit)
    for text, y, anchor in (("1", top, "rm"), ("heat", top + height / 2, "rm"), ("0", top + height, "rm")):
        pen.text(
            (left - 4 * unit, y), text, "white", font, anchor, stroke_width=max(1, round(unit)), stroke_fill="black"
        )
