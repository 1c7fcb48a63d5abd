"""Who may associate, how often at once, how fast and with what: addresses, limits of each calling AE title, classes.

A refusal is an A-ASSOCIATE-RJ: for ever where the address is not one of the peer's, for now where the peer has all the
associations that it may have. Who sends too fast is made to wait before the next object is read, so that TCP slows it
down; nothing is refused for that. Limits and pace hold for all receiver processes of the node together.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from node.board import Board
from node.core.limits import PeerLimits, networks, within
from node.core.settings import Settings
from node.core.site import Site, site_called
from node.dimse.contexts import USUAL, Storage, storage

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Rejection:
    """The fields of an A-ASSOCIATE-RJ, PS3.8 Table 9-21."""

    result: int
    source: int
    reason: int


NOT_OURS = Rejection(1, 1, 7)  # permanent, service user, called AE title not recognised
ADDRESS_UNKNOWN = Rejection(1, 1, 1)  # permanent, service user, no reason given
NOT_ITS_ADDRESS = Rejection(1, 1, 3)  # permanent, service user, calling AE title not recognised
TOO_MANY = Rejection(2, 3, 2)  # transient, service provider (presentation), local limit exceeded
CONGESTED = Rejection(2, 3, 1)  # transient, service provider (presentation), temporary congestion
NO_LIMITS = PeerLimits()
WORDS = {
    (1, 1, 1): "address not allowed",
    (1, 1, 3): "calling AE title not allowed, or not from this address",
    (1, 1, 7): "called AE title is not ours",
    (2, 3, 2): "too many associations",
    (2, 3, 1): "the data folder cannot be written",
}


def called_aet(assoc: Any) -> str:
    """The AE title that the peer called, which need not be ours."""
    return str(assoc.requestor.primitive.called_ae_title).strip()


class Access:
    """Shared by all associations; every method may be called from any thread. What is counted stands on the board."""

    def __init__(
        self,
        board: Board,
        calling_addresses: Sequence[str] = (),
        peers: Mapping[str, PeerLimits] | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        storage: Storage = USUAL,
        most: int = 0,
        called_aets: Sequence[str] = (),
        sites: Mapping[str, Site] | None = None,
    ) -> None:
        """most: associations of everybody; 0: no limit. clock: one that all processes share. called_aets: those that
        are ours; empty: any is."""
        self._board, self._most = board, most
        self._general, self._peers = networks(calling_addresses), dict(peers or {})
        self._networks = {aet: networks(limits.addresses) for aet, limits in self._peers.items()}
        self._clock, self._sleep, self.storage = clock, sleep, storage
        self._called, self._sites = frozenset(called_aets), dict(sites or {})

    @classmethod
    def of(cls, board: Board, effective: Settings) -> Access:
        limits, sites = effective.limits, effective.sites
        ours = (effective.node.aet, *(aet for site in sites.values() for aet in site.aets))
        return cls(
            board,
            limits.calling_addresses,
            effective.access,
            storage=storage(limits.sop_classes),
            most=effective.receive.max_associations,
            called_aets=ours if effective.receive.require_called_aet else (),
            sites=sites,
        )

    def site(self, called_aet: str) -> str | None:
        """The site that a called AE title is of; empty: the node itself; None: there are no sites."""
        return site_called(self._sites, called_aet)

    def enter(self, association: str, calling_aet: str, address: str, called_aet: str = "") -> Rejection | None:
        """None: it may go on, and counts in all processes until it leaves."""
        if self._called and called_aet not in self._called:
            return NOT_OURS
        if (refusal := self._refused_by_site(calling_aet, address, called_aet)) is not None:
            return refusal
        if self._general and not within(address, self._general):
            return ADDRESS_UNKNOWN
        limits = self._peers.get(calling_aet, NO_LIMITS)
        if limits.addresses and not within(address, self._networks[calling_aet]):
            return NOT_ITS_ADDRESS
        try:
            entered = self._board.enter(association, calling_aet, self._most, limits.max_associations)
        except OSError:
            logger.exception("board.failed")
            return CONGESTED
        return None if entered else TOO_MANY

    def _refused_by_site(self, calling_aet: str, address: str, called_aet: str) -> Rejection | None:
        site = self._sites.get(self.site(called_aet) or "")
        if site is None:
            return None
        if site.calling_aets and calling_aet not in site.calling_aets:
            return NOT_ITS_ADDRESS
        outside = site.calling_addresses and not within(address, networks(site.calling_addresses))
        return ADDRESS_UNKNOWN if outside else None

    def leave(self, association: str) -> None:
        self._board.leave(association)

    def note(self, result: int, source: int, reason: int) -> str:
        """Count a rejection, ours or the library's; its reason in words."""
        words = WORDS.get((result, source, reason), f"result {result}, source {source}, reason {reason}")
        self._board.note_rejection(words)
        return words

    def wait(self, calling_aet: str) -> None:
        """Before an object of this peer is received: until it is its turn. All associations of the peer share it."""
        rate = self._peers.get(calling_aet, NO_LIMITS).max_instances_per_second
        if not rate:
            return
        now = self._clock()
        turn = self._board.turn(calling_aet, now, 1 / rate)
        if turn > now:
            self._sleep(turn - now)
