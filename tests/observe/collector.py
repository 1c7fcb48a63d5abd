"""A collector of traces in this process: OTLP over HTTP, as the OpenTelemetry project describes it."""

from __future__ import annotations

import gzip
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.peers import LOOPBACK


@dataclass(frozen=True)
class Seen:
    """One span as it came. resource, attributes: as texts."""

    trace_id: str
    span_id: str
    parent: str
    name: str
    began: int
    ended: int
    failed: bool
    resource: dict[str, str]
    attributes: dict[str, str]


class Collector:
    """``answer``: the status of every request; ``spans``: all that came with 200, ``raw``: their bytes."""

    def __init__(self, answer: int = 200) -> None:
        self.answer, self.spans, self.raw, self.asked = answer, list[Seen](), bytearray(), 0
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                collector.take(body)
                self.send_response(collector.answer)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Quiet."""

        self._server = ThreadingHTTPServer((LOOPBACK, 0), Handler)
        self.endpoint = f"http://{LOOPBACK}:{self._server.server_address[1]}/v1/traces"

    def take(self, body: bytes) -> None:
        self.asked += 1
        if self.answer != 200:
            return
        self.raw += body
        for group in ExportTraceServiceRequest.FromString(body).resource_spans:
            resource = {one.key: one.value.string_value for one in group.resource.attributes}
            for scope in group.scope_spans:
                for span in scope.spans:
                    said = {one.key: str(one.value.string_value or one.value.int_value) for one in span.attributes}
                    ids = (span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex())
                    times = (span.start_time_unix_nano, span.end_time_unix_nano)
                    self.spans.append(Seen(*ids, span.name, *times, span.status.code == 2, resource, said))

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
