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

from node.board import Board
from node.core.limits import PeerLimits, networks, within
from node.core.settings import Settings
from node.dimse.contexts import USUAL, Storage, storage

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Rejection:
    """The fields of an A-ASSOCIATE-RJ, PS3.8 Table 9-21."""

    result: int
    source: int
    reason: int


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
    ) -> None:
        """most: associations of everybody; 0: no limit. clock: one that all processes share."""
        self._board, self._most = board, most
        self._general, self._peers = networks(calling_addresses), dict(peers or {})
        self._networks = {aet: networks(limits.addresses) for aet, limits in self._peers.items()}
        self._clock, self._sleep, self.storage = clock, sleep, storage

    @classmethod
    def of(cls, board: Board, effective: Settings) -> Access:
        limits = effective.limits
        return cls(
            board,
            limits.calling_addresses,
            effective.access,
            storage=storage(limits.sop_classes),
            most=effective.receive.max_associations,
        )

    def enter(self, association: str, calling_aet: str, address: str) -> Rejection | None:
        """None: it may go on, and counts in all processes until it leaves."""
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
