"""Events of the audit trail that follow from a change of rows, appended by the transaction that makes the change.

No sentence of a peer goes into them: it may quote a patient.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from node.core.audit import AuditEvent
from node.core.destination import Destination
from node.core.errors import Misconfigured
from node.core.study import Origin
from node.db import audit
from node.db.driver import Rendered
from node.db.tables import Analysis, Delivery, Output, Study

ENDS = {"delivered": "success", "refused": "minor", "failed": "serious"}  # of a delivery, and their outcomes
_DELIVERY = Rendered(
    select(Delivery.state, Delivery.destination, Delivery.last_status, Delivery.attempts, Output.kind, Output.sop_uid)
    .add_columns(Study.study_uid)
    .join(Output, Delivery.output_id == Output.id)
    .join(Analysis, Output.analysis_id == Analysis.id)
    .join(Study, Analysis.study_id == Study.id)
    .where(Delivery.id == bindparam("delivery"))
)
_STUDY_UID = Rendered(select(Study.study_uid).where(Study.id == bindparam("study")))


def analysis(session: Session, study_id: int, details: Mapping[str, object], now: datetime) -> None:
    """details: with the outcome of the analysis."""
    outcome = "success" if details["outcome"] == "analysed" else "minor"
    ((study_uid,),) = _STUDY_UID.rows(session.connection(), {"study": study_id})
    audit.append(session, AuditEvent("analysis", outcome, study_uid=study_uid, details=details), now)


def delivery(session: Session, delivery_id: int, now: datetime) -> None:
    """Where a delivery has come to an end."""
    (row,) = _DELIVERY.rows(session.connection(), {"delivery": delivery_id})
    state, destination, status, attempts, kind, sop_uid, study_uid = row
    if state not in ENDS:
        return
    details = {"kind": kind, "sop_instance_uid": sop_uid, "state": state, "attempts": attempts}
    details |= {"status": status} if status is not None else {}
    event = AuditEvent("delivery", ENDS[state], **_at(destination), study_uid=study_uid, details=details)
    audit.append(session, event, now)


def _at(destination: str) -> dict[str, str]:
    try:
        to = Destination.named(destination)
    except Misconfigured:  # a name that an earlier version took
        return {"address": destination}
    return {"aet": to.aet, "address": to.url or to.host}


def deletion(session: Session, study_id: int, rule: str, files: int, now: datetime) -> None:
    study_uid = session.get_one(Study, study_id).study_uid
    audit.append(session, AuditEvent("deletion", study_uid=study_uid, details={"rule": rule, "files": files}), now)


def receipt(session: Session, origin: Origin, study_uid: str, now: datetime) -> None:
    """An association begins to store instances of a study."""
    who = {"actor": origin.account, "aet": origin.calling_aet, "address": origin.address}
    audit.append(session, AuditEvent("receipt", **who, study_uid=study_uid, details=_by(origin)), now)


def refusal(session: Session, origin: Origin, status: int, reason: str, now: datetime) -> None:
    """The first instance of an association that is answered with this status."""
    details = {**_by(origin), "status": f"0x{status:04X}", "reason": reason}
    who = {"actor": origin.account, "aet": origin.calling_aet, "address": origin.address}
    audit.append(session, AuditEvent("refusal", "minor", **who, details=details), now)


def _by(origin: Origin) -> dict[str, str]:
    return {"association": origin.association}


def command(session: Session, account: str, words: str, now: datetime, study_uid: str = "") -> None:
    """What an operator did; words: the command and its arguments."""
    audit.append(session, AuditEvent("command", actor=account, study_uid=study_uid, details={"command": words}), now)
