"""Records as text: a table for people, JSON and CSV for programs. Times are ISO 8601 in UTC."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

from rich.console import Console
from rich.table import Table

Format = Literal["table", "json", "csv"]
WIDEST = 1000  # a record is one line: `less -S` and `grep` do better with it than with a folded one
FIELD_NAMES = {"class_name": "class"}  # a Python keyword cannot be a field


def render(records: Sequence[object], kind: type[Any], form: Format, short: Sequence[str] = ()) -> str:
    """Dataclass records of one ``kind`` in one of three forms. ``short``: the columns of the table; empty for all."""
    fields = [field.name for field in dataclasses.fields(kind)]
    rows = [{FIELD_NAMES.get(name, name): _plain(getattr(record, name)) for name in fields} for record in records]
    names = [FIELD_NAMES.get(name, name) for name in fields]
    if form == "json":
        return json.dumps(rows, indent=2, ensure_ascii=False)
    if form == "csv":
        return _csv(names, rows)
    return _table(list(short) or names, rows)


def _plain(value: object) -> object:
    return value.isoformat(timespec="milliseconds") if isinstance(value, datetime) else value


def _csv(names: list[str], rows: list[dict[str, object]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _harmless(value) for name, value in row.items()} for row in rows)
    return text.getvalue().rstrip("\n")


def _harmless(value: object) -> object:
    """A text that a spreadsheet would run as a formula gets an apostrophe in front."""
    if not isinstance(value, str):
        return value
    text = _printable(value)
    return f"'{text}" if text[:1] in ("=", "+", "-", "@") else text


def _printable(text: str) -> str:
    """Control characters, which a sender may have put into an identifier, would steer the reader's terminal."""
    return "".join(character if character.isprintable() else "\ufffd" for character in text)


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
    return _number(value) if isinstance(value, float) else _printable(str(value))


def _number(value: float) -> str:
    """Shares with three places, larger values with one."""
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"
