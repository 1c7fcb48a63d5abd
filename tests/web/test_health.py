"""Health and metrics answer while every thread of the web server is held by slow searches.

What they say is in tests/e2e and tests/observe.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from node.web.auth.needs import ANYBODY, needs
from node.web.server import Vitals, WebServer
from tests.peers import LOOPBACK, wait_until

THREADS = 40  # of anyio for all that blocks, by default


class Slow:
    def __init__(self) -> None:
        self.begun, self.may_end = threading.Semaphore(0), threading.Event()

    def answer(self, _: Request) -> Response:
        self.begun.release()
        self.may_end.wait(60)
        return PlainTextResponse("found")


@pytest.fixture
def slow() -> Iterator[Slow]:
    search = Slow()
    yield search
    search.may_end.set()


def test_slow_searches_do_not_keep_health_from_answering(slow: Slow) -> None:
    server = WebServer(Vitals(list, dict), LOOPBACK, 0, [Route("/slow", slow.answer, middleware=[needs(ANYBODY)])])
    server.start()
    try:
        client, statuses = httpx.Client(base_url=f"http://{LOOPBACK}:{server.port}", timeout=90), list[int]()
        ask = [
            threading.Thread(target=lambda: statuses.append(client.get("/slow").status_code))
            for _ in range(THREADS + 5)
        ]
        for one in ask:
            one.start()
        for _ in range(THREADS):
            assert slow.begun.acquire(timeout=30)
        assert not slow.begun.acquire(blocking=False), "every thread is held"
        for path in ("health/live", "health/ready"):
            assert client.get(f"/{path}", timeout=10).status_code == 200
        assert not statuses
        slow.may_end.set()
        wait_until(lambda: statuses == [200] * len(ask), 30, "the searches are answered")
        for one in ask:
            one.join()
    finally:
        slow.may_end.set()
        server.stop()
