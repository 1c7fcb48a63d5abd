"""The socket of an association that takes C-STORE the quick way (``streaming``).

It reads into memory that is given to it, takes bytes back, and never waits for ever, neither for a peer that is silent
nor for one that sends a byte now and then.
"""

from __future__ import annotations

import select
import socket
import ssl
import struct
import time
from typing import cast

from pynetdicom.association import Association
from pynetdicom.transport import AssociationSocket

STEP = 1 << 20  # bytes read at once of what the ordinary way asks for
LARGEST_REQUEST = 1 << 18  # of an association: 128 contexts with every transfer syntax and 64 KiB of user information
LARGEST_PDU = 1 << 20  # of all but the data of a C-STORE: it is in memory, with an object for each of its values
RECEIVE_BUFFER = 1 << 20  # of the kernel
AWAITING_REQUEST = "Sta2"  # PS3.8 Table 9-2: the connection is open, and the A-ASSOCIATE-RQ is to come
SLOWEST = 1024  # bytes a second that a message may come at, once the network timeout has passed


class StreamingSocket(AssociationSocket):
    """A socket that takes bytes back, reads into a buffer, and never waits for ever.

    The kernel keeps the time of a plain one and wakes us when all that was asked for has come (MSG_WAITALL), not at
    each segment. TLS has no such flag; Python keeps its time.
    """

    def __init__(self, assoc: Association, client_socket: socket.socket) -> None:
        super().__init__(assoc, client_socket=client_socket)
        self._returned = bytearray()
        self.begin_message()
        client_socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client_socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        if isinstance(client_socket, ssl.SSLSocket):
            client_socket.settimeout(assoc.network_timeout)
            self._flags = 0
            return
        client_socket.settimeout(None)
        self._flags = socket.MSG_WAITALL
        seconds, part = divmod(assoc.network_timeout or 0, 1)  # 0: for ever
        limit = struct.pack("ll", int(seconds), int(part * 1e6))
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            client_socket.setsockopt(socket.SOL_SOCKET, option, limit)

    def begin_message(self) -> None:
        """What comes from now on is given its time: a peer that sends a byte now and then holds no place for ever."""
        self._begun, self._came = time.monotonic(), 0

    def _is_too_slow(self) -> bool:
        patience: float | None = self.assoc.network_timeout
        return patience is not None and time.monotonic() > self._begun + patience + self._came / SLOWEST

    @property
    def ready(self) -> bool:
        return bool(self._returned) or super().ready

    def recv(self, nr_bytes: int) -> bytearray:
        """As the original: what has come of ``nr_bytes`` when the connection ends. OSError where it is too much."""
        # This thread runs the state machine; ``assoc.is_established`` may still be false when the peer has its answer.
        is_request = self.assoc.dul.state_machine.current_state == AWAITING_REQUEST
        if nr_bytes > (LARGEST_REQUEST if is_request else LARGEST_PDU):
            raise ConnectionError("a PDU is too large")
        content = bytearray()
        while len(content) < nr_bytes:  # in steps: the length is only what the peer claims
            step = bytearray(min(nr_bytes - len(content), STEP))
            done = self.fill(memoryview(step))
            content += step if done == len(step) else step[:done]
            if done < len(step):
                break
        return content

    def put_back(self, content: bytes | bytearray | memoryview) -> None:
        self._returned[:0] = content

    def fill(self, target: memoryview) -> int:
        """Read until ``target`` is full or the connection ends; how much was read. OSError on silence and faults."""
        done = min(len(self._returned), len(target))
        if done:
            target[:done] = self._returned[:done]
            del self._returned[:done]
        connection = cast(socket.socket, self.socket)
        while done < len(target):
            count = connection.recv_into(target[done:], 0, self._flags)
            if not count:
                break
            done += count
            self._came += count
            if self._is_too_slow():
                raise TimeoutError("the message comes too slowly")
        return done

    def comes_within(self, seconds: float) -> bool:
        """Whether there is something to read before ``seconds`` have passed."""
        if self._returned:
            return True
        if self.socket is None:
            return False
        if isinstance(self.socket, ssl.SSLSocket) and self.socket.pending():
            return True
        try:
            poll = select.poll()
            poll.register(self.socket, select.POLLIN)
            return bool(poll.poll(seconds * 1000))
        except (OSError, ValueError):
            return False
