"""Storage and Verification SCP. A handler translates and answers; receipt itself is ``pipeline.intake``."""

from __future__ import annotations

import logging
import socket
import threading
import time
import uuid
from collections.abc import Sequence
from typing import Any, Protocol

from pydicom import Dataset
from pynetdicom import AE, _config, evt
from pynetdicom.association import Association

from node.core import log
from node.core.errors import InternalError, LungnodeError
from node.core.settings import Node, Receive
from node.core.study import Origin
from node.dimse import contexts, streaming
from node.dimse.access import Access, called_aet
from node.dimse.listening import OVER_TLS, Doors, SharedDoor
from node.dimse.status import SUCCESS, status_of
from node.dimse.tls import Certificates, OverTls
from node.dimse.wire import StoreRequest
from node.pipeline.intake import Announced, Arriving, Intake

logger = logging.getLogger(__name__)
TURN_SECONDS = 10.0  # within which a thread that looks for connections has its turn, however busy the machine


class Service(Protocol):
    """One more service beside storage: presentation contexts, handlers, and what it does to a new association."""

    handlers: list[Any]

    def offer(self, ae: AE) -> None: ...

    def attach(self, assoc: Association) -> None: ...


class Receiver:
    """Of one process. It takes connections once ``start`` returns; ``stop`` lets associations end first."""

    def __init__(
        self,
        node: Node,
        receive: Receive,
        intake: Intake,
        access: Access,
        services: Sequence[Service] = (),
        certificates: Certificates | None = None,
    ) -> None:
        self._intake, self._access, self._services, self._certificates = intake, access, services, certificates
        self._names: dict[Association, str] = {}
        self._ae = _application_entity(node, receive, access.storage)
        for service in services:
            service.offer(self._ae)
        self._servers: dict[str, Any] = {}
        self._is_closed = False

    def start(self, doors: Doors) -> None:
        """Take connections from sockets that listen already; they are the receiver's to close."""
        handlers: list[Any] = [
            (evt.EVT_REQUESTED, self._requested),
            (evt.EVT_ESTABLISHED, self._established),
            (evt.EVT_CONN_CLOSE, self._closed),
            (evt.EVT_REJECTED, self._rejected),
            (evt.EVT_C_STORE, self._store),
            *(handler for service in self._services for handler in service.handlers),
        ]
        for name, door in doors.items():
            self._servers[name] = self._serve(door, handlers, self._certificates if name == OVER_TLS else None)
        log.event(logger, "receiver.listening", **self.ports)

    def _serve(self, door: socket.socket, handlers: list[Any], certificates: Certificates | None) -> Any:
        """The quick server; the ordinary way where pynetdicom's inner names have changed."""
        kind, more = _server(certificates, self._ae.acse_timeout)
        if issubclass(kind, streaming.StreamingServer):
            more["taker"] = self
        else:
            log.event(logger, "receiver.ordinary", logging.WARNING, reason="this pynetdicom has other inner names")
        server = self._ae.make_server(door.getsockname(), evt_handlers=handlers, server_class=kind, door=door, **more)
        threading.Thread(target=server.serve_forever, name="AcceptorServer", daemon=True).start()
        self._ae._servers.append(server)  # for its shutdown
        return server

    @property
    def ports(self) -> dict[str, int]:
        """Those that are open, by the names of the doors."""
        return {name: int(server.server_address[1]) for name, server in self._servers.items()}

    def close(self) -> None:
        """No new association from now on; other processes may take those that come."""
        if not self._is_closed:
            for server in self._servers.values():
                server.close_door()
            self._is_closed = True

    @property
    def is_turning(self) -> bool:
        """Whether each of its ports is looked after; one that was closed need not be."""
        since = time.monotonic() - TURN_SECONDS
        return self._is_closed or all(server.turned_at > since for server in self._servers.values())

    @property
    def is_idle(self) -> bool:
        return not self._ae.active_associations

    def stop(self, drain_seconds: float) -> None:
        """No new association; those that run get ``drain_seconds`` to end before they are aborted."""
        if not self._servers:
            return
        self.close()
        deadline = time.monotonic() + drain_seconds
        while not self.is_idle and time.monotonic() < deadline:
            time.sleep(0.05)
        self._ae.shutdown()

    def _requested(self, event: evt.Event) -> None:
        assoc = event.assoc
        request: Any = assoc.requestor.primitive
        calling = str(request.calling_ae_title).strip()
        for ended in [one for one in list(self._names) if not one.is_alive()]:
            self._leave(ended)
        name = uuid.uuid4().hex[:12]
        rejection = self._access.enter(name, calling, str(assoc.requestor.address), called_aet(assoc))
        if rejection is None:
            self._names[assoc] = name
        else:
            assoc.acse.send_reject(rejection.result, rejection.source, rejection.reason)
            evt.trigger(assoc, evt.EVT_REJECTED, {})
            assoc.kill()

    def _established(self, event: evt.Event) -> None:
        for service in self._services:
            service.attach(event.assoc)
        origin = self._origin(event.assoc)
        log.event(
            logger, "association.opened", association=origin.association, aet=origin.calling_aet, address=origin.address
        )

    def _closed(self, event: evt.Event) -> None:
        if name := self._leave(event.assoc):
            log.event(logger, "association.closed", association=name)

    def _leave(self, assoc: Association) -> str:
        """The name that it had; empty where it had none."""
        name = self._names.pop(assoc, "")
        if name:
            self._access.leave(name)
        return name

    def _rejected(self, event: evt.Event) -> None:
        self._leave(event.assoc)
        answer: Any = event.assoc.acceptor.primitive
        reason = self._access.note(answer.result, answer.result_source, answer.diagnostic)
        address = event.assoc.requestor.address
        log.event(logger, "association.rejected", logging.WARNING, address=address, reason=reason)

    def _origin(self, assoc: Association) -> Origin:
        requestor, acceptor = assoc.requestor, assoc.acceptor
        name, site = self._names.get(assoc, ""), self._access.site(called_aet(assoc))
        calling, called = requestor.ae_title.strip(), acceptor.ae_title.strip()
        return Origin(name, calling, called_aet(assoc) if site else called, str(requestor.address), site=site)

    def _store(self, event: evt.Event) -> int | Dataset:
        """The ordinary way: all of it at once."""
        request: Any = event.request
        store = StoreRequest(request.MessageID, str(request.AffectedSOPClassUID), str(request.AffectedSOPInstanceUID))
        arriving = self.begin(event.assoc, store, str(event.context.transfer_syntax))
        arriving.add(request.DataSet.getbuffer())
        return self.finish(arriving)

    def begin(self, assoc: Association, request: StoreRequest, transfer_syntax_uid: str) -> Arriving:
        origin = self._origin(assoc)
        self._access.wait(origin.calling_aet)
        announced = Announced(transfer_syntax_uid, request.sop_class_uid, request.sop_instance_uid)
        return self._intake.begin(announced, origin)

    def finish(self, arriving: Arriving) -> int | Dataset:
        """Success once it is durable, else a status with its sentence."""
        try:
            self._intake.finish(arriving)
        except LungnodeError as error:
            return self._answer(arriving, error)
        except Exception:
            logger.exception("instance.failed", extra={"fields": {"association": arriving.origin.association}})
            return self._answer(arriving, InternalError("the node failed; its log says why"))
        return SUCCESS

    def drop(self, arriving: Arriving) -> None:
        self._intake.drop(arriving)

    def _answer(self, arriving: Arriving, error: LungnodeError) -> Dataset:
        status = status_of(error)
        self._intake.refuse(arriving.announced, arriving.origin, status, error)
        answer = Dataset()
        answer.Status = status
        answer.ErrorComment = str(error)[:64]  # LO, PS3.7 C.5
        return answer


def _server(certificates: Certificates | None, handshake_seconds: float | None) -> tuple[type, dict[str, Any]]:
    """The class that fits, and what it wants to know."""
    quick = streaming.usable()
    if certificates is None:
        return (streaming.StreamingServer if quick else SharedDoor), {}
    more = {"certificates": certificates, "handshake_seconds": handshake_seconds}
    return (_QuickOverTls if quick else OverTls), more


class _QuickOverTls(OverTls, streaming.StreamingServer):
    pass


def _application_entity(node: Node, receive: Receive, storage: contexts.Storage) -> AE:
    _config.LOG_HANDLER_LEVEL = "none"  # its log lines quote data sets
    ae = AE(ae_title=node.aet)
    for sop_class in storage.sop_classes:
        ae.add_supported_context(sop_class, list(storage.transfer_syntaxes))
    ae.add_supported_context(contexts.VERIFICATION)
    ae.maximum_associations = receive.max_associations
    ae.maximum_pdu_size = receive.max_pdu_bytes
    ae.require_calling_aet = list(receive.calling_aets)
    ae.acse_timeout = receive.acse_timeout_seconds
    ae.dimse_timeout = receive.dimse_timeout_seconds
    ae.network_timeout = receive.network_timeout_seconds
    return ae
