"""How a destination stands, beside what it is owed. One row for each that was ever paused or did not answer."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import String, Text
from sqlalchemy.orm import Mapped, mapped_column

from node.db.tables import Base


class DestinationState(Base):
    __tablename__ = "destination_states"

    destination: Mapped[str] = mapped_column(String(128), primary_key=True)
    paused_at: Mapped[datetime | None]  # by an operator
    failures: Mapped[int] = mapped_column(default=0)  # associations and probes without an answer, in a row
    away_since: Mapped[datetime | None]  # the breaker is open: it is probed instead of being sent anything
    probe_at: Mapped[datetime | None]
    problem: Mapped[str] = mapped_column(Text, default="")  # what the last failure was, one sentence
