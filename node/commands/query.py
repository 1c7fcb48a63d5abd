"""``lungnode query`` and ``lungnode grants``: stored results on the command line, by the filters that HTTP has.

The flags are made of ``core.filters``; values are parsed there. Rows go to standard output and nothing else does.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from node.commands.arguments import RESEARCH, count
from node.core import tabular
from node.core.filters import FILTERS, BadFilter, Filter, parse
from node.core.tabular import Column, Row

KINDS = {
    "lesions": "lesion centres",
    "analyses": "analyses, refusals included",
    "deliveries": "the delivery ledger",
    "audit": "the audit trail",
}
SWITCHES = ("superseded",)  # filters that are a flag without a value here


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    query = commands.add_parser("query", help="stored results", description=f"Stored results. {RESEARCH}")
    query.add_argument("--data", type=Path, required=True, metavar="DIR")
    kinds = query.add_mutually_exclusive_group()
    for name, meaning in KINDS.items():
        kinds.add_argument(f"--{name}", dest="what", action="store_const", const=name, help=meaning)
    words = "counts and mean probabilities of results (day,system,class; also version, calling_aet)"
    kinds.add_argument("--aggregate", dest="by", nargs="?", const=",", metavar="NAME,...", help=words)
    for one in FILTERS.values():
        if one.name in SWITCHES:
            query.add_argument(one.flag, action="store_true", help="superseded analyses too")
        else:
            query.add_argument(one.flag, type=_value(one), metavar=one.kind.upper(), help=one.meaning)
    query.add_argument("--sort", default="", metavar="COLUMN", help="--sort=-COLUMN: descending (oldest first)")
    query.add_argument("--limit", type=count, metavar="N", help="so many rows at most (all)")
    query.add_argument("--format", choices=("table", "json", "csv", "parquet"), default="table")
    query.set_defaults(run=_query, what="results")
    grants = commands.add_parser("grants", help="SQL for a PostgreSQL role that may read the views alone")
    grants.add_argument("role", metavar="ROLE")
    grants.set_defaults(run=_grants)


def _value(one: Filter) -> Any:
    """A type of argparse: checks the text and leaves it as it is."""

    def check(text: str) -> str:
        try:
            one.parse(text)
        except BadFilter as error:
            raise argparse.ArgumentTypeError(str(error)) from None
        return text

    return check


def _query(parsed: argparse.Namespace) -> int:
    from node.commands.asking import open_database
    from node.db.queries import aggregate, pages
    from node.db.queries.resources import RESOURCES

    given = {name: text for name in FILTERS if name not in SWITCHES and (text := getattr(parsed, name)) is not None}
    given |= {name: "yes" for name in SWITCHES if getattr(parsed, name)}
    database = open_database(parsed.data)
    with database.read() as session:
        if parsed.by:
            by, wanted = aggregate.parse(parsed.by), parse(given, aggregate.FILTERS)
            found = aggregate.aggregate(session, wanted, by)
            _say(found.columns, found.rows, parsed.format, ())
            return 0
        resource = RESOURCES[parsed.what]
        sort = parsed.sort or pages.orders(resource)[1]
        rows = pages.every(session, resource, parse(given, resource.filters), sort, parsed.limit)
        _say(resource.columns, list(rows), parsed.format, resource.short)
    return 0


def _say(columns: Sequence[Column], rows: Sequence[Row], form: Any, short: Sequence[str]) -> None:
    if form == "parquet":
        sys.stdout.buffer.write(tabular.as_parquet(columns, rows))
        sys.stdout.buffer.flush()
        return
    from node.commands import show

    sys.stdout.write(show.text([column.name for column in columns], rows, form, short) + "\n")


def _grants(parsed: argparse.Namespace) -> int:
    from node.db.queries import views

    sys.stdout.write(views.grants(parsed.role))
    return 0
