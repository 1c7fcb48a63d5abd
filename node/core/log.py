"""Log events with fields, one JSON object a line, on standard error.

Fields are UIDs, ids, numbers and short words of ours. Never a patient's name, an identifier, an accession number,
a date of birth or a data set. ``event(log, "instance.stored", sop_instance_uid=..., bytes=...)``.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
import traceback
import warnings
from datetime import UTC, datetime
from typing import IO

from node.core.errors import LungnodeError

MOST_FRAMES = 100  # of a traceback


def event(logger: logging.Logger, name: str, level: int = logging.INFO, **fields: object) -> None:
    """Log one event with its fields."""
    logger.log(level, name, extra={"fields": fields})


class JsonLines(logging.Formatter):
    """{"at": UTC time, "level": ..., "event": ..., fields...}; a traceback goes to the field ``traceback``, without the
    exception's words: libraries quote values in them."""

    def __init__(self, process: str = "") -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "room": record.name,
            "event": record.getMessage(),
        }
        if self._process:
            line["process"] = self._process
        line.update(getattr(record, "fields", {}))
        if record.exc_info:
            line["traceback"] = _frames(record.exc_info[1])
        return json.dumps(line, default=str)


def _frames(error: BaseException | None) -> str:
    """The chain of exceptions, oldest first: frames and types; words only of our own errors and of the system's. Where
    each frame is and not its source: Python would keep every file that ever stood in a traceback."""
    parts: list[str] = []
    while error is not None:
        codes = ((frame.f_code, line) for frame, line in traceback.walk_tb(error.__traceback__))
        where = [f'  File "{code.co_filename}", line {line}, in {code.co_qualname}\n' for code, line in codes]
        if len(where) > MOST_FRAMES:  # a recursion
            where[MOST_FRAMES // 2 : -MOST_FRAMES // 2] = ["  ...\n"]
        words = f": {error}" if isinstance(error, (LungnodeError, OSError)) else ""
        parts.append("".join(where) + type(error).__name__ + words)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return "\n".join(reversed(parts))


def start(level: str = "info", stream: IO[str] | None = None, process: str = "") -> None:
    """Send the ``node`` loggers' events to ``stream``, each with the name of its process; other libraries only from
    WARNING, and never their text about data sets (pynetdicom and pydicom quote values, so they are silenced)."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines(process))
    warnings.simplefilter("ignore")  # for every thread: catch_warnings would only cover one at a time
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("node").setLevel(level.upper())
    for library in ("pynetdicom", "pydicom", "highdicom"):
        logging.getLogger(library).setLevel(logging.CRITICAL)
    threading.excepthook = _thread_failed


def _thread_failed(failed: threading.ExceptHookArgs) -> None:
    """As any other event: Python itself would print the exception's words."""
    if failed.exc_value is not None:
        error = (failed.exc_type, failed.exc_value, failed.exc_traceback)
        logging.getLogger(__name__).error("thread.failed", exc_info=error)
