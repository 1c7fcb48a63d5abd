"""What was removed from the archive and by which rule, what must stay, and which studies are priors of another."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from node.db.tables import UID, Base


class Removal(Base):
    """Of the files of one study: from ``removed_at`` no row names them, at ``finished_at`` they were gone."""

    __tablename__ = "removals"

    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id"), index=True)
    rule: Mapped[str] = mapped_column(Text)  # the sentence of the rule that it went by
    files: Mapped[int]
    bytes: Mapped[int] = mapped_column(BigInteger)
    removed_at: Mapped[datetime] = mapped_column(index=True)
    finished_at: Mapped[datetime | None] = mapped_column(index=True)


class RemovedInstance(Base):
    """A row of ``instances`` whose file went: what it was, for audit and to know it when it comes again."""

    __tablename__ = "removed_instances"

    id: Mapped[int] = mapped_column(primary_key=True)
    removal_id: Mapped[int] = mapped_column(ForeignKey("removals.id"), index=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id"), index=True)
    series_uid: Mapped[str] = mapped_column(UID)
    modality: Mapped[str] = mapped_column(String(16))
    sop_uid: Mapped[str] = mapped_column(UID)
    sop_class_uid: Mapped[str] = mapped_column(UID)
    sha256: Mapped[str] = mapped_column(String(64))
    bytes: Mapped[int] = mapped_column(BigInteger)
    path: Mapped[str] = mapped_column(Text)
    is_own_result: Mapped[bool]
    received_at: Mapped[datetime]


class RetentionHold(Base):
    """A study that stays whatever the rules say, by an operator; it need not be here yet."""

    __tablename__ = "retention_holds"

    study_uid: Mapped[str] = mapped_column(UID, primary_key=True)
    since: Mapped[datetime]


class RetentionState(Base):
    """One row. problem: why less is removed than the rules say, one sentence; remedy: the command that mends it."""

    __tablename__ = "retention_state"

    id: Mapped[int] = mapped_column(primary_key=True)
    allowed_until: Mapped[datetime | None]  # an operator lifted the limit of a day
    problem: Mapped[str] = mapped_column(Text, default="")
    remedy: Mapped[str] = mapped_column(String(64), default="")
    problem_since: Mapped[datetime | None]


class StudyUse(Base):
    """When somebody last fetched anything of a study from here."""

    __tablename__ = "study_uses"

    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id"), primary_key=True)
    at: Mapped[datetime]


class Prior(Base):
    """A study that was fetched as a prior of another one; named before it is fetched."""

    __tablename__ = "priors"

    study_uid: Mapped[str] = mapped_column(UID, primary_key=True)
    of_study_id: Mapped[int] = mapped_column(ForeignKey("studies.id"), index=True)
    source: Mapped[str] = mapped_column(String(128))  # AET@HOST:PORT
    asked_at: Mapped[datetime]
