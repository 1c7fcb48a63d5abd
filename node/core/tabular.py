"""Rows of named columns as JSON, CSV and Parquet. Times are ISO 8601 in UTC; a CSV does no harm in a spreadsheet."""

from __future__ import annotations

import csv
import importlib
import importlib.util
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from node.core.errors import Misconfigured

KINDS = ("text", "uid", "count", "number", "truth", "time")
NO_PARQUET = "Parquet needs pyarrow, which is not installed: pip install 'lungnode[parquet]'"
Row = Sequence[Any]


@dataclass(frozen=True)
class Column:
    """kind: one of KINDS; optional: may be empty."""

    name: str
    kind: str
    meaning: str
    example: Any
    optional: bool = False


def plain(value: object) -> object:
    return value.isoformat(timespec="milliseconds") if isinstance(value, datetime) else value


def as_objects(names: Sequence[str], rows: Iterable[Row]) -> list[dict[str, object]]:
    return [dict(zip(names, map(plain, row), strict=True)) for row in rows]


def as_json(names: Sequence[str], rows: Iterable[Row]) -> str:
    return json.dumps(as_objects(names, rows), indent=2, ensure_ascii=False)


def as_csv(names: Sequence[str], rows: Iterable[Row]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([_harmless(plain(value)) for value in row] for row in rows)
    return text.getvalue()


def _harmless(value: object) -> object:
    """A text that a spreadsheet would run as a formula gets an apostrophe in front."""
    if not isinstance(value, str):
        return value
    text = printable(value)
    return f"'{text}" if text.lstrip()[:1] in ("=", "+", "-", "@") else text


def printable(text: str) -> str:
    """Control characters, which a sender may have put into an identifier, would steer the reader's terminal."""
    return "".join(character if character.isprintable() else "\ufffd" for character in text)


def has_parquet() -> bool:
    return importlib.util.find_spec("pyarrow") is not None


def as_parquet(columns: Sequence[Column], rows: Sequence[Row]) -> bytes:
    """One row group; every column has the type of its kind, whatever the rows hold."""
    if not has_parquet():
        raise Misconfigured(NO_PARQUET)
    arrow, parquet = importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    types = {
        "count": arrow.int64(),
        "number": arrow.float64(),
        "truth": arrow.bool_(),
        "time": arrow.timestamp("us", tz="UTC"),
    }
    fields = [arrow.field(one.name, types.get(one.kind, arrow.string()), nullable=one.optional) for one in columns]
    values = list(zip(*rows, strict=True)) if rows else [()] * len(columns)
    arrays = [arrow.array(column, field.type) for column, field in zip(values, fields, strict=True)]
    out = io.BytesIO()
    parquet.write_table(arrow.Table.from_arrays(arrays, schema=arrow.schema(fields)), out)
    return out.getvalue()
