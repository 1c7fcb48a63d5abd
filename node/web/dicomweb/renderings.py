"""Pictures are made a few at a time: decoding and scaling take a core and the memory of an image each.

Who waits holds no thread, so that what is quick to answer stays so; where too many wait, the next one is told to come
again. A client that takes its pictures slowly keeps nobody from theirs: a place is held for one picture, not for all.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator

import anyio
from anyio.to_thread import run_sync
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from node.web.dicomweb.answers import UNAVAILABLE

WAITING = 8  # requests for each picture that may be made at once
RETRY_SECONDS = "2"
SENTENCE = "As many pictures as are allowed are being made; try again in a moment.\n"


class Renderings:
    def __init__(self, at_once: int) -> None:
        self._limiter = anyio.CapacityLimiter(at_once)
        self._most, self._here = (1 + WAITING) * at_once, 0

    async def answer(self, answered: Callable[[Request], Response], request: Request) -> Response:
        """Of a function that makes the first picture of its answer, or all of it."""
        if self._here >= self._most:
            return PlainTextResponse(SENTENCE, UNAVAILABLE, {"Retry-After": RETRY_SECONDS})
        self._here += 1
        try:
            return await run_sync(answered, request, limiter=self._limiter)
        finally:
            self._here -= 1

    async def pieces(self, made: Iterator[bytes]) -> AsyncIterator[bytes]:
        """The rest of an answer, each piece made when the one before was taken."""
        while (piece := await run_sync(next, made, None, limiter=self._limiter)) is not None:
            yield piece
