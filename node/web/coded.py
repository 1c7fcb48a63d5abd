"""Bodies that are compressed on their way are refused, not unpacked: what is a kilobyte may be a gigabyte inside.

An ASGI middleware for every route. DICOM has its own compressed transfer syntaxes, which are stored as they are.
"""

from __future__ import annotations

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

SENTENCE = "A body is taken as it is, without Content-Encoding; images have compressed transfer syntaxes for that.\n"
TRANSFER_SENTENCE = "The only Transfer-Encoding that is understood is chunked.\n"


class Uncoded:
    """415 where a body is coded (RFC 9110 section 15.5.16), 501 where its transfer is (RFC 9112 section 6.1)."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = _refusal(scope["headers"]) if scope["type"] == "http" else None
        await (answer or self._app)(scope, receive, send)


def _refusal(headers: list[tuple[bytes, bytes]]) -> PlainTextResponse | None:
    codings = {name: _words(headers, name) for name in (b"content-encoding", b"transfer-encoding")}
    if codings[b"transfer-encoding"] - {b"chunked"}:
        return PlainTextResponse(TRANSFER_SENTENCE, 501, {"Connection": "close"})
    if codings[b"content-encoding"] - {b"identity"}:
        return PlainTextResponse(SENTENCE, 415, {"Accept-Encoding": "identity", "Connection": "close"})
    return None


def _words(headers: list[tuple[bytes, bytes]], wanted: bytes) -> set[bytes]:
    values = b",".join(value for name, value in headers if name == wanted)
    return {word.strip().lower() for word in values.split(b",")} - {b""}
