"""Who may associate, how often at once, how fast and with what: addresses, limits of each calling AE title, classes.

A refusal is an A-ASSOCIATE-RJ: for ever where the address is not one of the peer's, for now where the peer has all the
associations that it may have. Who sends too fast is made to wait before the next object is read, so that TCP slows it
down; nothing is refused for that.
"""

from __future__ import annotations

import ipaddress
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pynetdicom.association import Association

from node.core.limits import Limits, PeerLimits
from node.dimse.contexts import USUAL, Storage, storage


@dataclass(frozen=True)
class Rejection:
    """The fields of an A-ASSOCIATE-RJ, PS3.8 Table 9-21."""

    result: int
    source: int
    reason: int


ADDRESS_UNKNOWN = Rejection(1, 1, 1)  # permanent, service user, no reason given
NOT_ITS_ADDRESS = Rejection(1, 1, 3)  # permanent, service user, calling AE title not recognised
TOO_MANY = Rejection(2, 3, 2)  # transient, service provider (presentation), local limit exceeded
WORDS = {
    (1, 1, 1): "address not allowed",
    (1, 1, 3): "calling AE title not allowed, or not from this address",
    (1, 1, 7): "called AE title is not ours",
    (2, 3, 2): "too many associations",
}


class Access:
    """Shared by all associations; every method may be called from any thread. ``rejected``: how many, by reason."""

    def __init__(
        self,
        calling_addresses: Sequence[str] = (),
        peers: Mapping[str, PeerLimits] | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        storage: Storage = USUAL,
    ) -> None:
        self._general, self._peers = _networks(calling_addresses), dict(peers or {})
        self._networks = {aet: _networks(limits.addresses) for aet, limits in self._peers.items()}
        self._clock, self._sleep, self.storage = clock, sleep, storage
        self._lock = threading.Lock()
        self._held: dict[str, set[Association]] = {aet: set() for aet in self._peers}
        self._next: dict[str, float] = {}
        self.rejected: Counter[str] = Counter()

    @classmethod
    def of(cls, limits: Limits, peers: Mapping[str, PeerLimits]) -> Access:
        return cls(limits.calling_addresses, peers, storage=storage(limits.sop_classes))

    def enter(self, association: Association, calling_aet: str, address: str) -> Rejection | None:
        """None: it may go on, and counts until it has ended."""
        if self._general and not _within(address, self._general):
            return ADDRESS_UNKNOWN
        limits = self._peers.get(calling_aet)
        if limits is None:
            return None
        if limits.addresses and not _within(address, self._networks[calling_aet]):
            return NOT_ITS_ADDRESS
        with self._lock:
            held = self._held[calling_aet]
            held -= {one for one in held if not one.is_alive()}
            if limits.max_associations and len(held) >= limits.max_associations:
                return TOO_MANY
            held.add(association)
        return None

    def leave(self, association: Association) -> None:
        with self._lock:
            for held in self._held.values():
                held.discard(association)

    def note(self, result: int, source: int, reason: int) -> str:
        """Count a rejection, ours or the library's; its reason in words."""
        words = WORDS.get((result, source, reason), f"result {result}, source {source}, reason {reason}")
        with self._lock:
            self.rejected[words] += 1
        return words

    def wait(self, calling_aet: str) -> None:
        """Before an object of this peer is received: until it is its turn. All associations of the peer share it."""
        limits = self._peers.get(calling_aet)
        if limits is None or not limits.max_instances_per_second:
            return
        with self._lock:
            now = self._clock()
            turn = max(now, self._next.get(calling_aet, now))
            self._next[calling_aet] = turn + 1 / limits.max_instances_per_second
        if turn > now:
            self._sleep(turn - now)


Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _networks(texts: Sequence[str]) -> tuple[Network, ...]:
    return tuple(ipaddress.ip_network(text) for text in texts)


def _within(address: str, networks: Sequence[Network]) -> bool:
    """An IPv4 address that comes by an IPv6 socket (RFC 4291 section 2.5.5.2) is that IPv4 address too."""
    found = ipaddress.ip_address(address)
    mapped = getattr(found, "ipv4_mapped", None) or found
    return any(found in network or mapped in network for network in networks)
