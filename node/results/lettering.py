"""Words on pictures, in the font that comes with Pillow, so that every machine draws the same pixels.

It is given text and pictures and no header, and knows nothing of what it writes. Sizes and places are in pixels.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import cache

from PIL import Image, ImageDraw, ImageFont

Font = ImageFont.FreeTypeFont
SMALLEST = 9.0  # below it letters run together; longer lines are wrapped instead
PLATE = 0.6  # opacity of the black under words: what lies below, such as a side marker, can still be seen
SPELT = {  # what the font lacks and our texts and units use
    "≥": ">=", "≤": "<=", "µ": "u", "μ": "u", "²": "2", "³": "3", "–": "-", "—": "-", "−": "-", "×": "x", "→": "->",
    "•": "·", "\u00a0": " ", "ß": "ss", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "æ": "ae", "Æ": "AE", "đ": "d",
}  # fmt: skip
UNKNOWN = "?"


@cache
def font(size: float) -> Font:
    found = ImageFont.load_default(size)
    if not isinstance(found, Font):
        raise RuntimeError("this Pillow was built without FreeType and cannot write at a given size")
    return found


@cache
def _has(letter: str) -> bool:
    """Whether the font can draw the letter; else it would draw the box that stands for all it lacks."""
    sample = font(24.0)
    return letter == " " or bytes(sample.getmask(letter)) != bytes(sample.getmask("\uffff"))


def drawable(text: str) -> str:
    """The text in letters of the font: spelt otherwise, without accents, or a question mark."""
    return "".join(_drawable(letter) for letter in " ".join(text.split()))


@cache
def _drawable(letter: str) -> str:
    plain = SPELT.get(letter, letter)
    if not all(_has(one) for one in plain):
        plain = "".join(one for one in unicodedata.normalize("NFKD", letter) if not unicodedata.combining(one))
    return "".join(one if _has(one) else UNKNOWN for one in plain)


def length(line: str, size: float) -> float:
    return font(size).getlength(line)


def wrapped(text: str, size: float, room: float) -> list[str]:
    """The text in lines no longer than ``room``; a word that is longer alone is broken."""
    whole, lines = drawable(text), [""]
    if length(whole, size) <= room:  # most texts are short, and every measure takes as long as the text
        return [whole]
    for word in whole.split(" "):
        longer = f"{lines[-1]} {word}".strip()
        if length(longer, size) <= room:
            lines[-1] = longer
            continue
        pieces = _broken(word, size, room)
        lines = [*lines, *pieces] if lines[-1] else [*lines[:-1], *pieces]
    return lines


def _broken(word: str, size: float, room: float) -> list[str]:
    pieces = [""]
    for letter in word:
        if pieces[-1] and length(pieces[-1] + letter, size) > room:
            pieces.append("")
        pieces[-1] += letter
    return pieces


def fitting(line: str, size: float, room: float) -> tuple[list[str], float]:
    """The line and a size at which it fits: smaller down to ``SMALLEST``, then in several lines."""
    line = drawable(line)
    needed = length(line, size)
    if needed <= room:
        return [line], size
    smaller = max(SMALLEST, size * room / needed)
    return wrapped(line, smaller, room), smaller


def height(size: float) -> int:
    """Of a line with its distance to the next."""
    ascent, descent = font(size).getmetrics()
    return ascent + descent


def plates(picture: Image.Image, lines: Sequence[tuple[str, float]], margin: float, pad: float) -> None:
    """Lines (text, size) from the top left corner down, white on darkened plates."""
    y = margin
    for text, size in lines:
        y = _plates(picture, text, size, (margin, y), pad)


def plate_below(picture: Image.Image, text: str, size: float, margin: float, pad: float) -> None:
    """One text in the bottom left corner."""
    lines, smaller = fitting(text, size, picture.width - 2 * margin)
    step = height(smaller) + 2 * pad
    _plates(picture, text, size, (margin, max(0, picture.height - margin - step * len(lines) + 2 * pad)), pad)


def _plates(picture: Image.Image, text: str, size: float, place: tuple[float, float], pad: float) -> float:
    """Returns where the next line begins. A line below the picture's edge is left out."""
    x, y = place
    lines, smaller = fitting(text, size, picture.width - 2 * x)
    for line in lines:
        if y + height(smaller) > picture.height:
            break
        right, bottom = x + length(line, smaller), y + height(smaller)
        _darken(picture, (round(x - pad), round(y - pad), round(right + pad), round(bottom + pad)))
        ImageDraw.Draw(picture).text((x, y), line, "white", font(smaller))
        y = bottom + 2 * pad
    return y


def _darken(picture: Image.Image, box: tuple[int, int, int, int]) -> None:
    left, top, right, bottom = box
    inside = (max(0, left), max(0, top), min(picture.width, right), min(picture.height, bottom))
    below = picture.crop(inside)
    picture.paste(Image.blend(below, Image.new("RGB", below.size), PLATE), inside)


def outlined(pen: ImageDraw.ImageDraw, place: tuple[float, float], text: str, size: float, anchor: str) -> None:
    """White letters with a black edge, legible on any ground."""
    edge = max(1, round(size / 12))
    pen.text(place, text, "white", font(size), anchor, stroke_width=edge, stroke_fill="black")
