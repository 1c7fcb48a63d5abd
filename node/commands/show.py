"""Records as text: a table for people, JSON and CSV for programs. Times are ISO 8601 in UTC."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Sequence
from typing import Any, Literal

from rich.console import Console
from rich.table import Table

from node.core.tabular import Row, as_csv, as_json, plain, printable

Format = Literal["table", "json", "csv"]
WIDEST = 1000  # a record is one line: `less -S` and `grep` do better with it than with a folded one
FIELD_NAMES = {"class_name": "class"}  # a Python keyword cannot be a field


def render(records: Sequence[object], kind: type[Any], form: Format, short: Sequence[str] = ()) -> str:
    """Dataclass records of one ``kind`` in one of three forms. ``short``: the columns of the table; empty for all."""
    fields = [field.name for field in dataclasses.fields(kind)]
    rows = [[getattr(record, name) for name in fields] for record in records]
    return text([FIELD_NAMES.get(name, name) for name in fields], rows, form, short)


def text(names: Sequence[str], rows: Sequence[Row], form: Format, short: Sequence[str] = ()) -> str:
    """Rows of named columns in one of three forms."""
    if form == "json":
        return as_json(names, rows)
    if form == "csv":
        return as_csv(names, rows).rstrip("\n")
    return _table(list(short) or list(names), [dict(zip(names, map(plain, row), strict=True)) for row in rows])


def _table(names: list[str], rows: list[dict[str, object]]) -> str:
    table = Table(box=None, pad_edge=False)
    for name in names:
        table.add_column(name, no_wrap=True, justify="right" if _numeric(rows, name) else "left")
    for row in rows:
        table.add_row(*(_cell(row[name]) for name in names))
    text = io.StringIO()
    Console(file=text, width=WIDEST, highlight=False, markup=False).print(table)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines())


def _numeric(rows: list[dict[str, object]], name: str) -> bool:
    return bool(rows) and isinstance(rows[0][name], (int, float)) and not isinstance(rows[0][name], bool)


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return _number(value) if isinstance(value, float) else printable(str(value))


def _number(value: float) -> str:
    """Shares with three places, larger values with one."""
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"
