"""Reports and drift: what the systems said over some days, beside the days before, by system, class and sender.

A model that begins to say something else on the same kind of patients shows here first: the means and shares move.
Counts alone, nobody is named.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from markupsafe import Markup
from sqlalchemy.orm import Session
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from node.core.filters import BadFilter, parse
from node.db import worklist
from node.db.queries import aggregate
from node.db.session import Database
from node.web.pages import charts, words
from node.web.pages.charts import Axis, Line
from node.web.pages.site import Posted, Site

PERIODS = (7, 30, 90)
MARKS = 6  # dates below a chart


@dataclass(frozen=True)
class Compared:
    """One class of one system in this period and the one before; None where nothing was judged then."""

    class_name: str
    count: int
    mean: float
    share: float
    count_before: int
    mean_before: float | None
    share_before: float | None


@dataclass(frozen=True)
class SystemReport:
    system: str
    rows: tuple[Compared, ...]
    chart: Markup
    names: tuple[str, ...]  # of the chart's lines, in the order of their styles


@dataclass(frozen=True)
class Reports:
    site: Site
    database: Database
    clock: Callable[[], datetime]

    def routes(self) -> list[BaseRoute]:
        return [self.site.route("/reports", self._page, "figures")]

    def _page(self, request: Request, _: Posted) -> Response:
        days, sender = _asked(request.query_params)
        today = self.clock().replace(hour=0, minute=0, second=0, microsecond=0)
        begin, end = today - timedelta(days=days - 1), today + timedelta(days=1)
        of = {"calling_aet": sender} if sender else {}
        with self.database.read() as session:
            before = _rows(session, {"since": begin - timedelta(days=days), "until": begin, **of}, ("system", "class"))
            daily = _rows(session, {"since": begin, "until": end, **of}, ("system", "class", "day"))
            senders = [row["calling_aet"] for row in _rows(session, {"since": begin, "until": end}, ("calling_aet",))]
            states = worklist.states(session)
        systems = [
            _system(system, _of(system, before), _of(system, daily), (begin, days))
            for system in dict.fromkeys(row["system"] for row in daily)
        ]
        return self.site.page(
            request,
            "reports.html",
            systems=systems,
            days=days,
            periods=PERIODS,
            sender=sender,
            senders=[one for one in dict.fromkeys((*senders, sender)) if one],
            states=states,
            begin=begin.date().isoformat(),
        )


def _asked(given: Mapping[str, str]) -> tuple[int, str]:
    days = given.get("days", str(PERIODS[1]))
    if days not in {str(one) for one in PERIODS}:
        raise HTTPException(400, f"There are reports of {', '.join(map(str, PERIODS))} days.")
    try:
        wanted = parse({"calling_aet": given["from"]} if given.get("from") else {}, ("calling_aet",))
    except BadFilter as error:
        raise HTTPException(400, str(error)) from None
    return int(days), wanted.get("calling_aet", "")


def _rows(session: Session, wanted: Mapping[str, Any], by: tuple[str, ...]) -> list[dict[str, Any]]:
    found = aggregate.aggregate(session, wanted, by)
    names = [column.name for column in found.columns]
    return [dict(zip(names, row, strict=True)) for row in found.rows]


def _of(system: str, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row for row in rows if row["system"] == system]


def _system(
    system: str, before: Sequence[dict[str, Any]], daily: Sequence[dict[str, Any]], period: tuple[datetime, int]
) -> SystemReport:
    classes = list(dict.fromkeys(row["class"] for row in daily))
    then = {row["class"]: row for row in before}
    rows = tuple(_compared(name, [row for row in daily if row["class"] == name], then.get(name)) for name in classes)
    return SystemReport(system, rows, _chart(system, classes, daily, period), tuple(map(words.class_name, classes)))


def _compared(name: str, days: Sequence[Mapping[str, Any]], before: Mapping[str, Any] | None) -> Compared:
    count = sum(row["count"] for row in days)
    return Compared(
        name,
        count,
        sum(row["count"] * row["mean_probability"] for row in days) / count,
        sum(row["decided"] for row in days) / count,
        before["count"] if before else 0,
        before["mean_probability"] if before else None,
        before["decided"] / before["count"] if before else None,
    )


def _chart(
    system: str, classes: Sequence[str], daily: Sequence[dict[str, Any]], period: tuple[datetime, int]
) -> Markup:
    """The mean probability of each class on each day."""
    begin, days = period
    places = {(begin + timedelta(days=at)).date().isoformat(): at for at in range(days)}
    lines = [
        Line(words.class_name(name), f"line-{number}", _points(daily, name, places))
        for number, name in enumerate(classes, start=1)
    ]
    step = max(1, days // MARKS)
    marks = [(float(at), day[5:]) for day, at in places.items() if at % step == 0]
    return charts.lines(f"Mean probability by day, {system}", lines, Axis(0, days - 1, marks, "day, UTC"))


def _points(daily: Sequence[dict[str, Any]], name: str, places: Mapping[str, int]) -> tuple[tuple[float, float], ...]:
    found = [(float(places[row["day"]]), row["mean_probability"]) for row in daily
             if row["class"] == name and row["day"] in places]  # fmt: skip
    return tuple(sorted(found))
