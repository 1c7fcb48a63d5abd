"""Associations that this node asks for: to whom, how long it waits, and whose the answers are.

pynetdicom's ``send_*`` methods wait for their answer at the queue from which the association's own thread takes the
requests of the peer, and its checkpoint leaves a gap between the two (3.0.4): a quick answer can be taken by that
thread, which knows nothing to do with it, and whoever asked waits until the time-out (pynetdicom issue 875). On the
associations made here that thread takes requests alone.
"""

from __future__ import annotations

import contextlib
import logging
import math
import queue
import socket
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pynetdicom import _config, evt
from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.presentation import PresentationContext

from node.core import log
from node.dimse.tls import Certificates
from node.dimse.waiting import WaitingEntity

logger = logging.getLogger(__name__)
LAST_NUMBER = 0xFFFF  # of a message, which is a US: PS3.7 section 9.3
LOOK_SECONDS = 0.1  # between two looks at whether the association lives; pynetdicom does not always say
PDU_BYTES = 131072  # the longest that we take on our own associations


@dataclass(frozen=True)
class Peer:
    host: str
    port: int
    aet: str
    calling_aet: str
    acse_timeout: float = 10.0
    dimse_timeout: float = 60.0
    certificates: Certificates | None = None  # given where it is spoken to over TLS

    @property
    def tls_args(self) -> tuple[ssl.SSLContext, str] | None:
        return self.certificates.client(self.host) if self.certificates else None


def associate(
    peer: Peer, proposed: Sequence[PresentationContext], handlers: Sequence[Any] = (), roles: Sequence[Any] = ()
) -> Association:
    """With the time-outs of the peer; ``is_established`` says whether it came about. handlers: pairs of an event and
    who is told; roles: extended negotiation."""
    _config.LOG_HANDLER_LEVEL = "none"
    _config.STORE_SEND_CHUNKED_DATASET = True  # a file goes out as it is, neither decoded nor encoded again
    ae = WaitingEntity(ae_title=peer.calling_aet)
    ae.acse_timeout = ae.connection_timeout = peer.acse_timeout
    ae.dimse_timeout = ae.network_timeout = peer.dimse_timeout
    association = ae.associate(
        peer.host,
        peer.port,
        list(proposed),
        peer.aet,
        PDU_BYTES,
        ext_neg=list(roles),
        tls_args=peer.tls_args,
        evt_handlers=[(evt.EVT_CONN_OPEN, _connected), *handlers],
    )
    association.dimse = Questions(association)
    return association


class Questions(DIMSEServiceProvider):
    """The messages of an association on which we ask. Each question has a number of its own, and whoever waits gets an
    ``answer`` to the last one.

    asked: the number of the last question.
    """

    asked = 0

    def send_msg(self, primitive: Any, context_id: int) -> None:
        if primitive.MessageIDBeingRespondedTo is None:
            self.asked = primitive.MessageID = self.asked % LAST_NUMBER + 1
        super().send_msg(primitive, context_id)

    def get_msg(self, block: bool = False) -> tuple[Any, Any]:
        """The association's own thread, which does not block, gets requests alone (PS3.7 section 6.3.1)."""
        return answer(self, self.asked) if block else self._request()

    def _request(self) -> tuple[Any, Any]:
        waiting = self.msg_queue
        with waiting.mutex:
            _, first = waiting.queue[0] if waiting.queue else (None, None)
            if first is None or getattr(first, "MessageIDBeingRespondedTo", None) is not None:
                return None, None
            context, message = waiting.queue.popleft()
            return context, message


def answer(messages: DIMSEServiceProvider, asked: int) -> tuple[Any, Any]:
    """To the question of this number, or the word that there will be none, on an association that either side opened.
    Other answers are dropped, be they late or sent twice."""
    association, seconds = messages.assoc, messages.dimse_timeout
    end = math.inf if seconds is None else time.monotonic() + seconds
    lives = True
    while lives and (left := end - time.monotonic()) > 0:
        lives = association.dul.is_alive() and not association.acse.is_aborted()  # before the last look
        with contextlib.suppress(queue.Empty):
            context, message = messages.msg_queue.get(timeout=min(left, LOOK_SECONDS))
            if getattr(message, "MessageIDBeingRespondedTo", None) in (None, asked):
                return context, message
            peer = association.acceptor if association.is_requestor else association.requestor
            log.event(logger, "association.stray_answer", logging.WARNING, aet=peer.ae_title)
            lives = True
    return None, None


def away(peer: Peer) -> str:
    return f"{peer.aet} at {peer.host}:{peer.port} did not answer or broke the association"


def _connected(event: evt.Event) -> None:
    """A message is several small writes: with Nagle's algorithm each waits for the peer's delayed acknowledgement. And
    pynetdicom waits for ever for the rest of a PDU, or until one is taken."""
    connection: Any = event.assoc.dul.socket
    connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.socket.settimeout(event.assoc.network_timeout)
