"""Around every route: header fields of security, patience with slow bodies, and one line of the log for each answer.

The line names the path by the words of our routes and by UIDs; anything else in it might name somebody and becomes "*".
No query is logged. A route that sets one of the header fields itself keeps its own.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Iterable, Iterator, Sequence

from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Mount
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from node.core import log
from node.core.rights import NOBODY
from node.web.auth.needs import WHO

logger = logging.getLogger(__name__)
SILENT_SECONDS = 30.0  # for the next piece of a body; uploads have a limit of their own ([dicomweb] silent_seconds)
TOO_SLOW = "Nothing came for {seconds:g} seconds."
UID = re.compile(r"[0-9.]{1,64}")
FIELDS = {
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
LASTING = "max-age=31536000"  # seconds that a browser asks this host by TLS alone, RFC 6797


class Secured:
    """ASGI. words: what may stand in the log. uploads: the path under which bodies have a limit of their own.
    shares: other origins may read what is under it (CORS)."""

    def __init__(
        self, app: ASGIApp, words: Iterable[str], uploads: str, shares: bool = False, seconds: float = SILENT_SECONDS
    ) -> None:
        self._app, self._words, self._uploads = app, frozenset(words), f"{uploads}/"
        self._shares, self._seconds = shares, seconds
        self._fields = [(name.encode(), value.encode()) for name, value in FIELDS.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun, status = time.monotonic(), 0

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = int(message["status"])
                message["headers"] = [*message.get("headers", ()), *self._missing(scope, message)]
            await send(message)

        patient = receive if scope["path"].startswith(self._uploads) else self._patient(receive)
        try:
            await self._app(scope, patient, sending)
        finally:
            self._log(scope, status, time.monotonic() - begun)

    def _missing(self, scope: Scope, message: Message) -> Iterator[tuple[bytes, bytes]]:
        there = {name.lower() for name, _ in message.get("headers", ())}
        is_shared = self._shares and scope["path"].startswith(self._uploads)
        differing = {b"cross-origin-resource-policy": b"cross-origin"} if is_shared else {}
        if b"etag" in there:
            differing[b"cache-control"] = b"no-cache"  # a file; it may be kept and asked about
        yield from ((name, differing.get(name, value)) for name, value in self._fields if name not in there)
        if scope["scheme"] == "https":
            yield b"strict-transport-security", LASTING.encode()

    def _patient(self, receive: Receive) -> Receive:
        """Until the body is whole; what comes after it is the end of the connection, which may take long."""
        whole = False

        async def received() -> Message:
            nonlocal whole
            if whole:
                return await receive()
            try:
                message = await asyncio.wait_for(receive(), self._seconds)
            except TimeoutError:
                raise HTTPException(408, TOO_SLOW.format(seconds=self._seconds), {"Connection": "close"}) from None
            whole = not message.get("more_body", False)
            return message

        return received

    def _log(self, scope: Scope, status: int, seconds: float) -> None:
        if scope["path"].startswith(("/health/", "/metrics")) and status < 400:
            return  # asked for every few seconds by whoever watches the node
        log.event(
            logger,
            "http.answered",
            method=scope["method"],
            path=self.shown(scope["path"]),
            status=status,
            ms=round(seconds * 1000, 1),
            account=scope.get(WHO, NOBODY).said,
            address=(scope.get("client") or ("", 0))[0],
        )

    def shown(self, path: str) -> str:
        parts = path.split("/")
        return "/".join(part if part in self._words or UID.fullmatch(part) else "*" for part in parts)


def words_of(routes: Sequence[BaseRoute]) -> set[str]:
    """Every fixed part of the paths of these routes."""
    found = {""}
    for route in routes:
        found.update(part for part in getattr(route, "path", "").split("/") if "{" not in part)
        if isinstance(route, Mount):
            found |= words_of(route.routes)
    return found
