"""The HTTP server: /health/live, /health/ready, /metrics. Synchronous code inside; only the ASGI shell is async.

It is given a ``Vitals`` and asks it nothing but numbers and sentences; it holds no identifying data.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import anyio
import uvicorn
from anyio.to_thread import run_sync
from prometheus_client import CollectorRegistry, generate_latest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from node import __version__
from node.core.errors import Misconfigured
from node.web.auth.needs import ANYBODY, needs
from node.web.coded import Uncoded
from node.web.connections import MOST_CONNECTIONS, PLAIN, Certificate, Secrecy
from node.web.metrics import NodeMetrics, Readings
from node.web.pace import Paced

START_SECONDS = 10.0
VITAL_THREADS = 4  # of health and metrics alone: searches and stores may hold all of the others for a while
RENEWED_SECONDS = 10  # between two looks at the files of the certificate


@dataclass(frozen=True)
class Vitals:
    """What the node tells of itself. problems: one sentence each, empty when ready; condition: of ``/health/ready``."""

    problems: Callable[[], list[str]]
    condition: Callable[[], dict[str, Any]]
    readings: Callable[[], Readings] = Readings


def application(
    vitals: Vitals,
    more: Sequence[BaseRoute] = (),
    before: Sequence[Middleware] = (),
    handlers: Mapping[Any, Callable[[Request, Exception], Response]] | None = None,
) -> Starlette:
    """more: routes of the other parts of the web, beside health and metrics. before: what stands before all routes.
    handlers: how errors outside of the routes are shown."""
    registry = CollectorRegistry()
    registry.register(NodeMetrics(vitals.readings))
    own_threads = anyio.CapacityLimiter(VITAL_THREADS)

    async def live(_: Request) -> Response:
        return JSONResponse({"status": "live", "version": __version__})

    def condition() -> Response:
        problems = vitals.problems()
        said = {"status": "not ready" if problems else "ready", "problems": problems, **vitals.condition()}
        return JSONResponse(said, status_code=503 if problems else 200)

    async def ready(_: Request) -> Response:
        return await run_sync(condition, limiter=own_threads)

    async def metrics(_: Request) -> Response:
        text = await run_sync(generate_latest, registry, limiter=own_threads)
        return PlainTextResponse(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    own = [
        Route("/health/live", live, middleware=[needs(ANYBODY)]),
        Route("/health/ready", ready, middleware=[needs(ANYBODY)]),
        Route("/metrics", metrics, middleware=[needs("figures")]),
    ]
    stands = [Middleware(Uncoded), *before]
    return Starlette(routes=[*own, *more], middleware=stands, exception_handlers=dict(handlers or {}))


class WebServer:
    """uvicorn in a thread. ``start`` returns when the port listens; ``port`` is then the real one."""

    def __init__(
        self,
        vitals: Vitals,
        host: str,
        port: int,
        more: Sequence[BaseRoute] = (),
        before: Sequence[Middleware] = (),
        secrecy: Secrecy = PLAIN,
        handlers: Mapping[Any, Callable[[Request, Exception], Response]] | None = None,
    ) -> None:
        self._vitals, self._handlers = vitals, handlers
        self.show(more, before)
        config = uvicorn.Config(
            self._answer,
            interface="asgi3",
            host=host,
            port=port,
            http=Paced,
            ws="none",
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            limit_concurrency=MOST_CONNECTIONS,
            proxy_headers=bool(secrecy.proxies),
            forwarded_allow_ips=list(secrecy.proxies),
        )
        config.load()
        if secrecy.certificate:
            certificate = Certificate(secrecy)
            config.ssl, config.ssl_certfile = certificate.context, secrecy.certificate
            config.callback_notify, config.timeout_notify = certificate.renew, RENEWED_SECONDS
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, name="web", daemon=True)
        self._ended = threading.Event()
        self._where = f"{host}:{port}"

    def show(self, more: Sequence[BaseRoute], before: Sequence[Middleware]) -> None:
        """These routes from now on; requests that are being answered go on as they began."""
        self._app = application(self._vitals, more, before, self._handlers)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)

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
