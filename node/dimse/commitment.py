"""Storage Commitment Push Model (PS3.4 annex J) on the wire: SCP beside storage, SCU towards destinations.

A report goes out on the association of its request while the peer keeps that, else on a new one, in which we say by
role selection that we are the SCP (PS3.7 D.3.3.4). What is decided is ``pipeline.commitment``'s.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

from pydicom import Dataset
from pydicom.uid import UID
from pynetdicom import AE, build_role, evt
from pynetdicom.association import Association
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
)

from node.db.commitments import Asked, Named
from node.dimse.associating import Peer, associate, away
from node.pipeline.commitment import Commitments, Report

logger = logging.getLogger(__name__)
SUCCESS = 0x0000
# Failures of PS3.7 Annex C
FAILURE = 0x0110  # processing failure
NO_SUCH_INSTANCE = 0x0112  # here: a transaction that we never began
INVALID_ARGUMENT = 0x0115  # here: a request or report that cannot be understood
NO_SUCH_ACTION = 0x0123  # here: an action other than to request commitment
NOT_AUTHORISED = 0x0124
REQUEST = 1  # Action Type ID, PS3.4 Table J.3.2-1
ALL_COMMITTED, SOME_FAILED = 1, 2  # Event Type IDs, PS3.4 Table J.3.3-1


class CommitmentService:
    """What the receiver offers of storage commitment. peer_of: where to report to a requester: (AE title, address it
    asked from); None where nobody knows. serve: whether peers may ask; what they report is taken anyway."""

    def __init__(
        self, commitments: Commitments, peer_of: Callable[[str, str], Peer | None], serve: bool = True
    ) -> None:
        self._commitments, self._peer_of, self._serve = commitments, peer_of, serve
        self._open: dict[tuple[str, str], Association] = {}  # (AE title, transaction UID) -> where it was asked
        self.handlers: list[Any] = [(evt.EVT_N_ACTION, self._asked), (evt.EVT_N_EVENT_REPORT, self._told)]

    def offer(self, ae: AE) -> None:
        ae.add_supported_context(StorageCommitmentPushModel, scu_role=True, scp_role=True)

    def attach(self, assoc: Association) -> None:
        """Nothing: pynetdicom's own service asks the handlers."""

    def pump(self) -> bool:
        """Duty: tell those who wait for an outcome; whether nobody does."""
        return self._commitments.pump(self.tell)

    def pump_kept(self) -> None:
        """Duty of a receiver: tell those who asked on an association that this process still has."""
        if self._open:
            self._commitments.pump(self.tell, lambda asked: (asked.aet, asked.transaction_uid) in self._open)

    def tell(self, asked: Asked, report: Report) -> str:
        """Empty when the requester took the report, else the problem in words."""
        kept = self._open.pop((asked.aet, asked.transaction_uid), None)
        if kept is not None and kept.is_established and not _send(kept, report):
            return ""
        peer = self._peer_of(asked.aet, asked.address)
        return f"nobody knows where {asked.aet} listens" if peer is None else _send_anew(peer, report)

    def _asked(self, event: evt.Event) -> tuple[int, None]:
        if not self._serve:
            return NOT_AUTHORISED, None
        request: Any = event.request
        if request.ActionTypeID != REQUEST:
            return NO_SUCH_ACTION, None
        requestor = event.assoc.requestor
        aet = str(requestor.ae_title).strip()
        try:
            transaction, instances = read_request(event.action_information)
        except Exception:  # noqa: BLE001 - pydicom raises what it likes at a data set that is none
            return INVALID_ARGUMENT, None
        try:
            self._commitments.take(transaction, aet, str(requestor.address), instances)
        except Exception:
            logger.exception("commitment.failed")
            return FAILURE, None
        self._open[aet, transaction] = event.assoc
        self._forget_closed()
        return SUCCESS, None

    def _forget_closed(self) -> None:
        for key, association in list(self._open.items()):
            if not association.is_alive():
                self._open.pop(key, None)

    def _told(self, event: evt.Event) -> tuple[int, None]:
        return take_report(self._commitments, event), None


def take_report(commitments: Commitments, event: evt.Event) -> int:
    """A destination's report, on its association or on ours: the status to answer once it is durable."""
    try:
        transaction, committed, failed = read_report(event.event_information)
    except Exception:  # noqa: BLE001 - as above
        return INVALID_ARGUMENT
    try:
        return SUCCESS if commitments.taken(transaction, committed, failed) else NO_SUCH_INSTANCE
    except Exception:
        logger.exception("commitment.failed")
        return FAILURE


def ask(peer: Peer, transaction_uid: str, instances: Sequence[Named], commitments: Commitments) -> str:
    """N-ACTION. Empty when the peer took the request, else the problem in words. It may report at once, on the same
    association, or later to our own port."""
    handlers: Any = [(evt.EVT_N_EVENT_REPORT, lambda event: (take_report(commitments, event), None))]
    contexts = [build_context(StorageCommitmentPushModel)]
    association = associate(peer, contexts, handlers)
    if not association.is_established:
        return "it offers no storage commitment" if association.rejected_contexts else away(peer)
    ds = Dataset()
    ds.TransactionUID = transaction_uid
    ds.ReferencedSOPSequence = [_reference(sop_class, instance) for sop_class, instance in instances]
    try:
        answer, _ = association.send_n_action(
            ds, REQUEST, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
        )
    except (ValueError, RuntimeError):
        return away(peer)
    finally:
        if association.is_established:
            association.release()
    return _problem(answer, "request", peer)


def read_request(ds: Dataset) -> tuple[str, list[Named]]:
    """(Transaction UID, what is to be committed); raises ValueError for a request that names nothing."""
    transaction = UID(ds.TransactionUID)
    named = [(str(item.ReferencedSOPClassUID), str(item.ReferencedSOPInstanceUID)) for item in ds.ReferencedSOPSequence]
    if not named or not transaction.is_valid:
        raise ValueError("a request without a transaction or without instances")
    return str(transaction), named


def read_report(ds: Dataset) -> tuple[str, list[str], dict[str, int]]:
    """(Transaction UID, SOP Instance UIDs committed, SOP Instance UID -> Failure Reason)"""
    committed = [str(item.ReferencedSOPInstanceUID) for item in ds.get("ReferencedSOPSequence") or ()]
    failed = {
        str(item.ReferencedSOPInstanceUID): int(item.get("FailureReason", FAILURE))
        for item in ds.get("FailedSOPSequence") or ()
    }
    return str(ds.TransactionUID), [uid for uid in committed if uid not in failed], failed


def written(report: Report) -> Dataset:
    """Event Information, PS3.4 Table J.3.3-1."""
    ds = Dataset()
    ds.TransactionUID = report.transaction_uid
    if report.committed:
        ds.ReferencedSOPSequence = [_reference(sop_class, instance) for sop_class, instance in report.committed]
    if report.failed:
        ds.FailedSOPSequence = [_reference(sop_class, instance) for sop_class, instance, _ in report.failed]
        for item, (_, _, reason) in zip(ds.FailedSOPSequence, report.failed, strict=True):
            item.FailureReason = reason
    return ds


def _reference(sop_class: str, instance: str) -> Dataset:
    ds = Dataset()
    ds.ReferencedSOPClassUID, ds.ReferencedSOPInstanceUID = sop_class, instance
    return ds


def _send_anew(peer: Peer, report: Report) -> str:
    role = build_role(StorageCommitmentPushModel, scp_role=True)
    contexts = [build_context(StorageCommitmentPushModel)]
    association = associate(peer, contexts, roles=[role])
    if not association.is_established:
        return f"{peer.aet} takes no reports of commitment" if association.rejected_contexts else away(peer)
    try:
        return _send(association, report)
    finally:
        if association.is_established:
            association.release()


def _send(association: Association, report: Report) -> str:
    """Empty when the peer took it."""
    event = SOME_FAILED if report.failed else ALL_COMMITTED
    try:
        answer, _ = association.send_n_event_report(
            written(report), event, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
        )
    except (ValueError, RuntimeError):
        return "the association broke before the report was taken"
    return _problem(answer, "report", None)


def _problem(answer: Dataset, what: str, peer: Peer | None) -> str:
    if "Status" not in answer:
        return away(peer) if peer else f"no answer to the {what}"
    status = int(answer.Status)
    return "" if status == SUCCESS else f"status 0x{status:04X} to the {what} of storage commitment"
