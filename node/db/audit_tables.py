"""The audit trail: events in the order of their writing, and the chain over them; how far a collector has them."""

from __future__ import annotations

from sqlalchemy import BigInteger, Index, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from node.db.tables import UID, Base


class AuditRow(Base):
    """Written once with the transaction that it tells of. sequence, previous and hash: set once, by the chain.

    Times are texts, so that what is hashed is what is stored, letter by letter.
    """

    __tablename__ = "audit_events"
    __table_args__ = (
        Index("ix_audit_events_sequence", "sequence", unique=True),
        Index("ix_audit_events_at", "at", "id"),
        Index("ix_audit_events_study", "study_uid", "id"),
        Index("ix_audit_events_kind", "kind", "id"),
        {"sqlite_autoincrement": True},  # no number is ever given again
    )

    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    at: Mapped[str] = mapped_column(String(27))  # 2026-01-05T09:30:00.000000Z
    kind: Mapped[str] = mapped_column(String(16))
    outcome: Mapped[str] = mapped_column(String(16))
    actor: Mapped[str] = mapped_column(String(64))
    aet: Mapped[str] = mapped_column(String(16))
    address: Mapped[str] = mapped_column(String(128))
    study_uid: Mapped[str] = mapped_column(UID)
    details: Mapped[str] = mapped_column(Text)  # a JSON object
    sequence: Mapped[int | None] = mapped_column(BigInteger)
    previous: Mapped[str | None] = mapped_column(String(64))
    hash: Mapped[str | None] = mapped_column(String(64))


class AuditSent(Base):
    """Up to which row of the chain a collector has taken messages, and what is wrong with it."""

    __tablename__ = "audit_sent"

    collector: Mapped[str] = mapped_column(String(255), primary_key=True)
    sequence: Mapped[int] = mapped_column(BigInteger)
    problem: Mapped[str] = mapped_column(Text)  # one sentence; empty: none
    problem_since: Mapped[str] = mapped_column(String(27))
