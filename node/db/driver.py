"""Statements for the few that run for every object that is received: rendered once, run on the driver's own cursor.

SQLAlchemy's way to run a statement costs several times what SQLite takes for it. Values are bound as their columns say;
what comes back is as the driver gives it, so that only columns of text and whole numbers are asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from sqlalchemy import Connection, Dialect, Executable
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.compiler import SQLCompiler

Values = Mapping[str, object]
Bound = Callable[[Values], Sequence[Any] | Mapping[str, Any]]  # as the driver wants them


class Rendered:
    """``statement`` with named values. columns: those that an insert sets; further ones keep their defaults."""

    def __init__(self, statement: Executable, columns: Sequence[str] | None = None) -> None:
        self._statement, self._columns = statement, columns
        self._of: dict[str, tuple[str, Bound]] = {}  # by name of the dialect

    def run(self, connection: Connection, values: Values) -> Any:
        """In the transaction of ``connection``; the driver's cursor. Errors are SQLAlchemy's."""
        cursor, dialect = connection.connection.cursor(), connection.dialect
        text, bound = self._rendered(dialect)
        driver_error = dialect.loaded_dbapi.Error
        try:
            cursor.execute(text, bound(values))
        except driver_error as error:
            raise DBAPIError.instance(text, None, error, driver_error, hide_parameters=True, dialect=dialect) from error
        return cursor

    def _rendered(self, dialect: Dialect) -> tuple[str, Bound]:
        found = self._of.get(dialect.name)
        if found is None:
            compiled = self._statement.compile(dialect=dialect, column_keys=self._columns)  # type: ignore[attr-defined]
            found = self._of[dialect.name] = (compiled.string, _binding(compiled, dialect))
        return found


def _binding(compiled: SQLCompiler, dialect: Dialect) -> Bound:
    """Named values as the driver wants them: in order where it counts them, each made ready as its type says."""
    ready = {
        name: bind.type.dialect_impl(dialect).bind_processor(dialect) or _as_it_is
        for name, bind in compiled.binds.items()
    }
    usual = {column.key: cast(Any, column.default).arg for column in compiled.insert_prefetch}
    names = compiled.positiontup

    def named(values: Values) -> dict[str, object]:
        return {name: make(values[name] if name in values else usual[name]) for name, make in ready.items()}

    def in_order(values: Values) -> tuple[object, ...]:
        found = named(values)
        return tuple(found[name] for name in names or ())

    return named if names is None else in_order


def _as_it_is(value: object) -> object:
    return value
