"""Plain SVG made on the server: bars of probabilities and lines over time or slices. Numbers in, markup out.

Colours and strokes come from the style sheet by class, so that they follow light and dark; nothing is styled inline.
What a chart shows stands beside it as numbers, or in its title, for those who do not see it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

BAR_WIDTH, BAR_HEIGHT = 200, 14
WIDE, TALL = 720, 220
LEFT, RIGHT, TOP, BOTTOM = 44, 12, 12, 30


@dataclass(frozen=True)
class Line:
    """points: (x, y) with x in the chart's own unit and y from 0 to 1; style: a class, ``line-1`` to ``line-6``."""

    name: str
    style: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Axis:
    """marks: (x, words)."""

    low: float
    high: float
    marks: Sequence[tuple[float, str]]
    name: str


def bar(probability: float, threshold: float, decision: bool) -> Markup:
    """A probability from 0 to 1 with its threshold; the number itself stands beside it."""
    wide, at = BAR_WIDTH * probability, BAR_WIDTH * threshold
    style = "bar decided" if decision else "bar"
    return Markup(
        f'<svg class="{style}" viewBox="0 0 {BAR_WIDTH} {BAR_HEIGHT}" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect class="rail" width="{BAR_WIDTH}" height="{BAR_HEIGHT}" rx="2"/>'
        f'<rect class="fill" width="{wide:.1f}" height="{BAR_HEIGHT}" rx="2"/>'
        f'<line class="threshold" x1="{at:.1f}" x2="{at:.1f}" y1="-2" y2="{BAR_HEIGHT + 2}"/></svg>'
    )


def lines(title: str, found: Sequence[Line], axis: Axis, threshold: float | None = None) -> Markup:
    """Lines from 0 to 1 over an axis; a point alone is a dot."""
    spread = (axis.high - axis.low) or 1.0

    def x(value: float) -> float:
        return LEFT + (WIDE - LEFT - RIGHT) * (value - axis.low) / spread

    def y(value: float) -> float:
        return TOP + (TALL - TOP - BOTTOM) * (1 - value)

    parts = [_grid(y), *(_mark(x(at), words) for at, words in axis.marks)]
    parts.append(_text((LEFT + WIDE - RIGHT) / 2, TALL - 2, axis.name, "middle"))
    if threshold is not None:
        parts.append(_line("threshold", LEFT, WIDE - RIGHT, y(threshold), y(threshold)))
    for one in found:
        parts.append(_drawn(one, [(x(a), y(b)) for a, b in one.points]))
    return Markup(
        f'<svg class="chart" viewBox="0 0 {WIDE} {TALL}" role="img" aria-label="{escape(title)}">{"".join(parts)}</svg>'
    )


def _drawn(line: Line, points: Sequence[tuple[float, float]]) -> str:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5"/>' for x, y in points) if len(points) <= 60 else ""
    return f'<g class="{line.style}"><title>{escape(line.name)}</title><polyline points="{path}"/>{dots}</g>'


def _grid(y: object) -> str:
    assert callable(y)
    shares = (0.0, 0.25, 0.5, 0.75, 1.0)
    return "".join(
        _line("grid", LEFT, WIDE - RIGHT, y(share), y(share)) + _text(LEFT - 6, y(share) + 4, f"{share:g}", "end")
        for share in shares
    )


def _mark(x: float, words: str) -> str:
    return _line("tick", x, x, TALL - BOTTOM, TALL - BOTTOM + 4) + _text(x, TALL - BOTTOM + 15, words, "middle")


def _line(style: str, x1: float, x2: float, y1: float, y2: float) -> str:
    return f'<line class="{style}" x1="{x1:.1f}" x2="{x2:.1f}" y1="{y1:.1f}" y2="{y2:.1f}"/>'


def _text(x: float, y: float, words: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'
