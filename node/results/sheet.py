"""A page of words, tables and small pictures, black on white. It is given texts and pictures, no header and no record.

Sizes are chosen so that the page is legible where a PACS fits it to a screen of 1080 rows: 0.6 screen pixels for one
of the page. What has no room is left out from the end and counted in a last sentence, never silently.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from node.results import lettering

RGB = NDArray[np.uint8]
WIDTH, HEIGHT, MARGIN, GAP = 1240, 1754, 56, 14  # A4 at 150 dpi
TITLE, HEADING, BODY, SMALL = 38.0, 26.0, 21.0, 18.0
TALLEST, MOST_FIGURES = 430, 4
CUT_ROOM = 2 * 24  # for the sentence of what is left out, two lines of the small size
INK, FAINT, BAR = (0, 0, 0), (70, 70, 70), (150, 0, 0)


@dataclass(frozen=True)
class Row:
    """One line of a table, its cells wrapped, with a smaller line below it."""

    cells: tuple[str, ...]
    small: str = ""


@dataclass(frozen=True)
class Section:
    """columns: widths as shares of the page. noun: what its rows are called where some are left out, in the plural."""

    title: str
    noun: str
    rows: tuple[Row, ...]
    columns: tuple[float, ...] = (1.0,)
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Figure:
    """caption: lines."""

    picture: RGB
    caption: tuple[str, ...]


@dataclass(frozen=True)
class Sheet:
    """warning: stands below the title on a bar, foot: at the end of the page; neither is ever cut. main: before the
    figures, rest: after them."""

    title: str
    warning: str
    lead: tuple[str, ...]
    main: tuple[Section, ...]
    figures: tuple[Figure, ...]
    rest: tuple[Section, ...]
    foot: tuple[str, ...]


@dataclass
class _Page:
    picture: Image.Image = field(default_factory=lambda: Image.new("RGB", (WIDTH, HEIGHT), "white"))
    y: float = MARGIN
    end: float = HEIGHT - MARGIN  # where the foot begins
    cut: dict[str, int] = field(default_factory=dict)  # noun -> how many are not shown

    @property
    def pen(self) -> ImageDraw.ImageDraw:
        return ImageDraw.Draw(self.picture)

    def write(self, text: str, size: float, colour: tuple[int, int, int] = INK) -> None:
        for line in lettering.wrapped(text, size, WIDTH - 2 * MARGIN):
            self.pen.text((MARGIN, self.y), line, colour, lettering.font(size))
            self.y += lettering.height(size)


def draw(sheet: Sheet) -> RGB:
    """(1754, 1240, 3)"""
    page = _Page()
    page.write(sheet.title, TITLE)
    _bar(page, sheet.warning)
    for line in sheet.lead:
        page.write(line, HEADING)
    _foot(page, sheet.foot)
    shown = sheet.figures[:MOST_FIGURES]
    _leave_out(page, "pictures", len(sheet.figures) - len(shown))
    for section in sheet.main:
        _section(page, section, keep=_figures_height(shown))
    _figures(page, shown)
    for section in sheet.rest:
        _section(page, section, keep=0)
    if page.cut:
        page.y = page.end - CUT_ROOM
        left = ", ".join(f"{noun} ({count})" for noun, count in page.cut.items())
        page.write(f"Left out for want of room: {left}.", SMALL)
    return np.asarray(page.picture)


def _bar(page: _Page, text: str) -> None:
    tall = lettering.height(HEADING) + GAP
    page.pen.rectangle((MARGIN, page.y + GAP, WIDTH - MARGIN, page.y + GAP + tall), fill=BAR)
    place = (MARGIN + GAP, page.y + GAP + tall / 2)
    page.pen.text(place, lettering.drawable(text), "white", lettering.font(HEADING), "lm")
    page.y += tall + 2 * GAP


def _foot(page: _Page, lines: Sequence[str]) -> None:
    """Written first, from the bottom up, so that what comes later cannot push it out."""
    wrapped = [part for line in lines for part in lettering.wrapped(line, SMALL, WIDTH - 2 * MARGIN)]
    top = HEIGHT - MARGIN - len(wrapped) * lettering.height(SMALL)
    for number, line in enumerate(wrapped):
        place = (MARGIN, top + number * lettering.height(SMALL))
        page.pen.text(place, line, INK, lettering.font(SMALL))
    page.pen.line((MARGIN, top - GAP, WIDTH - MARGIN, top - GAP), INK, 2)
    page.end = top - 2 * GAP


def _section(page: _Page, section: Section, keep: float) -> None:
    """Title, names of the columns, rows as far as there is room for them and for the sentence of what is left out."""
    if not section.rows:
        return
    limit = page.end - keep - CUT_ROOM
    head = GAP + lettering.height(HEADING) + (lettering.height(SMALL) if section.names else 0)
    if page.y + head + _row_height(section, section.rows[0]) > limit:
        _leave_out(page, section.noun, len(section.rows))
        return
    page.y += GAP
    page.write(section.title, HEADING)
    page.pen.line((MARGIN, page.y, WIDTH - MARGIN, page.y), INK, 1)
    if section.names:
        _cells(page, section, section.names, SMALL, FAINT)
    for number, row in enumerate(section.rows):
        if page.y + _row_height(section, row) > limit:
            _leave_out(page, section.noun, len(section.rows) - number)
            return
        _cells(page, section, row.cells, BODY, INK)
        if row.small:
            page.write(row.small, SMALL, FAINT)


def _leave_out(page: _Page, noun: str, count: int) -> None:
    if count:
        page.cut[noun] = page.cut.get(noun, 0) + count


def _columns(section: Section) -> list[tuple[float, float]]:
    """(left edge, room) of each"""
    inner, x = WIDTH - 2 * MARGIN, float(MARGIN)
    found = []
    for share in section.columns:
        found.append((x, share * inner - (GAP if len(section.columns) > 1 else 0)))
        x += share * inner
    return found


def _cells(page: _Page, section: Section, cells: Sequence[str], size: float, colour: tuple[int, int, int]) -> None:
    tallest = 0.0
    for (x, room), cell in zip(_columns(section), cells, strict=True):
        lines = lettering.wrapped(cell, size, room)
        for number, line in enumerate(lines):
            page.pen.text((x, page.y + number * lettering.height(size)), line, colour, lettering.font(size))
        tallest = max(tallest, len(lines) * lettering.height(size))
    page.y += tallest


def _row_height(section: Section, row: Row) -> float:
    rooms = [room for _, room in _columns(section)]
    lines = max(len(lettering.wrapped(cell, BODY, room)) for cell, room in zip(row.cells, rooms, strict=True))
    small = len(lettering.wrapped(row.small, SMALL, WIDTH - 2 * MARGIN)) if row.small else 0
    return lines * lettering.height(BODY) + small * lettering.height(SMALL)


def _sizes(figures: Sequence[Figure]) -> list[tuple[int, int]]:
    """(width, height) of each in one row: as tall as each other, no taller than ``TALLEST``, no wider than the page."""
    shapes = [figure.picture.shape[1] / figure.picture.shape[0] for figure in figures]
    room = WIDTH - 2 * MARGIN - GAP * (len(figures) - 1)
    tall = min(TALLEST, room / sum(shapes))
    return [(max(1, int(tall * shape)), max(1, int(tall))) for shape in shapes]


def _figures_height(figures: Sequence[Figure]) -> float:
    if not figures:
        return 0
    sizes = _sizes(figures)
    lines = max(len(_caption(figure, width)) for figure, (width, _) in zip(figures, sizes, strict=True))
    return sizes[0][1] + lines * lettering.height(SMALL) + GAP


def _caption(figure: Figure, width: int) -> list[str]:
    return [part for line in figure.caption for part in lettering.wrapped(line, SMALL, width)]


def _figures(page: _Page, figures: Sequence[Figure]) -> None:
    if not figures:
        return
    x, top = MARGIN, int(page.y + GAP)
    for figure, (width, tall) in zip(figures, _sizes(figures), strict=True):
        small = Image.fromarray(figure.picture).resize((width, tall), Image.Resampling.LANCZOS)
        page.picture.paste(small, (x, top))
        for number, line in enumerate(_caption(figure, width)):
            place = (x, top + tall + 2 + number * lettering.height(SMALL))
            page.pen.text(place, line, INK, lettering.font(SMALL))
        x += width + GAP
    page.y += _figures_height(figures)
