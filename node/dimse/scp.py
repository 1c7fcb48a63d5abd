"""Storage and Verification SCP. A handler translates and answers; receipt itself is ``pipeline.intake``."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Sequence
from typing import Any, Protocol

from pydicom import Dataset
from pynetdicom import AE, _config, evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.transport import ThreadedAssociationServer

from node.core import log
from node.core.errors import InternalError, LungnodeError, Misconfigured
from node.core.settings import Node, Receive
from node.core.study import Origin
from node.dimse import contexts, streaming
from node.dimse.access import Access
from node.dimse.status import SUCCESS, status_of
from node.dimse.tls import Certificates, OverTls
from node.pipeline.intake import Announced, Arriving, Intake

logger = logging.getLogger(__name__)


class Service(Protocol):
    """One more service beside storage: presentation contexts, handlers, and what it does to a new association."""

    handlers: list[Any]

    def offer(self, ae: AE) -> None: ...

    def attach(self, assoc: Association) -> None: ...


class Receiver:
    """Listens once ``start`` returns; ``port`` is then the real one. ``stop`` lets associations end first."""

    def __init__(
        self,
        node: Node,
        receive: Receive,
        intake: Intake,
        services: Sequence[Service] = (),
        certificates: Certificates | None = None,
        access: Access | None = None,
    ) -> None:
        self._node, self._intake, self._services = node, intake, services
        self._certificates, self.access = certificates, access or Access()
        self._names: dict[Association, str] = {}
        self._ae = _application_entity(node, receive, self.access.storage)
        for service in services:
            service.offer(self._ae)
        self._servers: dict[str, Any] = {}

    def start(self) -> None:
        handlers: list[Any] = [
            (evt.EVT_REQUESTED, self._requested),
            (evt.EVT_ESTABLISHED, self._established),
            (evt.EVT_CONN_CLOSE, self._closed),
            (evt.EVT_REJECTED, self._rejected),
            (evt.EVT_C_STORE, self._store),
            *(handler for service in self._services for handler in service.handlers),
        ]
        tls = self._certificates.tls if self._certificates and self._certificates.tls.certificate else None
        if tls is None or not tls.only:
            self._servers["dicom"] = self._open(self._node.dicom_port, handlers, None)
        if tls is not None:
            self._servers["dicom_tls"] = self._open(tls.port, handlers, self._certificates)
        log.event(logger, "receiver.listening", **self.ports)

    def _open(self, port: int, handlers: list[Any], certificates: Certificates | None) -> Any:
        host = self._node.dicom_host
        try:
            return self._listen((host, port), handlers, certificates)
        except OSError as error:
            raise Misconfigured(f"the DICOM port {host}:{port} cannot be opened: {error.strerror}") from error

    def _listen(self, address: tuple[str, int], handlers: list[Any], certificates: Certificates | None) -> Any:
        """The quick server; pynetdicom's own where its inner names have changed."""
        kind, more = _server(certificates, self._ae.acse_timeout)
        if issubclass(kind, streaming.StreamingServer):
            more["taker"] = self
        else:
            log.event(logger, "receiver.ordinary", logging.WARNING, reason="this pynetdicom has other inner names")
        server = self._ae.make_server(address, evt_handlers=handlers, server_class=kind, **more)
        threading.Thread(target=server.serve_forever, name="AcceptorServer", daemon=True).start()
        self._ae._servers.append(server)  # for its shutdown
        return server

    @property
    def ports(self) -> dict[str, int]:
        """Those that are open: ``dicom``, ``dicom_tls``."""
        return {name: int(server.server_address[1]) for name, server in self._servers.items()}

    @property
    def port(self) -> int:
        """The plain one, or the only one."""
        return next(iter(self.ports.values()))

    def stop(self, drain_seconds: float) -> None:
        """No new association; those that run get ``drain_seconds`` to end before they are aborted."""
        if not self._servers:
            return
        for server in self._servers.values():
            server.socket.close()
        deadline = time.monotonic() + drain_seconds
        while self._ae.active_associations and time.monotonic() < deadline:
            time.sleep(0.05)
        self._ae.shutdown()

    def _requested(self, event: evt.Event) -> None:
        assoc = event.assoc
        request: Any = assoc.requestor.primitive
        calling = str(request.calling_ae_title).strip()
        rejection = self.access.enter(assoc, calling, str(assoc.requestor.address))
        if rejection is not None:
            assoc.acse.send_reject(rejection.result, rejection.source, rejection.reason)
            evt.trigger(assoc, evt.EVT_REJECTED, {})
            assoc.kill()

    def _established(self, event: evt.Event) -> None:
        name = uuid.uuid4().hex[:12]
        self._names[event.assoc] = name
        self._intake.association_opened(name)
        for service in self._services:
            service.attach(event.assoc)
        origin = self._origin(event.assoc)
        log.event(logger, "association.opened", association=name, aet=origin.calling_aet, address=origin.address)

    def _closed(self, event: evt.Event) -> None:
        self.access.leave(event.assoc)
        name = self._names.pop(event.assoc, None)
        if name is not None:
            self._intake.association_closed(name)
            log.event(logger, "association.closed", association=name)

    def _rejected(self, event: evt.Event) -> None:
        answer: Any = event.assoc.acceptor.primitive
        reason = self.access.note(answer.result, answer.result_source, answer.diagnostic)
        address = event.assoc.requestor.address
        log.event(logger, "association.rejected", logging.WARNING, address=address, reason=reason)

    def _origin(self, assoc: Association) -> Origin:
        requestor, acceptor = assoc.requestor, assoc.acceptor
        name = self._names.get(assoc, "")
        return Origin(name, requestor.ae_title.strip(), acceptor.ae_title.strip(), str(requestor.address))

    def _store(self, event: evt.Event) -> int | Dataset:
        """The ordinary way: all of it at once."""
        request: Any = event.request
        arriving = self.begin(event.assoc, request, str(event.context.transfer_syntax))
        arriving.add(request.DataSet.getbuffer())
        return self.finish(arriving)

    def begin(self, assoc: Association, request: C_STORE, transfer_syntax_uid: str) -> Arriving:
        origin = self._origin(assoc)
        self.access.wait(origin.calling_aet)
        sop_class, instance = str(request.AffectedSOPClassUID), str(request.AffectedSOPInstanceUID)
        return self._intake.begin(Announced(transfer_syntax_uid, sop_class, instance), origin)

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
        return (streaming.StreamingServer if quick else ThreadedAssociationServer), {}
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
    ae.require_called_aet = receive.require_called_aet
    ae.require_calling_aet = list(receive.calling_aets)
    ae.acse_timeout = receive.acse_timeout_seconds
    ae.dimse_timeout = receive.dimse_timeout_seconds
    ae.network_timeout = receive.network_timeout_seconds
    return ae
