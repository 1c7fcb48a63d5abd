"""Syslog: a message as RFC 5424 has it, over UDP (RFC 5426) or TLS with octet counting (RFC 5425).

Syslog has no answers. What "taken" means here: over UDP, that the datagrams left; over TLS, that the collector's TCP
has acknowledged every byte. A message may so arrive twice after a failure; it names its row.
"""

from __future__ import annotations

import array
import contextlib
import fcntl
import os
import socket
import ssl
import termios
import time
from collections.abc import Sequence
from dataclasses import dataclass

from node.core.audit import Audit, collector_of

PRIORITY = 10 * 8 + 5  # facility 10, security and authorization; severity 5, notice: PS3.15 A.7
MESSAGE_ID = "DICOM+RFC3881"  # PS3.15 A.7
BOM = b"\xef\xbb\xbf"  # RFC 5424 section 6.4: a message in UTF-8 begins with it
CONNECT_SECONDS, TAKE_SECONDS, LOOK_SECONDS = 5.0, 10.0, 0.005


def line(body: bytes, at: str, host: str) -> bytes:
    """RFC 5424. at: as the trail writes it."""
    head = f"<{PRIORITY}>1 {at} {_header(host, 255)} lungnode {os.getpid()} {MESSAGE_ID} - "
    return head.encode("ascii") + BOM + body


def _header(text: str, longest: int) -> str:
    """PRINTUSASCII of RFC 5424 section 6; nothing is written as a hyphen."""
    return "".join(letter for letter in text if "!" <= letter <= "~")[:longest] or "-"


def counted(message: bytes) -> bytes:
    """RFC 5425 section 4.3: the length in octets, a space, the message."""
    return b"%d %b" % (len(message), message)


@dataclass(frozen=True)
class Collector:
    """Where messages go. ``send`` raises OSError (ssl.SSLError is one) where not all of them were taken."""

    wanted: Audit

    def send(self, messages: Sequence[bytes]) -> None:
        kind, host, port = collector_of(self.wanted.collector)
        if kind == "udp":
            self._datagrams(host, port, messages)
        else:
            self._stream(host, port, messages)

    def _datagrams(self, host: str, port: int, messages: Sequence[bytes]) -> None:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, socket.SOCK_DGRAM) as sender:
            sender.connect(address)  # so that a port that is closed on the other side is an error here
            for message in messages:
                sender.send(message)

    def _stream(self, host: str, port: int, messages: Sequence[bytes]) -> None:
        with (
            socket.create_connection((host, port), CONNECT_SECONDS) as plain,
            self._context().wrap_socket(plain, server_hostname=host) as secure,
        ):
            secure.settimeout(TAKE_SECONDS)
            secure.sendall(b"".join(map(counted, messages)))
            _wait_taken(secure)
            secure.settimeout(LOOK_SECONDS)
            with contextlib.suppress(OSError):  # many collectors close without a word; what was sent is with them
                secure.unwrap()

    def _context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.wanted.authorities or None)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.wanted.certificate:
            context.load_cert_chain(self.wanted.certificate, self.wanted.key)
        return context


def _wait_taken(connection: socket.socket) -> None:
    """Until the other side's TCP has acknowledged all bytes (SIOCOUTQ, tcp(7))."""
    deadline = time.monotonic() + TAKE_SECONDS
    left = array.array("i", [0])
    while True:
        fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, left)
        if failed := connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise OSError(failed, os.strerror(failed))
        if left[0] == 0:
            return
        if time.monotonic() > deadline:
            raise TimeoutError("the collector does not take what was sent")
        time.sleep(LOOK_SECONDS)
