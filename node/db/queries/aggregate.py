"""Counts and mean probabilities of results by day, system, version, class and sender: drift at a glance.

Reads every result that the filters leave, so it costs what they leave; a range of time keeps it quick.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import SQLColumnExpression, String, case, cast, func, select
from sqlalchemy.orm import Session

from node.core.filters import BadFilter
from node.core.tabular import Column, Row
from node.db.queries.fields import past_indexes
from node.db.queries.pages import Page
from node.db.queries.resources import RESULTS
from node.db.queries.scope import conditions
from node.db.tables import Finding

MOST = 10_000  # groups
GROUPS: dict[str, tuple[Column, SQLColumnExpression[Any]]] = {
    "day": (Column("day", "text", "day of the analysis, UTC", "2026-01-05"),
            func.substr(cast(Finding.analysed_at, String), 1, 10)),
    "system": (Column("system", "text", "system that judged", "cxnet"), Finding.system.expression),
    "version": (Column("version", "text", "version of its model", "1.0.0"), Finding.model_version.expression),
    "class": (Column("class", "text", "class that was judged", "covid19"), Finding.class_name.expression),
    "calling_aet": (Column("calling_aet", "text", "AE title that sent the image", "CR_ROOM_2"),
                    Finding.calling_aet.expression),
}  # fmt: skip
MEASURES = (
    (Column("count", "count", "results", 118), func.count()),
    (Column("decided", "count", "those where the system decided for the class", 37),
     func.sum(case((Finding.decision.is_(True), 1), else_=0))),
    (Column("mean_probability", "number", "mean of their probabilities", 0.42), func.avg(Finding.probability)),
)  # fmt: skip
USUAL = ("day", "system", "class")
FILTERS = RESULTS.filters


def columns(by: tuple[str, ...]) -> tuple[Column, ...]:
    return (*(GROUPS[name][0] for name in by), *(column for column, _ in MEASURES))


def parse(text: str) -> tuple[str, ...]:
    """Names of groups, parted by commas; BadFilter for what is none."""
    by = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip())) or USUAL
    for name in by:
        if name not in GROUPS:
            raise BadFilter("by", f"by: {name!r} is none of {', '.join(GROUPS)}")
    return by


def aggregate(session: Session, wanted: Mapping[str, Any], by: tuple[str, ...]) -> Page:
    """One row for each group, in their order. wanted: values of ``core.filters.parse``, by FILTERS."""
    groups = [past_indexes(GROUPS[name][1]) for name in by]  # else SQLite reads all in their order, not what is recent
    statement = (
        select(*groups, *(sql for _, sql in MEASURES))
        .select_from(Finding)
        .where(*conditions(session, RESULTS, wanted))
        .group_by(*groups)
        .order_by(*groups)
        .limit(MOST + 1)
    )
    rows: list[Row] = [(*row[:-1], float(row[-1])) for row in session.execute(statement)]
    if len(rows) > MOST:
        raise BadFilter("by", f"by: there are more than {MOST} groups; give a shorter time or fewer names")
    return Page(columns(by), rows, None)
