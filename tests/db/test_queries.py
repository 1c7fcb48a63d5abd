"""Pages of stored results on SQLite and on PostgreSQL: every filter against plain Python, paging while rows are added.

Not covered: HTTP (tests/web/test_api.py), speed (python -m tests.bench.queries).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine, insert, select, text
from sqlalchemy.exc import DBAPIError

from node.commands.query import KINDS
from node.core.filters import FILTERS, BadFilter, parse
from node.db import schema, verdicts
from node.db.queries import aggregate, pages, scope, views
from node.db.queries.resources import RESOURCES, RESULTS
from node.db.session import Database, sqlite_url
from node.db.tables import Finding
from tests.bench import ledger
from tests.postgres import Postgres

COUNT = 600  # findings, of 50 analyses
AT = datetime(2026, 1, 1, tzinfo=UTC)
Rows = list[dict[str, Any]]


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    if request.param == "sqlite":
        made = Database(sqlite_url(tmp_path_factory.mktemp("queries")), durable=False)
    else:
        made = request.getfixturevalue("postgres").database()
    ledger.fill(made, COUNT)
    with made.write() as session:
        for number, word in ((2, "agree"), (5, "disagree"), (6, "disagree"), (9, "unsure")):
            verdicts.give(session, number, verdicts.Verdict("reader-1", word, "", AT))
    yield made
    made.close()


def asked(database: Database, name: str, filters: dict[str, str], sort: str = "", step: int = 37) -> Rows:
    """All rows of a question, page by page."""
    resource = RESOURCES[name]
    found: Rows = []
    cursor: str | None = ""
    while cursor is not None:
        with database.read() as session:
            page = pages.page(session, resource, parse(filters, resource.filters), sort, step, cursor)
        assert len(page.rows) <= step
        found += [dict(zip(resource.names, row, strict=True)) for row in page.rows]
        cursor = page.next
    return found


MEANS: dict[str, Callable[[dict[str, Any], str], bool]] = {
    "since": lambda row, value: bool(row["analysed_at"] >= datetime.fromisoformat(value)),
    "until": lambda row, value: bool(row["analysed_at"] < datetime.fromisoformat(value)),
    "study": lambda row, value: bool(row["study_uid"] == value),
    "patient_id": lambda row, value: bool(row["patient_id"] == value),
    "accession": lambda row, value: bool(row["accession"] == value),
    "modality": lambda row, value: bool(row["modality"] == value),
    "calling_aet": lambda row, value: bool(row["calling_aet"] == value),
    "system": lambda row, value: bool(row["system"] == value),
    "version": lambda row, value: bool(row["model_version"] == value),
    "class": lambda row, value: bool(row["class"] == value),
    "min_probability": lambda row, value: bool(row["probability"] >= float(value)),
    "max_probability": lambda row, value: bool(row["probability"] <= float(value)),
    "decision": lambda row, value: bool(row["decision"] == (value == "yes")),
    "delivered": lambda row, value: (row["analysis_id"] == 5) == (value == "no"),
    "verdict": lambda row, value: {2: "agree", 5: "disagree", 6: "disagree", 9: "unsure"}.get(
        row["analysis_id"], "none"
    ) == value,
}  # fmt: skip
TIMES = st.integers(0, 100).map(lambda minutes: (ledger.BEGAN + timedelta(minutes=minutes)).isoformat())
SHARES = st.integers(0, 100).map(lambda share: f"{share / 100}")
VALUES = {
    "since": TIMES, "until": TIMES,
    "study": st.integers(0, 51).map(ledger.uid), "patient_id": st.integers(0, 18).map("P-{}".format),
    "accession": st.integers(0, 51).map("A-{}".format), "modality": st.sampled_from(["CT", "DX", "MR"]),
    "calling_aet": st.sampled_from(["RARE", "CR_ROOM_1", "CR_ROOM_2"]), "system": st.sampled_from(ledger.SYSTEMS),
    "version": st.sampled_from(["1.0.0", "1.1.0"]), "class": st.sampled_from(ledger.CLASSES),
    "min_probability": SHARES, "max_probability": SHARES, "decision": st.sampled_from(["yes", "no"]),
    "delivered": st.sampled_from(["yes", "no"]), "verdict": st.sampled_from(["agree", "disagree", "unsure", "none"]),
}  # fmt: skip
ORDERS = {"analysed_at": ("analysed_at", "id"), "probability": ("probability", "id")}


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.sampled_from(sorted(VALUES)), max_size=4, unique=True).flatmap(
        lambda names: st.fixed_dictionaries({name: VALUES[name] for name in names})
    ),
    st.sampled_from(pages.orders(RESULTS)),
)
def test_every_filter_means_what_it_says(database: Database, filters: dict[str, str], sort: str) -> None:
    everything = [row for row in asked(database, "results", {"superseded": "yes"}) if not row["superseded"]]
    wanted = [row for row in everything if all(MEANS[name](row, value) for name, value in filters.items())]
    keys = ORDERS[sort.lstrip("-")]
    wanted.sort(key=lambda row: tuple(row[key] for key in keys), reverse=sort.startswith("-"))
    assert asked(database, "results", filters, sort) == wanted


@pytest.mark.parametrize("sort", ["", "probability"])
def test_a_narrow_range_is_the_same_read_by_number_or_by_walking(
    database: Database, monkeypatch: pytest.MonkeyPatch, sort: str
) -> None:
    filters = {"system": "cxnet", "version": "1.0.0", "min_probability": "0.3", "max_probability": "0.6"}
    for more in ({}, {"class": "covid19"}, {"until": "2020-01-01T01:00:00"}):
        by_number = asked(database, "results", {**filters, **more}, sort)
        with monkeypatch.context() as patched:
            patched.setattr(scope, "FEW", 1)
            assert asked(database, "results", {**filters, **more}, sort) == by_number
        assert by_number and all(MEANS[name](row, value) for row in by_number for name, value in filters.items())


def test_a_superseded_analysis_is_shown_when_it_is_asked_for(database: Database) -> None:
    with_it, without = asked(database, "results", {"superseded": "yes"}), asked(database, "results", {})
    assert len(with_it) == COUNT and len(without) == COUNT - ledger.EACH
    assert {row["analysis_id"] for row in with_it if row["superseded"]} == {4}


def test_each_row_once_while_rows_are_added(database: Database) -> None:
    """New rows, earlier and later than the page that is being read, neither repeat nor hide one that was there."""
    before = {row["id"] for row in asked(database, "results", {})}
    with database.read() as session:
        table = Finding.__table__
        row = dict(session.execute(select(table).order_by(Finding.id.desc())).mappings().first() or {})
    seen: list[int] = []
    cursor: str | None = ""
    added = 0
    while cursor is not None:
        with database.read() as session:
            page = pages.page(session, RESULTS, {}, "-analysed_at", 13, cursor)
        seen += [found[0] for found in page.rows]
        cursor = page.next
        with database.write() as session:
            for minutes in (-1000, 0, 1000):
                at = row["analysed_at"] + timedelta(minutes=minutes)
                session.execute(insert(table), {**row, "id": 10_000 + added, "analysed_at": at})  # type: ignore[arg-type]
                added += 1
    with database.write() as session:
        session.execute(text("DELETE FROM findings WHERE id >= 10000"))
    assert len(seen) == len(set(seen)) and before <= set(seen)


def test_the_other_resources_have_pages_too(database: Database) -> None:
    assert [row["id"] for row in asked(database, "deliveries", {"state": "waiting"})] == [10, 9]
    assert len(asked(database, "deliveries", {"kind": "sr", "delivered": "yes"})) == COUNT // ledger.EACH - 2
    assert [row["id"] for row in asked(database, "analyses", {"verdict": "disagree"})] == [6, 5]
    assert [row["id"] for row in asked(database, "analyses", {"calling_aet": "RARE"})] == [18]
    assert asked(database, "analyses", {"system": "cxnet"}) == []  # the rows of this test name no models
    assert len(asked(database, "analyses", {"modality": "CT", "superseded": "yes"})) == 3
    assert asked(database, "lesions", {"modality": "DX", "delivered": "no", "verdict": "none"}) == []


def test_counts_and_means_are_those_of_the_rows(database: Database) -> None:
    rows = asked(database, "results", {"system": "cxnet"})
    with database.read() as session:
        found = aggregate.aggregate(session, {"system": "cxnet"}, ("class", "calling_aet", "day"))
    assert [column.name for column in found.columns][:3] == ["class", "calling_aet", "day"]
    for word, sender, day, count, decided, mean in found.rows:
        own = [row for row in rows if (row["class"], row["calling_aet"]) == (word, sender)]
        assert (day, count, decided) == ("2020-01-01", len(own), sum(row["decision"] for row in own))
        assert mean == pytest.approx(sum(row["probability"] for row in own) / len(own))
    assert sum(row[3] for row in found.rows) == len(rows)


def test_the_views_hold_what_the_pages_show(database: Database) -> None:
    for name, resource in RESOURCES.items():
        shown = asked(database, name, {"superseded": "yes"} if "superseded" in resource.filters else {})
        with database.read() as session:
            rows = session.execute(text(f"SELECT * FROM v_{name}"))
            assert tuple(rows.keys()) == resource.names
            assert {row[0] for row in rows} == {row["id"] for row in shown}


def test_a_role_may_read_the_views_and_nothing_else(postgres: Postgres) -> None:
    made = postgres.database()
    schema.migrate(made.engine)
    for _ in range(2):  # again after an upgrade
        with made.engine.begin() as connection:
            connection.exec_driver_sql(views.grants("auditor"))
    with create_engine(postgres.url(str(made.engine.url.database), "auditor")).connect() as reader:
        assert reader.execute(text("SELECT count(*) FROM v_results")).scalar() == 0
        for refused in ("SELECT * FROM findings", "DELETE FROM verdicts", "CREATE TABLE mine (id INTEGER)"):
            with pytest.raises(DBAPIError, match=r"permission denied|read-only"):
                reader.execute(text(refused))
            reader.rollback()
    made.close()


def test_what_cannot_be_asked_is_named(database: Database) -> None:
    for name, text_ in (("since", "yesterday"), ("min_probability", "2"), ("study", "a"), ("verdict", "maybe")):
        with pytest.raises(BadFilter, match=f"{name}: ") as raised:
            asked(database, "results", {name: text_})
        assert raised.value.filter == name
    for filters in ({"speed": "1"}, {"destination": "PACS"}, {"issuer": "HOSPITAL"}):
        with pytest.raises(BadFilter):
            asked(database, "results", filters)
    with database.read() as session:
        first = pages.page(session, RESULTS, {}, "probability", 5)
        for sort, cursor in (
            ("-probability", first.next),
            ("analysed_at", first.next),
            ("probability", "x"),
            ("", "W10"),
        ):
            with pytest.raises(BadFilter, match="cursor"):
                pages.page(session, RESULTS, {}, sort, 5, cursor or "")


def test_the_command_line_knows_every_resource_and_every_resource_known_filters() -> None:
    assert set(KINDS) == set(RESOURCES) - {"results"}
    used = {name for resource in RESOURCES.values() for name in resource.filters}
    assert used <= set(FILTERS)
