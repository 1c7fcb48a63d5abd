"""The settings of [tls]: over which connections DICOM travels encrypted, and who must show a certificate."""

from __future__ import annotations

from dataclasses import dataclass

from node.core.errors import Misconfigured


@dataclass(frozen=True)
class Tls:
    """PEM files by path, each empty where there is none. ``certificate`` empty: no TLS port."""

    port: int
    only: bool
    certificate: str
    key: str
    authorities: str
    require_peer_certificate: bool
    check_host_name: bool
    destinations: tuple[str, ...]


def check_tls(tls: Tls) -> None:
    """What a type cannot say."""
    if not 0 <= tls.port < 65536:
        raise Misconfigured("tls.port is a port number, 0 to 65535")
    if bool(tls.certificate) != bool(tls.key):
        raise Misconfigured("tls.certificate and tls.key are set together")
    if tls.only and not tls.certificate:
        raise Misconfigured("tls.only leaves no DICOM port open, since there is no tls.certificate")
    if tls.certificate and tls.require_peer_certificate and not tls.authorities:
        raise Misconfigured("tls.require_peer_certificate needs tls.authorities: who signs the peers' certificates?")
