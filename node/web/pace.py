"""HTTP/1.1 that waits for nobody for ever: bodies that trickle in, answers that nobody takes, heads without an end.

``connections.Hurried`` has header fields come in time. Here is what it cannot see: a body of a byte a second, a reader
that takes no more, and a header field so long that the parser would hold all of it before it says so. Whoever waits
because the node does (reading is paused while a disk is slow) is never cut.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from node.core import log
from node.web.connections import MOST_HEADER_BYTES, Hurried

logger = logging.getLogger(__name__)
WINDOW_SECONDS = 30.0
LEAST_BYTES = 3000  # of a body or an answer in a window: 100 a second, below any line that images are sent over
POOR_WINDOWS = 2  # until a connection is cut
READ_AT_ONCE = 1 << 18  # bytes that asyncio hands over together; a body may begin in them
TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
TOO_LONG = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class Paced(Hurried):
    """A silent body is left to the route that reads it, which knows how long to wait: only a trickle is cut."""

    _look: asyncio.TimerHandle | None = None
    _in_head, _in_body = True, False
    _head = _came = _left = _poor = 0
    _taken = False  # all but little of what was to be sent, within this window

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._look = self.loop.call_later(WINDOW_SECONDS, self._judge)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._look is not None:
            self._look.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._came += len(data)
        if self._in_head:
            self._head += len(data)
            if self._head > MOST_HEADER_BYTES + READ_AT_ONCE:
                self._refuse(TOO_LONG, "a header field without an end")
                return
        super().data_received(data)

    def on_headers_complete(self) -> None:
        self._in_head, self._in_body, self._head = False, True, 0
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._in_head, self._in_body = True, False
        super().on_message_complete()

    def resume_writing(self) -> None:
        self._taken = True
        super().resume_writing()

    def _judge(self) -> None:
        """After each window: is the client at least as quick as it must be?"""
        self._look = self.loop.call_later(WINDOW_SECONDS, self._judge)
        reads, left = self._in_body and not self.flow.read_paused, self.transport.get_write_buffer_size()
        trickles = reads and 0 < self._came < LEAST_BYTES
        stalls = self.flow.write_paused and not self._taken and self._left > 0 and self._left - left < LEAST_BYTES
        if trickles or stalls:
            self._poor += 1
        elif self._came or not reads:  # a silent window between two poor ones makes neither better
            self._poor = 0
        self._came, self._left, self._taken = 0, left, False
        if self._poor >= POOR_WINDOWS:
            self._refuse(TOO_SLOW, "its answer was not taken" if stalls else "its body trickled in")

    def _refuse(self, answer: bytes, why: str) -> None:
        log.event(logger, "client.cut_off", logging.WARNING, address=self.client[0] if self.client else "", reason=why)
        answering = self.cycle is not None and self.cycle.response_started and not self.cycle.response_complete
        if answering:  # what is unsent is given up, so that the connection ends now
            self.transport.abort()
        else:
            self.transport.write(answer)
            self.transport.close()
