"""A quicker way through pynetdicom for C-STORE: data set fragments go from the socket into the memory of their file.

pynetdicom copies a data set five times and hands it between two threads that sleep while they wait. Here the provider's
thread, in state Sta6 and between messages, looks at each P-DATA PDU: one that holds a complete C-STORE-RQ command on an
accepted context is served on the spot, by the ``Taker`` of the server; everything else is put back and takes the
ordinary way. The names used are semi-private, hence the pinned version; ``usable`` says whether they are
all there, and the receiver takes the ordinary server where they are not.

It also mends two waits of the ordinary way: a peer that closes before it asks for an association frees its place at
once, and a peer that goes silent within a PDU, or sends a byte now and then, is dropped after the network timeout.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import struct
import threading
from collections.abc import Iterator
from typing import Any, Protocol, cast

from pydicom import Dataset
from pydicom.uid import UID
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dul import DULServiceProvider
from pynetdicom.service_class import StorageServiceClass
from pynetdicom.transport import AssociationSocket, RequestHandler

from node.dimse import ending, wire
from node.dimse.listening import SharedDoor
from node.dimse.status import SUCCESS
from node.dimse.stream_socket import LARGEST_PDU, StreamingSocket

logger = logging.getLogger(__name__)
LINGER_SECONDS = 0.02  # wait for the next request of a busy sender before going back to the provider's loop


def usable() -> bool:
    """Whether this pynetdicom has every name that the quick way is built on."""
    reading = ("_read_pdu_data", "_is_transport_event", "receive_pdu", "_process_recv_primitive", "kill_dul")
    needed = (
        (DULServiceProvider, reading),
        (AssociationSocket, ("recv", "ready")),
        (RequestHandler, ("_create_association",)),
    )
    return all(hasattr(owner, name) for owner, names in needed for name in names)


class Arriving(Protocol):
    """A data set while it comes in."""

    def room(self, most: int) -> memoryview:
        """Where the next bytes go: at least one, at most ``most``."""
        ...

    def took(self, count: int) -> None: ...

    def add(self, content: bytes | memoryview) -> None: ...


class Taker(Protocol):
    """Who keeps what is received. ``finish`` gives the status of the response; every other end is ``drop``."""

    def begin(self, assoc: Association, request: wire.StoreRequest, transfer_syntax_uid: str) -> Arriving: ...

    def finish(self, arriving: Any) -> int | Dataset: ...

    def drop(self, arriving: Any) -> None: ...


class _Unusual(Exception):
    """The peer sent a fragment that cannot belong to the message under way."""


class _Dropped(Exception):
    """The peer broke the message off with another PDU, which is put back: an abort, say."""


class Checkpoint(threading.Event):
    """Where an association's own thread waits while others use the association: now also while C-STORE after C-STORE
    is served, when it would look for work a thousand times a second and find none."""

    def __init__(self) -> None:
        super().__init__()
        self.set()
        self._idle = threading.Event()
        self._idle.set()

    def wait(self, timeout: float | None = None) -> bool:
        """``timeout`` is that of the first wait."""
        while super().wait(timeout):
            self._idle.wait()
            if self.is_set() and self._idle.is_set():
                return True
        return False

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        self._idle.clear()
        try:
            yield
        finally:
            self._idle.set()


class StreamingProvider(ending.EndingProvider):
    """The upper layer provider with the quick way for C-STORE, which begins when ``taker`` is set."""

    taker: Taker | None = None

    def _is_transport_event(self) -> bool:
        """As the original, but nothing is read while a message waits to be served: TCP slows its sender down."""
        if self.state_machine.current_state == "Sta6" and not self.assoc.dimse.msg_queue.empty():
            return False
        return bool(super()._is_transport_event())

    def _read_pdu_data(self) -> None:
        connection = self.socket
        if isinstance(connection, StreamingSocket):
            connection.begin_message()
        if self.taker is None or not isinstance(connection, StreamingSocket) or not self._between_messages():
            super()._read_pdu_data()
            return
        try:
            if self._serve_stores(connection, self.taker):
                return
        except _Dropped:
            pass
        except _Unusual:
            self.event_queue.put("Evt19")  # invalid PDU: the association is aborted
            return
        except OSError:
            self.event_queue.put("Evt17")  # transport connection closed
            return
        super()._read_pdu_data()

    def _serve_stores(self, connection: StreamingSocket, taker: Taker) -> bool:
        """One C-STORE after the other, until none follows at once; False where the next PDU does not begin one."""
        with cast(Checkpoint, self.assoc._reactor_checkpoint).kept():
            served = self._serve_store(connection, taker)
            while served and self._between_messages() and connection.comes_within(LINGER_SECONDS):
                served = self._serve_store(connection, taker)
        return served

    def _between_messages(self) -> bool:
        return (
            self.state_machine.current_state == "Sta6"
            and self.assoc.is_established
            and self.assoc.dimse.message is None
            and self.assoc.dimse.msg_queue.empty()
            and self.to_provider_queue.empty()
            and self.event_queue.empty()
            and not self._kill_thread
        )

    def _serve_store(self, connection: StreamingSocket, taker: Taker) -> bool:
        """Receive and answer one C-STORE; False with everything put back when the next PDU does not begin one."""
        connection.begin_message()
        head = connection.recv(6)
        if len(head) < 6 or head[0] != wire.P_DATA_TF:
            connection.put_back(head)
            return False
        (length,) = struct.unpack(">L", head[2:6])
        if length > LARGEST_PDU:
            connection.put_back(head)
            return False
        body = connection.recv(length)
        values = wire.values(memoryview(body)) if len(body) == length else []
        request = self._command(values)
        if request is None:
            connection.put_back(body)
            connection.put_back(head)
            return False
        context_id = values[0][0]
        arriving = taker.begin(self.assoc, request, str(self.assoc._accepted_cx[context_id].transfer_syntax[0]))
        try:
            ended = False
            for context, control, content in values[1:]:
                if context != context_id or control & wire.COMMAND or ended:
                    raise _Unusual
                arriving.add(content)
                ended = bool(control & wire.LAST)
            while not ended:
                ended = self._receive_fragments(connection, arriving, context_id)
        except BaseException:
            taker.drop(arriving)
            raise
        self._answer(request, context_id, taker.finish(arriving))
        self._idle_timer.restart()
        return True

    def _command(self, values: list[tuple[int, int, memoryview]]) -> wire.StoreRequest | None:
        """The request, without its data set, where ``values`` begin with a whole C-STORE-RQ on an accepted context."""
        if not values:
            return None
        context_id, control, content = values[0]
        context = self.assoc._accepted_cx.get(context_id)
        if control != wire.COMMAND | wire.LAST or context is None:
            return None
        try:
            request = wire.store_request(content)
        except (KeyError, ValueError, TypeError, struct.error):  # the ordinary way meets the same bytes and answers
            return None
        return request if request is not None and request.sop_class_uid == context.abstract_syntax else None

    def _receive_fragments(self, connection: StreamingSocket, arriving: Arriving, context_id: int) -> bool:
        """One P-DATA PDU in the middle of a data set; True with the last fragment."""
        head = connection.recv(6)
        if len(head) == 6 and head[0] != wire.P_DATA_TF:
            connection.put_back(head)
            raise _Dropped
        if len(head) < 6:
            raise ConnectionError
        (length,) = struct.unpack(">L", head[2:6])
        ended = False
        while length:
            value_head = connection.recv(6)
            if len(value_head) < 6:
                raise ConnectionError
            size, context, control = struct.unpack(">LBB", value_head)
            if size < 2 or size + 4 > length or context != context_id or control & wire.COMMAND or ended:
                raise _Unusual
            left = size - 2
            while left:  # in steps, as there is room: the size is only what the peer claims
                count = connection.fill(arriving.room(left))
                if not count:
                    raise ConnectionError
                arriving.took(count)
                left -= count
            length -= size + 4
            ended = bool(control & wire.LAST)
        self._idle_timer.restart()
        return ended

    def _answer(self, request: wire.StoreRequest, context_id: int, status: int | Dataset) -> None:
        """Send the status before anything else is read."""
        if not self.assoc.is_established:
            return
        if status == SUCCESS:
            cast(StreamingSocket, self.socket).send(wire.success(request, context_id))
            return
        answer = C_STORE()
        answer.MessageIDBeingRespondedTo = request.message_id
        answer.AffectedSOPInstanceUID = UID(request.sop_instance_uid)
        answer.AffectedSOPClassUID = UID(request.sop_class_uid)
        answer = StorageServiceClass(self.assoc).validate_status(status, answer)
        self.assoc.dimse.send_msg(answer, context_id)
        while self._process_recv_primitive():
            try:
                self.state_machine.do_action(self.event_queue.get(block=False))
            except queue.Empty:
                return


class StreamingHandler(RequestHandler):
    """Makes associations whose provider and socket know the quick way."""

    def _create_association(self) -> Association:
        assoc = super()._create_association()
        provider = StreamingProvider(assoc)
        provider.taker = getattr(self.server, "taker", None)
        assoc.dul = provider
        assoc._reactor_checkpoint = Checkpoint()
        assoc.dimse = ending.BoundedMessages(assoc)
        ending.guard(assoc)
        assoc.acse_timeout, assoc.network_timeout = self.ae.acse_timeout, self.ae.network_timeout  # its timers are new
        provider.socket = StreamingSocket(assoc, self.request)
        return assoc


class StreamingServer(SharedDoor):
    """``SharedDoor`` with the quick way."""

    def __init__(self, *arguments: Any, taker: Taker, **keywords: Any) -> None:
        self.taker = taker
        keywords["request_handler"] = StreamingHandler
        super().__init__(*arguments, **keywords)
