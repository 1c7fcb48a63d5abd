"""Log events with fields, one JSON object a line, on standard error.

Fields are UIDs, ids, numbers and short words of ours. Never a patient's name, an identifier, an accession number,
a date of birth or a data set. ``event(log, "instance.stored", sop_instance_uid=..., bytes=...)``.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import IO


def event(logger: logging.Logger, name: str, level: int = logging.INFO, **fields: object) -> None:
    """Log one event with its fields."""
    logger.log(level, name, extra={"fields": fields})


class JsonLines(logging.Formatter):
    """{"at": UTC time, "level": ..., "event": ..., fields...}; a traceback goes to the field ``traceback``."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "room": record.name,
            "event": record.getMessage(),
        }
        line.update(getattr(record, "fields", {}))
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def start(level: str = "info", stream: IO[str] | None = None) -> None:
    """Send the ``node`` loggers' events to ``stream``; other libraries only from WARNING, and never their text
    about data sets (pynetdicom and pydicom quote values, so they are silenced)."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("node").setLevel(level.upper())
    for library in ("pynetdicom", "pydicom", "highdicom"):
        logging.getLogger(library).setLevel(logging.CRITICAL)
