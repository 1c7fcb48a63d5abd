"""One picture for a person: the film that was sent beside the heat maps that the PACS received."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from pydicom import dcmread
from pydicom.uid import MultiFrameTrueColorSecondaryCaptureImageStorage, SecondaryCaptureImageStorage

from node.core.errors import Refused
from node.pipeline.film import load_film

PANEL = 760  # pixels, side of one panel
CAPTION = 44
PICTURES = (SecondaryCaptureImageStorage, MultiFrameTrueColorSecondaryCaptureImageStorage)


def draw(film: Path, received: list[Path], target: Path) -> Path | None:
    """Write the picture; None when the PACS received no heat map."""
    panels = [("Sent to the node", _film(film))]
    for path in received:
        data = dcmread(path)
        if data.SOPClassUID in PICTURES:
            panels.append((f"Back at the PACS: {data.SeriesDescription}", Image.fromarray(data.pixel_array)))
    if len(panels) == 1:
        return None
    sheet = Image.new("RGB", (PANEL * len(panels), PANEL + CAPTION), "black")
    for column, (caption, picture) in enumerate(panels):
        _place(sheet, caption, picture, column * PANEL)
    sheet.save(target)
    return target


def _film(path: Path) -> Image.Image:
    try:
        pixels = load_film(path)[1].pixels
    except Refused:
        return Image.new("L", (PANEL, PANEL))
    low, high = float(pixels.min()), float(pixels.max())
    return Image.fromarray(np.uint8(255 * (pixels - low) / max(high - low, 1e-6)))


def _place(sheet: Image.Image, caption: str, picture: Image.Image, left: int) -> None:
    picture = picture.convert("RGB")
    picture.thumbnail((PANEL - 8, PANEL - 8), Image.Resampling.LANCZOS)
    sheet.paste(picture, (left + (PANEL - picture.width) // 2, CAPTION + (PANEL - picture.height) // 2))
    font = ImageFont.load_default(22)
    pen = ImageDraw.Draw(sheet)
    while caption and pen.textlength(caption, font) > PANEL - 24:
        caption = caption[:-2].rstrip() + "…" if not caption.endswith("…") else caption[:-3].rstrip() + "…"
    pen.text((left + 12, CAPTION // 2), caption, fill="white", font=font, anchor="lm")
