"""What queries on stored results need beside the results: readers' verdicts, and the indexes that pages are read from.

Each index begins with what a query compares for equality and goes on with the order of the page and its row, so that a
page costs the same whatever the table holds; what else is often asked for follows, so that rows which do not match are
passed over in the index itself. ``queries.resources`` says which index serves which question.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, Index, String, Text, UniqueConstraint, bindparam, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from node.db.driver import Rendered
from node.db.tables import Analysis, Base, Delivery, Finding, Instance, LesionRow

VERDICTS = ("agree", "disagree", "unsure")


class VerdictRow(Base):
    """What a reader says of an analysis; the newest word of each reader."""

    __tablename__ = "verdicts"
    __table_args__ = (UniqueConstraint("analysis_id", "reader"), Index("ix_verdicts_verdict", "verdict", "analysis_id"))

    id: Mapped[int] = mapped_column(primary_key=True)
    analysis_id: Mapped[int] = mapped_column(ForeignKey("analyses.id"))
    reader: Mapped[str] = mapped_column(String(64))
    verdict: Mapped[str] = mapped_column(String(16))  # one of VERDICTS
    comment: Mapped[str] = mapped_column(Text, default="")
    at: Mapped[datetime]


_F, _L, _D = Finding, LesionRow, Delivery
_OFTEN = (_F.probability, _F.decision)
FINDINGS = (
    Index("ix_findings_time", _F.analysed_at, _F.id, *_OFTEN),
    Index("ix_findings_system_time", _F.system, _F.analysed_at, _F.id, *_OFTEN, _F.model_version),
    Index("ix_findings_class_time", _F.class_name, _F.analysed_at, _F.id, *_OFTEN),
    Index("ix_findings_system_class_time", _F.system, _F.class_name, _F.analysed_at, _F.id, *_OFTEN, _F.calling_aet),
    Index("ix_findings_calling_aet_time", _F.calling_aet, _F.analysed_at, _F.id, *_OFTEN, _F.system, _F.class_name),
    Index("ix_findings_modality_time", _F.modality, _F.analysed_at, _F.id, *_OFTEN),
    Index("ix_findings_study", _F.study_id, _F.analysed_at, _F.id),
    Index("ix_findings_probability", _F.probability, _F.id, _F.analysed_at),
    Index("ix_findings_system_class_probable", _F.system, _F.class_name, _F.probability, _F.id, _F.analysed_at),
    Index("ix_findings_system_version_probable", _F.system, _F.model_version, _F.probability, _F.id),
)
LESIONS = (
    Index("ix_lesions_time", _L.analysed_at, _L.id),
    Index("ix_lesions_system_class_time", _L.system, _L.class_name, _L.analysed_at, _L.id),
    Index("ix_lesions_calling_aet_time", _L.calling_aet, _L.analysed_at, _L.id),
    Index("ix_lesions_study", _L.study_id, _L.analysed_at, _L.id),
)
DELIVERIES = (
    Index("ix_deliveries_time", _D.owed_at, _D.id, _D.state),
    Index("ix_deliveries_state_time", _D.state, _D.owed_at, _D.id, _D.destination),
    Index("ix_deliveries_destination_time", _D.destination, _D.owed_at, _D.id, _D.state),
)
ANALYSES = (Index("ix_analyses_time", Analysis.analysed_at, Analysis.id),)

_OF_ANALYSIS = Rendered(select(Analysis.study_id, Analysis.analysed_at).where(Analysis.id == bindparam("analysis")))
_SENDER = Rendered(select(Instance.origin_aet).where(Instance.sop_uid == bindparam("uid")))


def place(session: Session, analysis_id: int, sop_uid: str) -> dict[str, object]:
    """The values of ``placed.Placed`` for what an analysis found on one image."""
    connection = session.connection()
    ((study_id, analysed_at),) = _OF_ANALYSIS.rows(connection, {"analysis": analysis_id})
    sender = _SENDER.first(connection, {"uid": sop_uid})
    return {"study_id": study_id, "analysed_at": analysed_at, "calling_aet": sender[0] if sender else ""}
