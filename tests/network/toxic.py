"""A network that is not well, between any sender and any receiver on this machine: a proxy that spoils what it passes.

One event loop in a thread of its own. What it does is set for each connection when it begins: ``toxics`` are taken one
after the other, and connections beyond them pass unharmed.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections import deque
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from tests.peers import LOOPBACK, free_port

PIECE = 1 << 14


@dataclass(frozen=True)
class Toxic:
    """latency_seconds: before each piece. piece: bytes passed at once. bytes_per_second: 0 is no limit. reset_after:
    bytes from the sender before both sides get a reset; swallow_answers: what the receiver says goes nowhere."""

    latency_seconds: float = 0.0
    piece: int = PIECE
    bytes_per_second: int = 0
    reset_after: int | None = None
    swallow_answers: bool = False


class ToxicProxy:
    """``with ToxicProxy(port) as proxy``: what connects to ``proxy.port`` speaks to ``port``, more or less."""

    def __init__(self, port: int) -> None:
        self.target, self.port = port, free_port()
        self.toxics: deque[Toxic] = deque()
        self.connections = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._busy: set[asyncio.Task[None]] = set()

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(asyncio.start_server(self._serve, LOOPBACK, self.port), self._loop).result(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    async def _end(self) -> None:
        for task in list(self._busy):
            task.cancel()
        await asyncio.gather(*self._busy, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._busy.add(task)
        self.connections += 1
        toxic = self.toxics.popleft() if self.toxics else Toxic()
        try:
            onward, back = await asyncio.open_connection(LOOPBACK, self.target)
        except OSError:
            writer.transport.abort()
            return
        both = (writer, back)
        ways = (self._pass(reader, back, toxic, both), self._answers(onward, writer, toxic, both))
        with contextlib.suppress(OSError, asyncio.CancelledError):
            await asyncio.gather(*ways)
        for side in both:
            side.transport.abort()
        self._busy.discard(task)

    async def _pass(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        toxic: Toxic,
        both: tuple[asyncio.StreamWriter, asyncio.StreamWriter],
    ) -> None:
        left = toxic.reset_after
        while content := await reader.read(toxic.piece if left is None else min(toxic.piece, left)):
            await asyncio.sleep(toxic.latency_seconds)
            writer.write(content)
            await writer.drain()
            if toxic.bytes_per_second:
                await asyncio.sleep(len(content) / toxic.bytes_per_second)
            if left is not None:
                left -= len(content)
                if not left:
                    _reset(both)
                    return
        writer.write_eof()

    async def _answers(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        toxic: Toxic,
        both: tuple[asyncio.StreamWriter, asyncio.StreamWriter],
    ) -> None:
        seen = 0
        while content := await reader.read(PIECE):
            seen += 1
            await asyncio.sleep(toxic.latency_seconds)
            if toxic.swallow_answers and seen > 1:  # all but the answer to the request of an association
                continue
            writer.write(content)
            await writer.drain()
        if not toxic.swallow_answers:
            writer.write_eof()


def _reset(both: tuple[asyncio.StreamWriter, asyncio.StreamWriter]) -> None:
    for side in both:
        connection: socket.socket = side.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        side.transport.abort()
