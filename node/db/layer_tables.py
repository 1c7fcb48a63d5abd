"""What lies over an image on the pages of results: heat, contours and outlines, small enough for a row."""

from __future__ import annotations

from sqlalchemy import ForeignKey, Index, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from node.db.tables import UID, Base, Study

STUDIES = (Index("ix_studies_last_received", Study.last_received_at, Study.id),)


class LayerRow(Base):
    """One layer of one image. ``kind``: heat (PNG, grey 0 to 255 is heat 0 to 1) or contours, outlines (JSON)."""

    __tablename__ = "layers"
    __table_args__ = (Index("ix_layers_analysis", "analysis_id", "sop_uid"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    analysis_id: Mapped[int] = mapped_column(ForeignKey("analyses.id"))
    sop_uid: Mapped[str] = mapped_column(UID)
    frame: Mapped[int | None]  # as of lesions
    system: Mapped[str] = mapped_column(String(64))
    kind: Mapped[str] = mapped_column(String(16))
    content: Mapped[bytes] = mapped_column(LargeBinary)
