"""What rows of findings repeat of their analysis, so that a page of them is read from one index.

None of it ever changes: the study, when it was analysed, and who sent the image.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column


class Placed:
    """Columns of findings and lesions. calling_aet: of who sent the image; empty: not known."""

    study_id: Mapped[int]
    analysed_at: Mapped[datetime]
    calling_aet: Mapped[str] = mapped_column(String(16))
