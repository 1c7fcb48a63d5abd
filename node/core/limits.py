"""The settings of [limits] and [access]: from where peers may connect, how much at once, and when the node is full."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from node.core.errors import Misconfigured


@dataclass(frozen=True)
class Limits:
    """Of everybody. ``calling_addresses`` empty: any."""

    calling_addresses: tuple[str, ...]
    sop_classes: str
    max_waiting_studies: int
    warn_free_factor: float


@dataclass(frozen=True)
class PeerLimits:
    """Of one calling AE title; 0 and empty: no limit of its own."""

    addresses: tuple[str, ...] = ()
    max_associations: int = 0
    max_instances_per_second: float = 0.0


def check_limits(limits: Limits) -> None:
    _check_networks("limits.calling_addresses", limits.calling_addresses)
    if limits.sop_classes not in ("usual", "all"):
        raise Misconfigured('limits.sop_classes is "usual" or "all"')
    if limits.max_waiting_studies < 0 or limits.warn_free_factor < 0:
        raise Misconfigured("limits.max_waiting_studies and limits.warn_free_factor are 0 or more")


def read_access(tree: Mapping[str, Any]) -> dict[str, PeerLimits]:
    """The tables of [access], by AE title."""
    return {aet: _read_peer(f'access."{aet}"', values) for aet, values in tree.items()}


def _read_peer(where: str, values: object) -> PeerLimits:
    if not isinstance(values, dict) or set(values) - {"addresses", "max_associations", "max_instances_per_second"}:
        raise Misconfigured(f"{where} is a table of addresses, max_associations and max_instances_per_second")
    addresses = values.get("addresses", ())
    if not isinstance(addresses, (list, tuple)) or not all(isinstance(one, str) for one in addresses):
        raise Misconfigured(f"{where}: addresses is a list of networks")
    _check_networks(f"{where}: addresses", addresses)
    most, rate = values.get("max_associations", 0), values.get("max_instances_per_second", 0)
    if type(most) is not int or most < 0:
        raise Misconfigured(f"{where}: max_associations is a number, 0 or more")
    if type(rate) not in (int, float) or not (rate == 0 or rate >= 1):  # slower, and associations would look silent
        raise Misconfigured(f"{where}: max_instances_per_second is 0, or 1 and more")
    return PeerLimits(tuple(addresses), most, float(rate))


Network = ipaddress.IPv4Network | ipaddress.IPv6Network
LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))


def networks(texts: Sequence[str]) -> tuple[Network, ...]:
    return tuple(ipaddress.ip_network(text) for text in texts)


def within(address: str, networks: Sequence[Network]) -> bool:
    """An IPv4 address that comes by an IPv6 socket (RFC 4291 section 2.5.5.2) is that IPv4 address too."""
    found = ipaddress.ip_address(address)
    mapped = getattr(found, "ipv4_mapped", None) or found
    return any(found in network or mapped in network for network in networks)


def _check_networks(where: str, networks: tuple[str, ...] | list[str]) -> None:
    for text in networks:
        try:
            ipaddress.ip_network(text)
        except ValueError as error:
            raise Misconfigured(f'{where}: {text!r} is no address or network such as "10.1.0.0/16"') from error
