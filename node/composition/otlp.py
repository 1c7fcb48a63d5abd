"""Spans to a collector by OTLP over HTTP, with the OpenTelemetry SDK; imported by ``tracing`` where one is configured.

Sending is a thread of its own: a collector that is away costs nothing but its spans, and one line in the log when it
goes and one when it is back.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Sequence
from datetime import datetime

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import IdGenerator

from node import __version__
from node.core import log
from node.pipeline.traces import Span

logger = logging.getLogger(__name__)
SEND_SECONDS, PAUSE_MILLISECONDS = 5.0, 1000


class Traced:
    """Call it with spans, from any thread; ``close`` sends what is left."""

    def __init__(self, endpoint: str, instance: str) -> None:
        logging.getLogger("opentelemetry").setLevel(
            logging.CRITICAL
        )  # what it says at each attempt, ``Told`` says once
        self._ids = Ids()
        named = {"service.name": "lungnode", "service.version": __version__, "service.instance.id": instance}
        self._provider = TracerProvider(resource=Resource(named), id_generator=self._ids, shutdown_on_exit=False)
        told = Told(OTLPSpanExporter(endpoint, timeout=SEND_SECONDS))
        self._provider.add_span_processor(BatchSpanProcessor(told, schedule_delay_millis=PAUSE_MILLISECONDS))
        self._tracer = self._provider.get_tracer("lungnode", __version__)

    def __call__(self, spans: Iterable[Span]) -> None:
        for span in spans:
            self._write(span)

    def _write(self, span: Span) -> None:
        above = trace.INVALID_SPAN
        if span.parent:
            flags = trace.TraceFlags(trace.TraceFlags.SAMPLED)
            parent = trace.SpanContext(span.run.trace_id, span.run.span_id(span.parent), True, flags)
            above = trace.NonRecordingSpan(parent)
        self._ids.next(span)
        made = self._tracer.start_span(
            span.name,
            trace.set_span_in_context(above),
            attributes=dict(span.attributes),
            start_time=_nanoseconds(span.began),
        )
        if span.failed:
            made.set_status(trace.Status(trace.StatusCode.ERROR, span.failed))
        made.end(max(_nanoseconds(span.began), _nanoseconds(span.ended)))

    def close(self) -> None:
        self._provider.shutdown()


class Ids(IdGenerator):
    """Gives the next span of a thread the ids that it is to have."""

    def __init__(self) -> None:
        self._next = threading.local()

    def next(self, span: Span) -> None:
        self._next.span = span

    def generate_span_id(self) -> int:
        span: Span = self._next.span
        return span.span_id

    def generate_trace_id(self) -> int:
        span: Span = self._next.span
        return span.run.trace_id


class Told(SpanExporter):
    """An exporter that says in the log when it begins to fail and when it goes on."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter, self._failing = exporter, False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        done = self._exporter.export(spans)
        failed = done is not SpanExportResult.SUCCESS
        if failed and not self._failing:
            log.event(logger, "tracing.not_sent", logging.WARNING, spans=len(spans))
        elif self._failing and not failed:
            log.event(logger, "tracing.sent_again")
        self._failing = failed
        return done

    def shutdown(self) -> None:
        self._exporter.shutdown()


def _nanoseconds(at: datetime) -> int:
    return int(at.timestamp() * 1e6) * 1000
