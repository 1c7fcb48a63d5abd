"""DICOM over TLS: contexts for both directions, and a server whose every connection begins with a handshake.

PS3.15 B.12 (BCP 195 with RFC 8996 and RFC 9325): TLS 1.3, and TLS 1.2 with ephemeral ECDH and authenticated encryption
alone. Sessions are not resumed, so that each association shows its certificate. A certificate is renewed by replacing
its files: the next connection sees it, those that run go on. Files that do not fit together, as in the midst of a
renewal, leave the former certificate in use and a warning in the log.
"""

from __future__ import annotations

import logging
import socket
import ssl
import threading
from pathlib import Path
from typing import Any

from node.core import log
from node.core.errors import Misconfigured
from node.core.security import Tls
from node.dimse.listening import SharedDoor

logger = logging.getLogger(__name__)
CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"  # of TLS 1.2, RFC 9325 section 4.2; those of TLS 1.3 are all permitted
Stamp = tuple[tuple[int, int, int], ...]


class Certificates:
    """What we show and whom we trust, as the files say now."""

    def __init__(self, tls: Tls) -> None:
        self.tls = tls
        self._lock = threading.Lock()
        try:
            self._seen = self._stamp()
            self._server, self._client = self._read()
        except (OSError, ValueError) as error:
            raise Misconfigured(f"the files of [tls] cannot be used: {_said(error)}") from error

    def server(self) -> ssl.SSLContext:
        self._renew()
        if self._server is None:
            raise Misconfigured("there is no tls.certificate to serve with")
        return self._server

    def client(self, host: str) -> tuple[ssl.SSLContext, str]:
        """As pynetdicom wants it: a context, and the name that the peer's certificate must hold."""
        self._renew()
        return self._client, host

    def _renew(self) -> None:
        with self._lock:
            try:
                stamp = self._stamp()
                if stamp == self._seen:
                    return
                self._seen = stamp
                self._server, self._client = self._read()
            except (OSError, ValueError) as error:
                log.event(logger, "tls.not_renewed", logging.WARNING, reason=_said(error))
            else:
                log.event(logger, "tls.renewed")

    def _stamp(self) -> Stamp:
        files = (self.tls.certificate, self.tls.key, self.tls.authorities)
        stats = [Path(file).stat() for file in files if file]
        return tuple((stat.st_ino, stat.st_mtime_ns, stat.st_size) for stat in stats)

    def _read(self) -> tuple[ssl.SSLContext | None, ssl.SSLContext]:
        return self._read_server() if self.tls.certificate else None, self._read_client()

    def _read_server(self) -> ssl.SSLContext:
        context = _context(ssl.PROTOCOL_TLS_SERVER)
        context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
        context.num_tickets = 0
        context.load_cert_chain(self.tls.certificate, self.tls.key, _no_password)
        if self.tls.require_peer_certificate:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(self.tls.authorities)
        return context

    def _read_client(self) -> ssl.SSLContext:
        context = _context(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = self.tls.check_host_name
        if self.tls.authorities:
            context.load_verify_locations(self.tls.authorities)
        else:
            context.load_default_certs(ssl.Purpose.SERVER_AUTH)
        if self.tls.certificate:
            context.load_cert_chain(self.tls.certificate, self.tls.key, _no_password)
        return context


class OverTls(SharedDoor):
    """A server of associations over TLS. The handshake is made in the thread of its own connection, within
    ``handshake_seconds``: a peer that never ends it holds up nobody."""

    def __init__(self, *arguments: Any, certificates: Certificates, handshake_seconds: float, **keywords: Any) -> None:
        self._certificates, self._handshake_seconds = certificates, handshake_seconds
        super().__init__(*arguments, **keywords)

    def finish_request(self, request: Any, client_address: Any) -> None:
        connection: socket.socket = request
        try:
            connection.settimeout(self._handshake_seconds)
            secured = self._certificates.server().wrap_socket(connection, server_side=True)
        except (OSError, ValueError) as error:
            log.event(logger, "tls.refused", logging.WARNING, address=client_address[0], reason=_said(error))
            self.shutdown_request(request)
            return
        secured.settimeout(self.ae.network_timeout)
        super().finish_request(secured, client_address)


def _context(protocol: int) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # RFC 8996: nothing older
    context.set_ciphers(CIPHERS)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_TICKET  # RFC 9325 section 3
    return context


def _no_password() -> str:
    raise ValueError("the key is encrypted; a node that starts by itself needs one without a password")


def _said(error: Exception) -> str:
    """Without file contents and without OpenSSL's source lines."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate refused: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return (error.reason or "not a PEM file as wanted").lower().replace("_", " ")
    return (error.strerror or "the peer went silent") if isinstance(error, OSError) else str(error)
