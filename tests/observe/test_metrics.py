"""Metrics of a stored node: what is counted is true over processes, restarts and transactions that are given up.

The numbers of a node that runs are in tests/e2e/test_metrics.py, the cost of a scrape in tests/bench/queries.py. Not
covered: rejections and deaths of processes (tests/e2e/test_guarded_node.py, test_receivers.py).
"""

from __future__ import annotations

import math
import subprocess
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import event, select, text

from node.archive import Archive
from node.board import Board
from node.composition.metering import WINDOW, Metering
from node.core.limits import Limits
from node.core.settings import load
from node.core.study import Origin
from node.db import deliveries, intake, tallies
from node.db.session import Database, sqlite_url
from node.db.tables import Delivery, Finding
from node.pipeline.pressure import Pressure
from node.web.metrics import METRICS, REASONS, Processes
from tests.bench import ledger
from tests.observe.scrapes import Scrape, scraped, served
from tests.peers import program

FINDINGS = 12_000
END = ledger.BEGAN + timedelta(minutes=2 * (FINDINGS // ledger.EACH - 1))
SENDER = Origin("a", "SCANNER", "LUNGNODE", "192.0.2.1")


def _metering(folder: Path, problems: list[str] | None = None) -> Metering:
    database = Database(sqlite_url(folder), durable=False)
    limits: Limits = load().limits
    pressure = Pressure(database, Archive(folder / "archive", False, 1000), limits)
    workers = {"worker": Processes(2, 1, 3)}
    return Metering(
        database,
        Board(folder / "board"),
        lambda: pressure,
        lambda: workers,
        lambda: problems or [],
        lambda: END,
    )


@pytest.fixture
def metering(empty: Path) -> Iterator[Metering]:
    found = _metering(empty)
    yield found
    found.database.close()


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    database = Database(sqlite_url(tmp_path), durable=False)
    ledger.fill(database, 0)
    database.close()
    return tmp_path


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Metering]:
    folder = tmp_path_factory.mktemp("full")
    database = Database(sqlite_url(folder), durable=False)
    ledger.fill(database, FINDINGS)
    database.close()
    found = _metering(folder)
    yield found
    found.database.close()


def test_every_metric_is_there_with_its_kind_and_follows_the_conventions(full: Metering) -> None:
    full.turn()
    scrape = scraped(full)
    for one in METRICS:
        kind = {"info": "gauge"}.get(one.kind, one.kind)
        assert scrape.types.get(one.full_name if one.kind == "info" else one.name) == kind, one.name
        assert one.full_name.endswith("_total") == (one.kind == "counter"), one.name
        assert one.meaning.endswith(".") and not {"le", "quantile"} & set(one.labels)


def test_prometheus_finds_no_fault_with_names_units_and_help(full: Metering) -> None:
    ran = subprocess.run([program("promtool"), "check", "metrics"], input=served(full), capture_output=True, text=True)
    assert (ran.returncode, ran.stdout + ran.stderr) == (0, "")


def test_a_node_that_has_done_nothing_says_so(metering: Metering) -> None:
    scrape = scraped(metering)
    assert scrape["lungnode_instances_stored_total"] == 0 and scrape["lungnode_ready"] == 1
    assert scrape.at("lungnode_job_oldest_seconds", kind="deliver") == 0
    refused = scrape.named("lungnode_instances_refused_total")
    assert len(refused) == len(REASONS) + 1 and not any(refused.values())
    assert scrape["lungnode_analysis_seconds_count"] == 0
    assert "lungnode_archive_bytes" not in scrape.names  # not counted yet, which is not nothing
    assert (scrape.at("lungnode_processes", kind="worker"), scrape.at("lungnode_processes_wanted", kind="worker")) == (
        1,
        2,
    )
    assert scrape.at("lungnode_process_deaths_total", kind="worker") == 3


def test_a_node_that_is_not_ready_says_so(empty: Path) -> None:
    assert scraped(_metering(empty, ["The disk is full."]))["lungnode_ready"] == 0


def test_what_is_counted_is_there_after_a_restart_and_by_another_process(empty: Path, metering: Metering) -> None:
    other = Database(sqlite_url(empty), durable=False)
    for database in (metering.database, other):
        with database.write() as session:
            intake.add_refusal(session, END, "1.2", "", 0xA700, "", SENDER)
            intake.add_refusal(session, END, "1.2", "", 0xBEEF, "", SENDER)
            tallies.analysis(session, {"load": 0.2, "model.cxnet": 3.0}, 61.0)
    other.close()
    scrape = scraped(_metering(empty))
    assert scrape.at("lungnode_instances_refused_total", reason="out_of_resources") == 2
    assert scrape.at("lungnode_instances_refused_total", reason="other") == 2
    assert scrape.at("lungnode_stage_seconds_count", stage="model", system="cxnet") == 2
    assert scrape.at("lungnode_stage_seconds_sum", stage="load", system="") == pytest.approx(0.4)
    assert scrape.at("lungnode_analysis_seconds_bucket", le="60") == 0
    assert scrape.at("lungnode_analysis_seconds_bucket", le="120") == 2


def test_what_is_rolled_back_was_never_counted(metering: Metering) -> None:
    with pytest.raises(ZeroDivisionError), metering.database.write() as session:
        tallies.count(session, tallies.REFUSAL, "0xA700")
        raise ZeroDivisionError
    assert scraped(metering).at("lungnode_instances_refused_total", reason="out_of_resources") == 0


@given(st.lists(st.floats(0, 10_000), max_size=40))
def test_a_histogram_counts_each_duration_in_every_bucket_that_holds_it(durations: list[float]) -> None:
    database = Database("sqlite://")
    tallies.Tally.__table__.create(database.engine)  # type: ignore[attr-defined]
    with database.write() as session:
        for seconds in durations:
            tallies.observe(session, tallies.ANALYSIS, seconds)
        found = tallies.histograms(session, tallies.ANALYSIS).get(("", ""), tallies.Histogram())
    for bound, number in found.cumulative():
        assert number == sum(seconds <= float(bound) for seconds in durations)
    assert math.isclose(found.seconds, sum(durations), abs_tol=1e-6)


def test_each_attempt_counts_and_the_last_one_takes_as_long_as_all(full: Metering) -> None:
    with full.database.write() as session:
        waiting = session.scalars(select(Delivery).where(Delivery.state == "waiting")).first()
        assert waiting is not None
        number, to = waiting.id, waiting.destination
        for after, state in ((10, "waiting"), (100, "delivered")):
            at = waiting.owed_at + timedelta(seconds=after)
            deliveries.note_attempt(session, number, state, 0, "", 1, at)
    scrape = scraped(full)
    assert scrape.at("lungnode_delivery_attempts_total", destination=to, outcome="waiting") == 1
    assert scrape.at("lungnode_delivery_attempts_total", destination=to, outcome="delivered") == 1
    assert scrape.at("lungnode_delivery_seconds_sum", destination=to) == pytest.approx(100)


def test_drift_is_of_the_last_day_and_of_what_stands(full: Metering) -> None:
    full.turn()
    scrape = scraped(full)
    with full.database.read() as session:
        of_the_day = select(Finding).where(Finding.analysed_at >= END - WINDOW, Finding.analysis_id % 1000 != 4)
        rows = list(session.scalars(of_the_day))  # every thousandth analysis of the ledger is superseded
    assert 0 < len(rows) < FINDINGS
    for key in {(row.system, row.model_version, row.class_name) for row in rows}:
        mine = [row for row in rows if (row.system, row.model_version, row.class_name) == key]
        labels = dict(zip(("system", "version", "class"), key, strict=True))
        assert scrape.at("lungnode_recent_results", **labels) == len(mine)
        mean = sum(row.probability for row in mine) / len(mine)
        assert scrape.at("lungnode_recent_probability_mean", **labels) == pytest.approx(mean)
        assert scrape.at("lungnode_recent_positive_ratio", **labels) == sum(r.decision for r in mine) / len(mine)


def test_a_scrape_reads_no_row_of_what_has_ended(full: Metering) -> None:
    """By SQLite's own plans: no table that grows is read from end to end, nor an index of it."""
    asked: list[str] = []
    event.listen(full.database.engine, "before_cursor_execute", lambda *given: asked.append(given[2]))
    full.read()
    with full.database.read() as session:
        connection = session.connection().connection.dbapi_connection
        assert connection is not None
        for statement in [one for one in asked if one.startswith("SELECT")]:
            values = [0] * statement.count("?")
            plan = [str(row[3]) for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", values)]
            assert not [line for line in plan if line.startswith("SCAN") and "tallies" not in line], (statement, plan)
        assert len(asked) > 5 and session.scalar(text("SELECT count(*) FROM findings")) == FINDINGS


def test_ages_and_rooms(full: Metering) -> None:
    scrape: Scrape = scraped(full)
    assert scrape.at("lungnode_disk_floor_bytes", holds="archive") == 1000
    assert (
        scrape.at("lungnode_disk_size_bytes", holds="archive")
        > scrape.at("lungnode_disk_free_bytes", holds="archive")
        > 0
    )
    assert scrape["lungnode_studies_received_total"] == FINDINGS // ledger.EACH
