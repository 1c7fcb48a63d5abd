"""However an association ends, all of it ends: both threads of pynetdicom, the connection, and what is known of it.

pynetdicom reads what peers send in two threads of each association and lets some of it end one of them by an exception:
the connection is then closed without an A-ABORT, or stays open with nobody behind it, and EVT_CONN_CLOSE is not always
triggered. ``guard`` mends that. ``BoundedMessages`` bounds what a peer can make the ordinary way hold in memory, and
how long: pynetdicom decodes a command anew with each fragment that says it is the last.
"""

from __future__ import annotations

import functools
import logging
import time
import traceback
from collections.abc import Callable
from typing import Any

from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dul import DULServiceProvider

from node.core import log
from node.dimse import wire

logger = logging.getLogger(__name__)
LARGEST_COMMAND = 1 << 16  # bytes of a command set, whose longest values are a few UIDs or tags
LARGEST_MESSAGE = 1 << 25  # bytes of a message that pynetdicom assembles: identifiers, lists of instances
POLL_SECONDS = 0.1
SMALLEST_LENGTH = 128  # of a PDU of ours, also where the peer says less; 7 bytes of it could carry nothing
ABORT = b"\x07\x00\x00\x00\x00\x04\x00\x00\x02\x00"  # A-ABORT by the service provider, no reason, PS3.8 section 9.3.8


class TooLarge(Exception):
    """A message that never ends, or should not be so long."""


class OutOfOrder(Exception):
    """A fragment of a data set before its command is whole, or of a command after that."""


class BoundedMessages(DIMSEServiceProvider):
    """The DIMSE provider of an association, whose messages are a command and then, where one is wanted, a data set."""

    _size, _commanded = 0, False

    @property
    def maximum_pdu_size(self) -> int:
        said = int(super().maximum_pdu_size)
        return max(said, SMALLEST_LENGTH) if said else said

    def receive_primitive(self, primitive: Any) -> None:
        for _, fragment in primitive.presentation_data_value_list:
            self._check(fragment)
        super().receive_primitive(primitive)
        if self.message is None:
            self._size, self._commanded = 0, False

    def _check(self, fragment: bytes) -> None:
        self._size += len(fragment)
        if self._size > (LARGEST_MESSAGE if self._commanded else LARGEST_COMMAND):
            raise TooLarge
        control = fragment[0]
        if bool(control & wire.COMMAND) is self._commanded:
            raise OutOfOrder
        self._commanded = self._commanded or bool(control & wire.LAST)


class EndingProvider(DULServiceProvider):
    """An upper layer provider that keeps nobody waiting once it has ended: nothing more can come from the peer."""

    def receive_pdu(self, wait: bool = False, timeout: float | None = None) -> Any:
        """As the original, until then; pynetdicom asks for the answer to a release on an association that the peer
        aborted a moment before, and would wait for it as long as the peer has for its answers."""
        if not wait or timeout is None:
            return super().receive_pdu(wait, timeout)
        end = time.monotonic() + timeout
        while not self._kill_thread and (left := end - time.monotonic()) > 0:
            primitive = super().receive_pdu(True, min(POLL_SECONDS, left))
            if primitive is not None:
                return primitive
        return super().receive_pdu(False)


def guard(assoc: Association) -> None:
    """To be called before either thread has started."""
    assoc.dul.run = functools.partial(_watched, assoc.dul.run, assoc)  # type: ignore[method-assign]
    assoc.run = functools.partial(_to_its_end, assoc.run, assoc)  # type: ignore[method-assign]


def _to_its_end(run: Callable[[], None], assoc: Association) -> None:
    _watched(run, assoc)
    remote = assoc.requestor.address_info
    evt.trigger(assoc, evt.EVT_CONN_CLOSE, {"address": remote.as_tuple if remote else ("", 0)})


def _watched(run: Callable[[], None], assoc: Association) -> None:
    try:
        run()
    except Exception as error:  # noqa: BLE001 - pynetdicom raises what the peer makes it raise
        address = str(assoc.requestor.address)
        log.event(logger, "association.broken", logging.WARNING, address=address, fault=_fault(error))
        _break_off(assoc)


def _break_off(assoc: Association) -> None:
    """Past the state machine, which cannot be relied on any more. The peer is told first: the association's own thread
    closes the connection as soon as it sees that all is over."""
    connection = assoc.dul.socket
    if connection is not None and connection.socket is not None:
        connection.send(ABORT)
    assoc.is_aborted, assoc.is_established, assoc._kill = True, False, True
    assoc.dul.kill_dul()
    if connection is not None:
        connection.close()


def _fault(error: Exception) -> str:
    """The kind of exception and where; never its words, which may quote a data set."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return f"{type(error).__name__} in {frames[-1].f_code.co_name}" if frames else type(error).__name__
