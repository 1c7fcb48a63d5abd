"""The nodes that share this database, and what all of them must have in common."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import String, Text
from sqlalchemy.orm import Mapped, mapped_column

from node.db.tables import Base


class Member(Base):
    """One node (a supervisor with its processes), by the id that its data folder keeps."""

    __tablename__ = "members"

    id: Mapped[str] = mapped_column(String(16), primary_key=True)
    incarnation: Mapped[str] = mapped_column(String(32))  # of this start; who finds another one here was replaced
    place: Mapped[str] = mapped_column(Text)  # machine and process, for people
    aet: Mapped[str] = mapped_column(String(16))
    roles: Mapped[str] = mapped_column(String(64))
    workers: Mapped[int]
    pipeline: Mapped[str] = mapped_column(String(64))  # which models and settings its workers have
    version: Mapped[str] = mapped_column(String(32))
    started_at: Mapped[datetime]
    beat_at: Mapped[datetime]  # when it last said that it lives, and which studies were arriving
    arriving: Mapped[str] = mapped_column(Text)  # UIDs of studies that an open association sends, one a line
    clock_behind: Mapped[float]  # seconds of its machine's clock against the database's
    lost_at: Mapped[datetime | None]  # it was silent for longer than its lease


class Common(Base):
    """One thing that all nodes on this database have in common, such as the archive."""

    __tablename__ = "commons"

    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    value: Mapped[str] = mapped_column(Text)
