"""Associations that this node asks for: to whom, how long it waits, and whose the answers are.

pynetdicom's ``send_*`` methods wait for their answer at the queue from which the association's own thread takes the
requests of the peer, and its checkpoint leaves a gap between the two (3.0.4): a quick answer can be taken by that
thread, which knows nothing to do with it, and whoever asked waits until the time-out (pynetdicom issue 875). On the
associations made here that thread takes requests alone.
"""

from __future__ import annotations

import queue
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from pynetdicom import _config, evt
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext

from node.dimse.tls import Certificates
from node.dimse.waiting import WaitingEntity

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
        evt_handlers=[(evt.EVT_CONN_OPEN, _without_delay), *handlers],
    )
    leave_answers(association)
    return association


def leave_answers(association: Association) -> None:
    """From now on the association's own thread leaves answers, and the word that it broke, to whoever waits for them.

    To be called before the first question."""
    provider = association.dimse
    waited_for = provider.get_msg

    def get_msg(block: bool = False) -> Any:
        return waited_for(block=True) if block else _request(provider.msg_queue)

    provider.get_msg = get_msg  # type: ignore[method-assign]


def _request(waiting: queue.Queue[Any]) -> tuple[int | None, Any]:
    """The next message if it is a request, PS3.7 section 6.3.1: only answers say to what they answer."""
    with waiting.mutex:
        _, first = waiting.queue[0] if waiting.queue else (None, None)
        if first is None or getattr(first, "MessageIDBeingRespondedTo", None) is not None:
            return None, None
        return cast("tuple[int, Any]", waiting.queue.popleft())


def away(peer: Peer) -> str:
    return f"{peer.aet} at {peer.host}:{peer.port} did not answer or broke the association"


def _without_delay(event: evt.Event) -> None:
    """A message is several small writes: with Nagle's algorithm each waits for the peer's delayed acknowledgement."""
    connection: Any = event.assoc.dul.socket
    connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
