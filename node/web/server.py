"""The HTTP server: /health/live, /health/ready, /metrics. Synchronous code inside; only the ASGI shell is async.

It is given a ``Vitals`` and asks it nothing but numbers and sentences; it holds no identifying data.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import uvicorn
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from node import __version__
from node.core.errors import Misconfigured
from node.db.story import Counts

START_SECONDS = 10.0


@dataclass(frozen=True)
class Vitals:
    """What the node tells of itself. problems: one sentence each, empty when ready; condition: of ``/health/ready``."""

    problems: Callable[[], list[str]]
    condition: Callable[[], dict[str, Any]]
    counts: Callable[[], Counts]
    free_bytes: Callable[[], int]
    seconds_since: Callable[[datetime], float]
    rejections: Callable[[], Mapping[str, int]] = dict  # associations since the start, by reason


class NodeMetrics(Collector):
    """Read at each scrape from the database, so that they are true after any restart."""

    def __init__(self, vitals: Vitals) -> None:
        self._vitals = vitals

    def collect(self) -> Iterable[Metric]:
        counts = self._vitals.counts()
        yield _gauge("lungnode_info", "Version of the node.", ["version"], [((__version__,), 1)])
        yield CounterMetricFamily("lungnode_instances_stored", "Instances ever stored.", value=counts.instances)
        yield CounterMetricFamily(
            "lungnode_refusals", "Data sets answered with a failure status.", value=counts.refusals
        )
        yield _gauge("lungnode_studies", "Studies by state.", ["state"], [((s,), n) for s, n in counts.studies.items()])
        yield _gauge("lungnode_jobs", "Jobs by kind and state.", ["kind", "state"], counts.jobs.items())
        yield _gauge(
            "lungnode_deliveries",
            "Outputs by destination and state.",
            ["destination", "state"],
            counts.deliveries.items(),
        )
        waiting = self._vitals.seconds_since(counts.oldest_ready_at) if counts.oldest_ready_at else 0.0
        yield GaugeMetricFamily(
            "lungnode_oldest_waiting_analysis_seconds", "Age of the oldest waiting job.", value=waiting
        )
        rejected = CounterMetricFamily("lungnode_associations_rejected", "Associations rejected.", labels=["reason"])
        for reason, number in self._vitals.rejections().items():
            rejected.add_metric([reason], number)
        yield rejected
        yield GaugeMetricFamily(
            "lungnode_archive_free_bytes", "Free bytes on the archive's disk.", value=self._vitals.free_bytes()
        )


def _gauge(name: str, text: str, labels: list[str], rows: Iterable[tuple[tuple[str, ...], int]]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=labels)
    for values, number in rows:
        family.add_metric(values, number)
    return family


def application(vitals: Vitals, more: Sequence[BaseRoute] = (), before: Sequence[Middleware] = ()) -> Starlette:
    """more: routes of the other parts of the web, beside health and metrics. before: what stands before all routes."""
    registry = CollectorRegistry()
    registry.register(NodeMetrics(vitals))

    def live(_: Request) -> Response:
        return JSONResponse({"status": "live", "version": __version__})

    def ready(_: Request) -> Response:
        problems = vitals.problems()
        said = {"status": "not ready" if problems else "ready", "problems": problems, **vitals.condition()}
        return JSONResponse(said, status_code=503 if problems else 200)

    def metrics(_: Request) -> Response:
        return PlainTextResponse(generate_latest(registry), media_type="text/plain; version=0.0.4; charset=utf-8")

    own = [Route("/health/live", live), Route("/health/ready", ready), Route("/metrics", metrics)]
    return Starlette(routes=[*own, *more], middleware=list(before))


class WebServer:
    """uvicorn in a thread. ``start`` returns when the port listens; ``port`` is then the real one."""

    def __init__(
        self, vitals: Vitals, host: str, port: int, more: Sequence[BaseRoute] = (), before: Sequence[Middleware] = ()
    ) -> None:
        app = application(vitals, more, before)
        config = uvicorn.Config(app, host=host, port=port, log_config=None, access_log=False, lifespan="off")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, name="web", daemon=True)
        self._ended = threading.Event()
        self._where = f"{host}:{port}"

    def start(self) -> None:
        self._thread.start()
        waited = 0.0
        while not self._server.started:
            if self._ended.wait(0.02) or (waited := waited + 0.02) > START_SECONDS:
                raise Misconfigured(f"the HTTP port {self._where} cannot be opened")

    def _run(self) -> None:
        try:
            self._server.run()
        except SystemExit:  # uvicorn's answer to a port that is taken
            pass
        finally:
            self._ended.set()

    @property
    def port(self) -> int:
        return int(self._server.servers[0].sockets[0].getsockname()[1])

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(timeout=5)
