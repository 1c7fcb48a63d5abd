"""Syslog collectors of the tests: UDP, and TLS that reads frames by their octet count (RFC 5425)."""

from __future__ import annotations

import socket
import ssl
import threading
from typing import Self

from tests.dimse.certificates import Pair
from tests.peers import LOOPBACK


class UdpCollector:
    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        self._socket.bind((LOOPBACK, 0))
        self._socket.settimeout(10)
        self.url = f"udp://{LOOPBACK}:{self._socket.getsockname()[1]}"

    def take(self, count: int) -> list[bytes]:
        return [self._socket.recv(65_536) for _ in range(count)]

    def close(self) -> None:
        self._socket.close()


class TlsCollector:
    """Keeps every message that was framed whole. breaks_after: bytes of a connection after which it resets that one."""

    def __init__(self, pair: Pair, port: int = 0, authorities: str = "", breaks_after: int | None = None) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(pair.certificate, pair.key)
        if authorities:
            self._context.load_verify_locations(authorities)
            self._context.verify_mode = ssl.CERT_REQUIRED
        self._door = socket.create_server((LOOPBACK, port))
        self.port = int(self._door.getsockname()[1])
        self.url = f"tls://{LOOPBACK}:{self.port}"
        self.messages: list[bytes] = []
        self.breaks_after = breaks_after
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._door.close()
        with socket.socket() as knock:  # wakes accept()
            knock.settimeout(0.2)
            knock.connect_ex((LOOPBACK, self.port))
        self._thread.join(5)

    def _serve(self) -> None:
        while True:
            try:
                plain, _ = self._door.accept()
            except OSError:
                return
            try:
                with self._context.wrap_socket(plain, server_side=True) as connection:
                    self._read(connection)
            except OSError:
                plain.close()

    def _read(self, connection: ssl.SSLSocket) -> None:
        data = b""
        while True:
            if self.breaks_after is not None and len(data) >= self.breaks_after:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset
                return
            part = connection.recv(256 if self.breaks_after is not None else 65_536)
            if not part:
                return
            data += part
            while b" " in data[:8]:
                length, rest = data.split(b" ", 1)
                if len(rest) < int(length):
                    break
                self.messages.append(rest[: int(length)])
                data = rest[int(length) :]
