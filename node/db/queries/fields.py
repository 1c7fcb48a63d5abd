"""What a resource is made of: a table of facts, columns with what they mean, filters and orders.

``resources`` declares them; ``pages``, ``scope``, ``aggregate``, ``views`` and the web's OpenAPI ask by them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, SQLColumnExpression, func
from sqlalchemy.orm import InstrumentedAttribute

from node.core.tabular import Column
from node.db.tables import Base

Condition = ColumnElement[bool]
Join = Callable[[Select[Any]], Select[Any]]


def past_indexes(column: SQLColumnExpression[Any]) -> Any:
    """The same value, which no index offers."""
    return func.coalesce(column, column)


@dataclass(frozen=True)
class Field:
    column: Column
    sql: SQLColumnExpression[Any]


@dataclass(frozen=True)
class Resource:
    """fact: the table whose rows are counted. time: of since and until. sorts: the default first.

    of_studies: that a row is of one of these studies, given as ids or as a query of ids. analysis_id: of the row, where
    it can be asked what became of its analysis. superseded: that the row's analysis is.
    """

    name: str
    meaning: str
    fact: type[Base]
    fields: tuple[Field, ...]
    filters: tuple[str, ...]
    plain: Mapping[str, Callable[[Any], Condition]]
    time: InstrumentedAttribute[Any]
    sorts: Mapping[str, InstrumentedAttribute[Any]]
    shown: Join
    short: tuple[str, ...]  # columns of a table for people
    of_studies: Callable[[Any], Condition] | None = None
    analysis_id: SQLColumnExpression[int] | None = None
    superseded: Condition | None = None
    probability: InstrumentedAttribute[Any] | None = None
    as_time: Callable[[datetime], Any] = lambda at: at  # how the time column has it

    @property
    def id(self) -> InstrumentedAttribute[Any]:
        found: InstrumentedAttribute[Any] = self.fact.id  # type: ignore[attr-defined]
        return found

    @property
    def columns(self) -> tuple[Column, ...]:
        return tuple(one.column for one in self.fields)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(one.column.name for one in self.fields)


def field(
    name: str, kind: str, meaning: str, example: Any, sql: SQLColumnExpression[Any], optional: bool = False
) -> Field:
    return Field(Column(name, kind, meaning, example, optional), sql)
