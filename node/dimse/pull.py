"""Query and retrieve as SCU: what a peer holds, and fetch it by C-GET, or by C-MOVE to a running node.

Study Root throughout (PS3.4 section C.6.2). What C-GET brings goes through ``pipeline.intake`` and is acknowledged when
that has returned: durable, duplicates fine. Peers that do not answer or refuse raise PeerAway or PeerRefused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal
from uuid import uuid4

from pydicom import Dataset
from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext, build_context, build_role
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
)

from node.core.errors import InternalError, LungnodeError, PeerAway, PeerRefused
from node.core.study import Origin
from node.dimse import contexts
from node.dimse.associating import Peer, associate, away
from node.dimse.query import PENDING, SUCCESS
from node.dimse.status import status_of
from node.pipeline.header import text_of
from node.pipeline.intake import Announced, Intake

FIND = str(StudyRootQueryRetrieveInformationModelFind)
GET = str(StudyRootQueryRetrieveInformationModelGet)
MOVE = str(StudyRootQueryRetrieveInformationModelMove)
Method = Literal["get", "move"]
MOST_STORAGE = 127  # presentation contexts beside that of C-GET, PS3.8 section 9.3.2.2


@dataclass(frozen=True)
class Listed:
    """An object that the peer says it holds."""

    sop_instance_uid: str
    sop_class_uid: str


@dataclass(frozen=True)
class Fetched:
    """How one retrieval ended. reasons: by SOP Instance UID, of what did not come; comment: in general."""

    status: int
    reasons: Mapping[str, str]
    comment: str = ""


def find_studies(peer: Peer, keys: Mapping[str, str]) -> list[str]:
    """Study Instance UIDs that match; ``keys`` by keyword."""
    found = find(peer, "STUDY", keys)
    return list(dict.fromkeys(uid for ds in found if (uid := text_of(ds, "StudyInstanceUID"))))


def find(peer: Peer, level: Literal["STUDY", "SERIES"], keys: Mapping[str, str]) -> list[Dataset]:
    """Every match with what was asked for; ``keys`` by keyword, empty ones are asked for alone."""
    with _association(peer, [build_context(FIND)]) as association:
        return _ask(association, peer, level, {"StudyInstanceUID": "", **keys})


def list_objects(peer: Peer, study_uid: str) -> list[Listed]:
    """Every object of a study, series by series."""
    listed: dict[str, Listed] = {}
    with _association(peer, [build_context(FIND)]) as association:
        series = _ask(association, peer, "SERIES", {"StudyInstanceUID": study_uid, "SeriesInstanceUID": ""})
        for one in series:
            keys = {"StudyInstanceUID": study_uid, "SeriesInstanceUID": text_of(one, "SeriesInstanceUID")}
            for ds in _ask(association, peer, "IMAGE", {**keys, "SOPInstanceUID": "", "SOPClassUID": ""}):
                uid = text_of(ds, "SOPInstanceUID")
                listed[uid] = Listed(uid, text_of(ds, "SOPClassUID"))
    listed.pop("", None)
    return list(listed.values())


def get(peer: Peer, study_uid: str, objects: Sequence[Listed], intake: Intake, came: Callable[[], None]) -> Fetched:
    """C-GET: what comes goes into ``intake``; ``came`` is called after each object."""
    taking = _Taking(intake, peer, came)
    wanted = _storage(objects)
    roles = [
        build_role(sop_class, scp_role=True) for sop_class in dict.fromkeys(str(c.abstract_syntax) for c in wanted)
    ]
    with _association(peer, [build_context(GET), *wanted], roles, taking) as association:
        answers = association.send_c_get(_identifier("STUDY", {"StudyInstanceUID": study_uid}), GET)
        ended = _ended(answers, peer, lambda _: None)
        return Fetched(ended.status, {**ended.reasons, **taking.refused}, ended.comment)


def move(peer: Peer, study_uid: str, to_aet: str, came: Callable[[int], None]) -> Fetched:
    """C-MOVE to ``to_aet``, which the peer must know; ``came`` is told how many are done so far."""
    with _association(peer, [build_context(MOVE)]) as association:
        identifier = _identifier("STUDY", {"StudyInstanceUID": study_uid})
        return _ended(association.send_c_move(identifier, to_aet, MOVE), peer, came)


def not_come(peer: Peer, method: Method) -> str:
    """Why an object is not here, where the peer says nothing of it."""
    if method == "get":
        return f"{peer.aet} did not send it"
    return (
        f"{peer.aet} did not send it to this node; it sends to the address that it knows for {peer.calling_aet}, which "
        "may be that of another node with this AE title"
    )


class _Taking:
    """Objects of a C-GET into the intake; refused: why, by SOP Instance UID."""

    def __init__(self, intake: Intake, peer: Peer, came: Callable[[], None]) -> None:
        self._intake, self._came = intake, came
        self._origin = Origin(uuid4().hex[:12], peer.aet, peer.calling_aet, peer.host)
        self.refused: dict[str, str] = {}

    def store(self, event: evt.Event) -> int | Dataset:
        request: Any = event.request
        sop_instance_uid = str(request.AffectedSOPInstanceUID)
        announced = Announced(str(event.context.transfer_syntax), str(request.AffectedSOPClassUID), sop_instance_uid)
        arriving = self._intake.begin(announced, self._origin)
        try:
            arriving.add(request.DataSet.getbuffer())
            self._intake.finish(arriving)
        except LungnodeError as error:
            return self._refuse(announced, error)
        except Exception as error:  # noqa: BLE001 - the border of this handler: the peer is answered
            return self._refuse(announced, InternalError(f"it could not be stored: {type(error).__name__}"))
        finally:
            self._came()
        return SUCCESS

    def _refuse(self, announced: Announced, error: LungnodeError) -> Dataset:
        answer = Dataset()
        answer.Status, answer.ErrorComment = status_of(error), str(error)[:64]  # LO, PS3.7 C.5
        self._intake.refuse(announced, self._origin, int(answer.Status), error)
        self.refused[announced.sop_instance_uid] = str(error)
        return answer


@contextmanager
def _association(
    peer: Peer, proposed: list[PresentationContext], roles: Sequence[Any] = (), taking: _Taking | None = None
) -> Iterator[Association]:
    handlers: list[Any] = [(evt.EVT_C_STORE, taking.store)] if taking else []
    association = associate(peer, proposed, handlers, roles)
    model = proposed[0].abstract_syntax
    if not association.is_established and not association.rejected_contexts:
        raise PeerAway(away(peer))
    if not any(context.abstract_syntax == model for context in association.accepted_contexts):
        association.abort()
        raise PeerRefused(f"{peer.aet} does not offer {proposed[0].abstract_syntax.name}", 0x0122)  # type: ignore[union-attr]
    try:
        yield association
    finally:
        if association.is_established:
            association.release()


def _storage(objects: Sequence[Listed]) -> list[PresentationContext]:
    """Each class and transfer syntax by itself where that fits, so that the peer need not change what it stores."""
    classes = list(dict.fromkeys(one.sop_class_uid for one in objects if one.sop_class_uid))
    classes = (classes or [str(uid) for uid in contexts.STORAGE])[:MOST_STORAGE]
    if len(classes) * len(contexts.TRANSFER_SYNTAXES) <= MOST_STORAGE:
        return [build_context(sop_class, one) for sop_class in classes for one in contexts.TRANSFER_SYNTAXES]
    return [build_context(sop_class, contexts.TRANSFER_SYNTAXES) for sop_class in classes]


def _identifier(level: str, keys: Mapping[str, str]) -> Dataset:
    ds = Dataset()
    ds.QueryRetrieveLevel = level
    if not all(value.isascii() for value in keys.values()):
        ds.SpecificCharacterSet = "ISO_IR 192"
    for keyword, value in keys.items():
        setattr(ds, keyword, value)
    return ds


def _ask(association: Association, peer: Peer, level: str, keys: Mapping[str, str]) -> list[Dataset]:
    found: list[Dataset] = []
    try:
        for answer, ds in association.send_c_find(_identifier(level, keys), FIND):
            if "Status" not in answer:
                break
            status = int(answer.Status)
            if status == SUCCESS:
                return found
            if status not in PENDING:
                raise PeerRefused(f"{peer.aet} answers C-FIND by status 0x{status:04X}{_said(answer)}", status)
            if ds is not None:
                found.append(ds)
    except (ValueError, RuntimeError):
        pass
    raise PeerAway(away(peer))


def _ended(answers: Iterator[tuple[Dataset, Dataset | None]], peer: Peer, came: Callable[[int], None]) -> Fetched:
    """Follow a C-GET or C-MOVE to its final response."""
    for answer, ds in answers:
        if "Status" not in answer:
            break
        status = int(answer.Status)
        done = (answer.get(f"NumberOf{which}Suboperations", 0) for which in ("Completed", "Failed", "Warning"))
        came(sum(int(count or 0) for count in done))
        if status in PENDING:
            continue
        failed = ds.get("FailedSOPInstanceUIDList", None) if ds is not None else None
        uids = [failed] if isinstance(failed, str) else list(failed or [])
        reasons = {str(uid): f"{peer.aet} could not send it" for uid in uids if uid}
        comment = "" if status == SUCCESS else f"{peer.aet} ended with status 0x{status:04X}{_said(answer)}"
        return Fetched(status, reasons, comment)
    raise PeerAway(away(peer))


def _said(answer: Dataset) -> str:
    said = str(answer.get("ErrorComment", "") or "").strip()
    return f": {said}" if said else ""
