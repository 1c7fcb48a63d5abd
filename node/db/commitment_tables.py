"""Storage commitment: what peers asked of us and what we asked of peers. PS3.4 annex J."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from node.db.tables import UID, Base


class CommitmentRequest(Base):
    """A peer asked us to commit; it is told the outcome until it took the report."""

    __tablename__ = "commitment_requests"
    __table_args__ = (
        UniqueConstraint("aet", "transaction_uid"),
        Index("ix_commitment_requests_due", "reported_at", "next_at"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    transaction_uid: Mapped[str] = mapped_column(UID)
    aet: Mapped[str] = mapped_column(String(16))  # who asked
    address: Mapped[str] = mapped_column(String(64))  # where from
    instances: Mapped[str] = mapped_column(Text)  # JSON, [[SOP class, SOP instance], ...]
    asked_at: Mapped[datetime]
    attempts: Mapped[int] = mapped_column(default=0)
    next_at: Mapped[datetime]
    problem: Mapped[str] = mapped_column(Text, default="")  # of the last attempt, one sentence
    reported_at: Mapped[datetime | None]


class CommitmentAsked(Base):
    """One delivery in one transaction that we asked a destination to commit."""

    __tablename__ = "commitments_asked"

    transaction_uid: Mapped[str] = mapped_column(UID, primary_key=True)
    delivery_id: Mapped[int] = mapped_column(ForeignKey("deliveries.id"), primary_key=True)
    asked_at: Mapped[datetime]
