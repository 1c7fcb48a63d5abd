"""Traces by real OTLP: ids that follow from the study, spans that hang together, a collector that is away.

A whole node, its processes and its worker, is in tests/e2e/test_traces.py.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from node.composition.otlp import Traced
from node.composition.tracing import MISSING, Untraced, tracing
from node.core import settings
from node.core.errors import Misconfigured
from node.pipeline import traces
from node.pipeline.traces import Moment, Run
from tests.observe.collector import Collector
from tests.peers import wait_until

NOW = datetime(2026, 1, 5, 9, 30, tzinfo=UTC)
RUN = Run("1.2.826.0.1.3680043.2.1143.77", "a key")


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as running:
        yield running


def later(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def a_study(run: Run) -> list[traces.Span]:
    attributes = {"lungnode.destination": "PACS@192.0.2.9:104"}
    return [
        *traces.received(run, NOW, later(2), later(5)),
        *traces.analysed(run, later(5), later(6), later(20), [Moment("load", 0.5, 1), Moment("load", 2, 1)]),
        traces.delivered(run, "1 1", later(21), later(22), attributes, "not delivered"),
        traces.delivered(run, "1 2", later(31), later(32), attributes, ""),
    ]


def test_all_of_a_study_is_one_trace_whoever_sends_it(collector: Collector) -> None:
    for half in (a_study(RUN)[::2], a_study(RUN)[1::2]):  # two processes, in no order
        sender = Traced(collector.endpoint, "LUNGNODE")
        sender(half)
        sender.close()
    by_id = {span.span_id: span for span in collector.spans}
    assert len(by_id) == len(collector.spans) == len(a_study(RUN)), "ids are unique"
    wanted = hashlib.sha256(f"lungnode/study/{RUN.study_uid}".encode()).hexdigest()[:32]
    assert {span.trace_id for span in collector.spans} == {wanted}
    (root,) = [span for span in collector.spans if not span.parent]
    assert root.name == "study"
    parents = {span.name: by_id[span.parent].name for span in collector.spans if span.parent}
    assert {name for name, above in parents.items() if above == "analysis"} == {"load", "results"}
    assert {name for name, above in parents.items() if above == "study"} == {
        "receipt", "completeness", "queue", "analysis", "delivery",
    }  # fmt: skip
    assert [span.failed for span in collector.spans if span.name == "delivery"].count(True) == 1
    load = sorted(span.began for span in collector.spans if span.name == "load")
    assert load[1] - load[0] == 1_500_000_000
    assert {span.resource["service.instance.id"] for span in collector.spans} == {"LUNGNODE"}
    assert RUN.study_uid.encode() not in collector.raw


def test_a_job_that_is_done_again_has_the_same_spans_and_a_study_that_grew_others() -> None:
    again, grown = a_study(Run(RUN.study_uid, RUN.key)), a_study(Run(RUN.study_uid, "another key"))
    ids = {span.span_id for span in a_study(RUN)}
    assert {span.span_id for span in again} == ids and not {span.span_id for span in grown} & ids
    assert {span.run.trace_id for span in grown} == {RUN.trace_id}
    assert traces.trace_id("1.2.3") != traces.trace_id("1.2.4")


def test_a_collector_that_is_away_is_said_once_and_so_is_its_return(
    collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    collector.answer = 400  # which is not tried again
    sender = Traced(collector.endpoint, "LUNGNODE")
    with caplog.at_level("INFO", logger="node.composition.otlp"):
        for times in (1, 2):
            sender(a_study(RUN)[:1])
            wait_until(lambda wanted=times: collector.asked >= wanted, 10, "spans are sent")
        collector.answer = 200
        sender(a_study(RUN)[:1])
        wait_until(lambda: collector.spans, 10, "spans are taken")
        sender.close()
    assert [record.message for record in caplog.records] == ["tracing.not_sent", "tracing.sent_again"]


def test_without_a_collector_nothing_is_imported_or_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "node.composition.otlp")
    trace = tracing(settings.load())
    assert isinstance(trace, Untraced) and "node.composition.otlp" not in sys.modules

    def never() -> Iterator[traces.Span]:
        raise AssertionError("looked at")
        yield

    trace(never())


def test_without_the_extra_a_node_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "node.composition.otlp")
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    wanted = settings.load(flags={("tracing", "endpoint"): "http://127.0.0.1:4318/v1/traces"})
    with pytest.raises(Misconfigured, match="lungnode\\[tracing\\]"):
        tracing(wanted)
    assert MISSING.endswith("leave it empty")


@pytest.mark.parametrize(
    "endpoint", ["collector:4318", "ftp://a/b", "http://user:word@host/", "http://a/b?c", "http://"]
)
def test_what_is_no_endpoint_is_refused(endpoint: str) -> None:
    with pytest.raises(Misconfigured, match=r"tracing\.endpoint"):
        settings.load(flags={("tracing", "endpoint"): endpoint})
