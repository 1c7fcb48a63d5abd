"""The connections of the HTTP port: TLS whose certificate is renewed by replacing its files, and no waiting for ever.

TLS 1.3, and 1.2 with ephemeral ECDH and authenticated encryption alone (RFC 9325 section 4.2), as on the DICOM port.
Files that do not fit together, as in the midst of a renewal, leave the former certificate in use and say so in the log.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from node.core import log
from node.core.errors import Misconfigured

logger = logging.getLogger(__name__)
CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
HEADER_SECONDS = 20.0  # for all header fields of a request, from the opening of the connection or the answer before
MOST_HEADER_BYTES = 1 << 16  # of a request, its URL included
MOST_CONNECTIONS = 1000  # at once; more are answered 503
Stamp = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True)
class Secrecy:
    """certificate, key: PEM files; empty: no TLS. proxies: networks whose word on the client's address is taken."""

    certificate: str = ""
    key: str = ""
    proxies: tuple[str, ...] = ()


PLAIN = Secrecy()


class Certificate:
    """A context for TLS that follows its files. Misconfigured where they cannot be used at the start."""

    def __init__(self, secrecy: Secrecy) -> None:
        self._files = (secrecy.certificate, secrecy.key)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2  # RFC 8996
        self.context.set_ciphers(CIPHERS)
        self.context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
        self.context.set_alpn_protocols(["http/1.1"])
        try:
            self._seen = self._stamp()
            self._load()
        except (OSError, ValueError) as error:
            raise Misconfigured(f"web.certificate and web.key cannot be used: {_said(error)}") from error

    async def renew(self) -> None:
        try:
            stamp = self._stamp()
            if stamp == self._seen:
                return
            self._seen = stamp
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(*self._files, _no_password)  # do they fit?
            self._load()
        except (OSError, ValueError) as error:
            log.event(logger, "web.certificate_not_renewed", logging.WARNING, reason=_said(error))
        else:
            log.event(logger, "web.certificate_renewed")

    def _stamp(self) -> Stamp:
        stats = [Path(file).stat() for file in self._files]
        return tuple((stat.st_ino, stat.st_mtime_ns, stat.st_size) for stat in stats)

    def _load(self) -> None:
        self.context.load_cert_chain(*self._files, _no_password)


def _no_password() -> str:
    raise ValueError("the key is encrypted; a node that starts by itself needs one without a password")


def _said(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or "not a PEM file as wanted").lower().replace("_", " ")
    return error.strerror or "it cannot be read" if isinstance(error, OSError) else str(error)


class Hurried(HttpToolsProtocol):
    """HTTP/1.1 that ends a connection whose request does not begin, or whose header fields are too slow or too long."""

    _deadline: asyncio.TimerHandle | None = None
    _size = 0

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._begin()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        self._begin()
        self._size = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._end()
        super().on_headers_complete()

    def _count(self, size: int) -> None:
        self._size += size
        if self._size > MOST_HEADER_BYTES:
            raise ValueError("the header fields are too long")  # the parser answers 400 and closes the connection

    def _begin(self) -> None:
        self._end()
        self._deadline = self.loop.call_later(HEADER_SECONDS, self.transport.close)

    def _end(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
