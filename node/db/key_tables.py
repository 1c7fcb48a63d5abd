"""What C-FIND needs beyond the rows of receipt: texts of studies and series, read from the headers in the archive.

Derived and never the only copy: a row that is missing is written again from the archive. Names and birth dates are
here so that a query by name need not open a file for each study; they go where the database goes and into no log.
"""

from __future__ import annotations

from sqlalchemy import ForeignKey, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from node.db.tables import UID, Base


class StudyKeys(Base):
    """Of the first series that was read."""

    __tablename__ = "study_keys"

    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id", ondelete="CASCADE"), primary_key=True)
    patient_name: Mapped[str] = mapped_column(Text, default="")
    birth_date: Mapped[str] = mapped_column(String(8), default="")
    sex: Mapped[str] = mapped_column(String(16), default="")
    study_time: Mapped[str] = mapped_column(String(16), default="")
    study_number: Mapped[str] = mapped_column(Text, default="")  # Study ID (0020,0010)
    description: Mapped[str] = mapped_column(Text, default="")
    referring_physician: Mapped[str] = mapped_column(Text, default="")


class SeriesKeys(Base):
    """One row for each series of what was received, and one for each of what we made."""

    __tablename__ = "series_keys"
    __table_args__ = (UniqueConstraint("study_id", "series_uid", "is_result"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id", ondelete="CASCADE"))
    series_uid: Mapped[str] = mapped_column(UID)
    is_result: Mapped[bool]
    modality: Mapped[str] = mapped_column(String(16), default="")
    number: Mapped[int | None]
    description: Mapped[str] = mapped_column(Text, default="")
    body_part: Mapped[str] = mapped_column(String(64), default="")
    protocol: Mapped[str] = mapped_column(Text, default="")
    series_date: Mapped[str] = mapped_column(String(8), default="")
    series_time: Mapped[str] = mapped_column(String(16), default="")
    step_start_date: Mapped[str] = mapped_column(String(8), default="")  # Performed Procedure Step Start Date
    step_start_time: Mapped[str] = mapped_column(String(16), default="")
    step_ids: Mapped[str] = mapped_column(Text, default="")  # of Request Attributes Sequence, with backslashes
    procedure_ids: Mapped[str] = mapped_column(Text, default="")
