"""Statements that run for every object or every study: rendered once, run on the driver's own cursor.

SQLAlchemy's way to run a statement costs several times what SQLite takes for it. Values are bound, and rows are read,
as their columns say; of what is read only text, whole numbers, truth values and times. Lists in a condition are written
out, since nothing is rendered anew for their length.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, cast

from sqlalchemy import Connection, Dialect, Executable
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.compiler import SQLCompiler

Values = Mapping[str, object]
Row = tuple[Any, ...]
Bound = Callable[[Values], Sequence[Any] | Mapping[str, Any]]  # as the driver wants them
Read = Callable[[Sequence[Any]], Row]


class Rendered:
    """``statement`` with named values. columns: those that an insert sets; further ones keep their defaults."""

    def __init__(self, statement: Executable, columns: Sequence[str] | None = None) -> None:
        self._statement, self._columns = statement, columns
        self._of: dict[str, tuple[str, Bound, Read]] = {}  # by name of the dialect

    def run(self, connection: Connection, values: Values) -> Any:
        """In the transaction of ``connection``; the driver's cursor, whose rows are as the driver gives them. Errors
        are SQLAlchemy's."""
        text, bound, _ = self._rendered(connection.dialect)
        cursor = connection.connection.cursor()
        with _errors(connection.dialect, text):
            cursor.execute(text, bound(values))
        return cursor

    def rows(self, connection: Connection, values: Values) -> list[Row]:
        """What it selects or returns."""
        text, _, read = self._rendered(connection.dialect)
        cursor = self.run(connection, values)
        with _errors(connection.dialect, text):
            return [read(row) for row in cursor]

    def first(self, connection: Connection, values: Values) -> Row | None:
        """The first of the rows; None where there is none."""
        return next(iter(self.rows(connection, values)), None)

    def _rendered(self, dialect: Dialect) -> tuple[str, Bound, Read]:
        found = self._of.get(dialect.name)
        if found is None:
            compiled = self._statement.compile(dialect=dialect, column_keys=self._columns)  # type: ignore[attr-defined]
            found = compiled.string, _binding(compiled, dialect), _reading(self._statement, dialect)
            self._of[dialect.name] = found
        return found


@contextlib.contextmanager
def _errors(dialect: Dialect, text: str) -> Iterator[None]:
    driver_error = dialect.loaded_dbapi.Error
    try:
        yield
    except driver_error as error:
        raise DBAPIError.instance(text, None, error, driver_error, hide_parameters=True, dialect=dialect) from error


def _binding(compiled: SQLCompiler, dialect: Dialect) -> Bound:
    """Named values as the driver wants them: in order where it counts them, each made ready as its type says."""
    ready = {
        name: bind.type.dialect_impl(dialect).bind_processor(dialect) or _as_it_is
        for name, bind in compiled.binds.items()
    }
    usual = {name: bind.value for name, bind in compiled.binds.items() if not bind.required}
    usual |= {column.key: cast(Any, column.default).arg for column in compiled.insert_prefetch}
    names = compiled.positiontup

    def named(values: Values) -> dict[str, object]:
        return {name: make(values[name] if name in values else usual[name]) for name, make in ready.items()}

    def in_order(values: Values) -> tuple[object, ...]:
        found = named(values)
        return tuple(found[name] for name in names or ())

    return named if names is None else in_order


def _reading(statement: Executable, dialect: Dialect) -> Read:
    """A row as the driver gives it, as its columns say."""
    types = [column.type for column in getattr(statement, "exported_columns", ())]
    makes = [of.dialect_impl(dialect).result_processor(dialect, None) for of in types]
    if not any(makes):
        return tuple

    def read(row: Sequence[Any]) -> Row:
        return tuple(value if make is None else make(value) for make, value in zip(makes, row, strict=True))

    return read


def _as_it_is(value: object) -> object:
    return value
