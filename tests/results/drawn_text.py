"""What is written into pictures, as it is written: text needs no reading back from pixels."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

from PIL import Image, ImageDraw

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Written:
    """A string, the size of its letters, where it lies (left, top, right, bottom), and the size of its picture."""

    text: str
    size: float
    box: Box
    picture: tuple[int, int]


@contextmanager
def watched() -> Iterator[list[Written]]:
    """The list grows with every string that Pillow draws."""
    found: list[Written] = []
    draw = ImageDraw.ImageDraw.text

    def text(self: ImageDraw.ImageDraw, xy: Any, text: str, fill: Any, font: Any, *rest: Any, **more: Any) -> None:
        anchor = rest[0] if rest else "la"
        box = self.textbbox(xy, text, font, anchor, stroke_width=more.get("stroke_width", 0))
        picture: Image.Image = self._image
        found.append(Written(text, font.size, box, picture.size))
        draw(self, xy, text, fill, font, *rest, **more)

    with mock.patch.object(ImageDraw.ImageDraw, "text", text):
        yield found


def inside(written: Written) -> bool:
    left, top, right, bottom = written.box
    width, height = written.picture
    return left >= 0 and top >= 0 and right <= width and bottom <= height


def overlapping(written: list[Written]) -> list[tuple[str, str]]:
    """Pairs of strings that are written over each other, a pixel of their boxes not counted."""
    return [
        (one.text, two.text)
        for number, one in enumerate(written)
        for two in written[:number]
        if min(one.box[2], two.box[2]) - max(one.box[0], two.box[0]) > 1
        and min(one.box[3], two.box[3]) - max(one.box[1], two.box[1]) > 1
    ]
