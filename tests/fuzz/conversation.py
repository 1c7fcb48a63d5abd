"""A raw association over a blocking socket: PDUs in, PDUs out, nothing between."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterator

from tests.fuzz import messages
from tests.peers import LOOPBACK

A_ASSOCIATE_AC, P_DATA_TF, A_RELEASE_RP, A_ABORT = 0x02, 0x04, 0x06, 0x07  # PS3.8 section 9.3.1


@contextlib.contextmanager
def associated(port: int, largest: int = 16384) -> Iterator[socket.socket]:
    with socket.create_connection((LOOPBACK, port), 60) as connection:
        connection.sendall(messages.associate_rq(largest=largest).encode())
        assert read(connection)[0] == A_ASSOCIATE_AC
        yield connection


def read(connection: socket.socket) -> tuple[int, bytes]:
    """Type and body of the next PDU; type 0 at the end of the connection."""
    head = _exactly(connection, 6)
    if len(head) < 6:
        return 0, b""
    return head[0], _exactly(connection, struct.unpack(">L", head[2:])[0])


def _exactly(connection: socket.socket, count: int) -> bytes:
    content = b""
    while len(content) < count and (more := connection.recv(count - len(content))):
        content += more
    return content


def status(body: bytes) -> int:
    """(0000,0900) of a command set that came in one PDU."""
    return int.from_bytes(body.split(bytes.fromhex("0000000902000000"))[1][:2], "little")
