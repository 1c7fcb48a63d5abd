"""C-MOVE and C-GET SCP over sources and results, Patient Root and Study Root.

pynetdicom's own service wants each object as a decoded data set; here the requests are answered by this module, so that
files go out as they are stored and counts and failures are those of the files. One response for each sub-operation.
PS3.4 sections C.4.2 and C.4.3.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from io import BytesIO
from typing import Any

from pydicom import Dataset
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_GET, C_MOVE
from pynetdicom.dsutils import decode, encode
from pynetdicom.presentation import PresentationContext
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    PatientRootQueryRetrieveInformationModelGet,
    PatientRootQueryRetrieveInformationModelMove,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
)

from node.archive import Archive
from node.core import log
from node.core.errors import Transient
from node.db.catalogue import Held
from node.dimse import contexts
from node.dimse.access import called_aet
from node.dimse.associating import Peer
from node.dimse.find import SiteOf, asked_by, everything, read
from node.dimse.status import SUCCESS, WARNINGS
from node.dimse.suboperations import NotSent, Originator, open_association, store
from node.pipeline.catalogue import Catalogue, NotAnIdentifier
from node.pipeline.trail import Tell, untold

logger = logging.getLogger(__name__)
PATIENT_ROOT = (
    str(PatientRootQueryRetrieveInformationModelGet),
    str(PatientRootQueryRetrieveInformationModelMove),
)
STUDY_ROOT = (str(StudyRootQueryRetrieveInformationModelGet), str(StudyRootQueryRetrieveInformationModelMove))
MODELS = PATIENT_ROOT + STUDY_ROOT
PENDING = 0xFF00  # sub-operations are continuing, PS3.4 Tables C.4-2 and C.4-3
SOME_FAILED = 0xB000  # Warning: sub-operations complete, one or more failures or warnings, the same tables
NO_COUNT = 0xA701  # Refused: out of resources, unable to calculate number of matches, the same tables
NONE_SENT = 0xA702  # Refused: out of resources, unable to perform sub-operations, the same tables
NO_DESTINATION = 0xA801  # Refused: move destination unknown, PS3.4 Table C.4-2
NOT_AN_IDENTIFIER = 0xA900  # Error: identifier does not match SOP class, the same tables
UNABLE = 0xC000  # Failed: unable to process, the same tables
CANCELLED = 0xFE00  # sub-operations terminated due to cancel indication, the same tables
MOST = 65535  # the counts are US


@dataclass
class Progress:
    """Counts of one retrieval, PS3.7 Table 9.3-7; failed: the UIDs of what was not taken."""

    remaining: int
    completed: int = 0
    warning: int = 0
    failed: list[str] = field(default_factory=list)

    def note(self, one: Held, status: int | None) -> None:
        self.remaining -= 1
        if status == SUCCESS:
            self.completed += 1
        elif status in WARNINGS:
            self.warning += 1
        else:
            self.failed.append(one.sop_instance_uid)

    def give_up(self, left: list[Held]) -> None:
        self.remaining = 0
        self.failed += [one.sop_instance_uid for one in left]

    @property
    def final(self) -> int:
        if not self.failed and not self.warning:
            return SUCCESS
        return SOME_FAILED if self.completed or self.warning else NONE_SENT


class RetrieveService:
    """What the receiver offers of C-MOVE and C-GET. destinations: of a site, by AE title, as C-MOVE names them. tell:
    the audit trail, before the first object goes. site_of: the site of a called AE title, whose studies alone go."""

    def __init__(
        self,
        catalogue: Catalogue,
        archive: Archive,
        destinations: Callable[[str], Mapping[str, Peer]],
        tell: Tell = untold,
        site_of: SiteOf = everything,
    ) -> None:
        self._catalogue, self._archive, self._destinations = catalogue, archive, destinations
        self._tell, self._site_of = tell, site_of
        self.handlers: list[Any] = []

    def offer(self, ae: AE) -> None:
        """The models; and storage in both roles, for requestors that want to receive on their own association."""
        for model in MODELS:
            ae.add_supported_context(model)
        for context in ae.supported_contexts:
            if context.abstract_syntax in contexts.EVERY:
                context.scu_role = context.scp_role = True

    def attach(self, assoc: Association) -> None:
        """Take C-MOVE and C-GET requests of this association from pynetdicom."""
        ordinary = assoc._serve_request

        def serve(message: Any, context_id: int) -> None:
            context = assoc._accepted_cx.get(context_id)
            if isinstance(message, (C_GET, C_MOVE)) and message.is_valid_request and context is not None:
                self._serve(_Request(assoc, message, context))
            else:
                ordinary(message, context_id)

        assoc._serve_request = serve  # type: ignore[assignment, method-assign]

    def _serve(self, request: _Request) -> None:
        request.assoc.dimse.cancel_req = {}
        request.assoc._is_paused = True  # the reactor waits for us
        try:
            self._answer(request)
        except NotAnIdentifier as error:
            request.refuse(NOT_AN_IDENTIFIER, str(error))
        except Exception:
            logger.exception("retrieve.failed")
            request.refuse(UNABLE, "the node failed; its log says why")
        finally:
            request.assoc.dul._idle_timer.restart()  # the requestor of a C-MOVE is silent as long as that takes
            request.assoc._is_paused = False
            request.assoc.dimse.cancel_req = {}

    def _answer(self, request: _Request) -> None:
        destination, site = None, self._site_of(called_aet(request.assoc))
        if isinstance(request.message, C_MOVE):
            destination = self._destinations(site or "").get(str(request.message.MoveDestination).strip())
            if destination is None:
                request.refuse(NO_DESTINATION, "the settings of this node know no such AE title")
                return
        query, _ = read(request.identifier(), patient_root=request.context.abstract_syntax in PATIENT_ROOT)
        self._tell(asked_by(request.assoc, "retrieve", str(request.context.abstract_syntax), query))
        held = self._catalogue.held(replace(query, site=site))
        if len(held) > MOST:
            request.refuse(NO_COUNT, f"more than {MOST} objects")
            return
        if destination is None or not held:
            self._send_all(request, held, request.assoc, None)
            return
        association = open_association(destination, held)
        if association is None:
            progress = Progress(len(held))
            progress.give_up(held)
            request.finish(NONE_SENT, progress, "the move destination does not answer")
            return
        try:
            originator = Originator(request.assoc.requestor.ae_title.strip(), request.message_id)
            self._send_all(request, held, association, originator)
        finally:
            if association.is_established:
                association.release()

    def _send_all(self, request: _Request, held: list[Held], over: Association, originator: Originator | None) -> None:
        progress = Progress(len(held))
        reasons: set[str] = set()
        for number, one in enumerate(held):
            if request.is_cancelled():
                request.finish(CANCELLED, progress)
                return
            if not over.is_established:
                progress.give_up(held[number:])
                reasons.add("the association for the objects broke")
                break
            try:
                path = self._archive.path(one.path)
                status = store(over, one, path, (request.message_id + number) % MOST + 1, originator)
            except (NotSent, Transient) as error:
                status = None
                reasons.add(str(error))
            progress.note(one, status)
            if progress.remaining:
                request.pending(progress)
        request.finish(progress.final, progress, "; ".join(sorted(reasons)))


class _Request:
    """One C-MOVE or C-GET, and the responses to it."""

    def __init__(self, assoc: Association, message: C_GET | C_MOVE, context: PresentationContext) -> None:
        self.assoc, self.message, self.context = assoc, message, context
        self.message_id = int(message.MessageID or 0)
        self._encoding = (
            context.transfer_syntax[0].is_implicit_VR,
            context.transfer_syntax[0].is_little_endian,
            context.transfer_syntax[0].is_deflated,
        )

    def identifier(self) -> Dataset:
        if self.message.Identifier is None:
            raise NotAnIdentifier("there is no identifier")
        try:
            return decode(self.message.Identifier, *self._encoding)
        except Exception:  # noqa: BLE001 - pydicom raises what it likes
            raise NotAnIdentifier("the identifier cannot be read") from None

    def is_cancelled(self) -> bool:
        return self.message_id in self.assoc.dimse.cancel_req

    def pending(self, progress: Progress) -> None:
        response = self._counted(PENDING, progress)
        response.NumberOfRemainingSuboperations = progress.remaining
        self._send(response)

    def finish(self, status: int, progress: Progress, comment: str = "") -> None:
        response = self._counted(status, progress)
        if status == CANCELLED:
            response.NumberOfRemainingSuboperations = progress.remaining
        if status != SUCCESS:
            failed = Dataset()
            failed.FailedSOPInstanceUIDList = progress.failed
            content = encode(failed, *self._encoding)
            response.Identifier = BytesIO(content) if content else None
            response.ErrorComment = comment[:64] or None  # LO, PS3.7 C.5
        self._send(response)
        log.event(
            logger,
            "retrieve.answered",
            logging.INFO if status == SUCCESS else logging.WARNING,
            status=f"0x{status:04X}",
            completed=progress.completed,
            warning=progress.warning,
            failed=len(progress.failed),
            reason=comment,
        )

    def refuse(self, status: int, comment: str) -> None:
        response = self._response(status)
        response.ErrorComment = comment[:64]
        self._send(response)
        log.event(logger, "retrieve.refused", logging.WARNING, status=f"0x{status:04X}", reason=comment)

    def _response(self, status: int) -> Any:
        response = type(self.message)()
        response.MessageID = response.MessageIDBeingRespondedTo = self.message_id
        response.AffectedSOPClassUID = self.message.AffectedSOPClassUID
        response.Status = status
        return response

    def _counted(self, status: int, progress: Progress) -> Any:
        response = self._response(status)
        response.NumberOfCompletedSuboperations = progress.completed
        response.NumberOfFailedSuboperations = len(progress.failed)
        response.NumberOfWarningSuboperations = progress.warning
        return response

    def _send(self, response: Any) -> None:
        if self.assoc.is_established:
            assert self.context.context_id is not None
            self.assoc.dimse.send_msg(response, self.context.context_id)
