"""What is counted as it happens, so that a scrape of the metrics reads few rows however much the node has done."""

from __future__ import annotations

from sqlalchemy import BigInteger, String
from sqlalchemy.orm import Mapped, mapped_column

from node.db.tables import Base


class Tally(Base):
    """One number that only grows. what: of ``tallies.WHAT``; of, how: its labels, "" where it has none; bucket: the
    upper bound of a histogram's bucket in seconds, as Prometheus writes it, "" where it is no histogram."""

    __tablename__ = "tallies"

    what: Mapped[str] = mapped_column(String(16), primary_key=True)
    of: Mapped[str] = mapped_column(String(128), primary_key=True)
    how: Mapped[str] = mapped_column(String(64), primary_key=True)
    bucket: Mapped[str] = mapped_column(String(8), primary_key=True)
    number: Mapped[int] = mapped_column(BigInteger)
    seconds: Mapped[float]
