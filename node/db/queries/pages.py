"""Pages of a resource by keyset: each begins after the last row of the one before, by the order's column and the row's
number. So rows that come in between are never a reason to see another one twice, or not at all, and the hundredth page
costs what the first does.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Label, Select, literal, select, tuple_
from sqlalchemy.orm import Session

from node.core.filters import BadFilter
from node.core.tabular import Column, Row
from node.db.queries.fields import Resource
from node.db.queries.scope import conditions

USUAL, MOST = 100, 10_000  # rows of a page
TYPES: dict[str, type] = {"time": datetime, "number": float, "count": int}  # of the columns that order a page


@dataclass(frozen=True)
class Page:
    """next: the cursor of the page after this one; None: this is the last, as far as is known now."""

    columns: tuple[Column, ...]
    rows: list[Row]
    next: str | None


@dataclass(frozen=True)
class _Order:
    name: str
    descending: bool

    @property
    def text(self) -> str:
        return f"-{self.name}" if self.descending else self.name


def orders(resource: Resource) -> tuple[str, ...]:
    """What ``sort`` may be, the usual one first."""
    return tuple(sign + name for name in resource.sorts for sign in ("-", ""))


def page(
    session: Session,
    resource: Resource,
    wanted: Mapping[str, Any],
    sort: str = "",
    limit: int = USUAL,
    cursor: str = "",
) -> Page:
    """wanted: values of ``core.filters.parse``; cursor: ``next`` of a page with the same filters and order."""
    order = _order(resource, sort)
    by, key = resource.sorts[order.name], resource.id
    which = select(key.label("id"), by.label("at")).where(*conditions(session, resource, wanted, by.key))
    if cursor:
        kind = next(one.kind for one in resource.columns if one.name == order.name)
        at, number = _opened(cursor, order, TYPES[kind])
        last = tuple_(literal(at, by.type), literal(number))
        which = which.where(tuple_(by, key) < last if order.descending else tuple_(by, key) > last)
    ways = (by.desc(), key.desc()) if order.descending else (by, key)
    chosen = which.order_by(*ways).limit(limit + 1).subquery()
    shown = resource.shown(
        select(chosen.c.at, key.label("row_id"), *_labels(resource)).join_from(
            chosen, resource.fact, chosen.c.id == key
        )
    )
    found = [tuple(row) for row in session.execute(shown.order_by(*ways))]
    more = _closed(order, *found[limit - 1][:2]) if len(found) > limit else None
    return Page(resource.columns, [row[2:] for row in found[:limit]], more)


def every(
    session: Session, resource: Resource, wanted: Mapping[str, Any], sort: str = "", most: int | None = None
) -> Iterator[Row]:
    """All rows, or ``most`` of them, page by page."""
    cursor: str | None = ""
    while cursor is not None and most != 0:
        found = page(session, resource, wanted, sort, MOST if most is None else min(MOST, most), cursor)
        yield from found.rows
        cursor, most = found.next, None if most is None else most - len(found.rows)


def whole(resource: Resource) -> Select[Any]:
    """All rows without a filter or an order, as a view shows them."""
    return resource.shown(select(*_labels(resource)).select_from(resource.fact))


def _labels(resource: Resource) -> list[Label[Any]]:
    return [one.sql.label(one.column.name) for one in resource.fields]


def _order(resource: Resource, sort: str) -> _Order:
    known = orders(resource)
    text = sort or known[0]
    if text not in known:
        raise BadFilter("sort", f"sort: {sort!r} is none of {', '.join(known)}")
    return _Order(text.lstrip("-"), text.startswith("-"))


def _closed(order: _Order, at: Any, number: int) -> str:
    value = at.isoformat() if isinstance(at, datetime) else at
    return base64.urlsafe_b64encode(json.dumps([order.text, value, number]).encode()).decode().rstrip("=")


def _opened(cursor: str, order: _Order, kind: type) -> tuple[Any, int]:
    """kind: of the values of the order's column."""
    try:
        text, at, number = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        at = datetime.fromisoformat(at) if kind is datetime else at
        if text != order.text or type(at) is not kind or type(number) is not int or not 0 <= number < 2**63:
            raise ValueError
        if isinstance(at, datetime):
            at = at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
    except (ValueError, TypeError, OverflowError, RecursionError):
        raise BadFilter("cursor", "cursor: it is not one that a page in this order gave") from None
    return at, number
