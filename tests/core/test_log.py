"""What a log line says, and what it never says: words of other people's exceptions and warnings, which quote values."""

from __future__ import annotations

import io
import json
import linecache
import logging
import warnings
from collections.abc import Iterator

import pytest
from pydicom import Dataset

from node.core import log
from node.core.errors import BadDataSet

logger = logging.getLogger("node.test")


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    found = io.StringIO()
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    with warnings.catch_warnings():
        log.start("info", found)
        yield found
    root.handlers[:] = before
    root.setLevel(level)


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_an_event_is_one_json_object(stream: io.StringIO) -> None:
    log.event(logger, "instance.stored", bytes=12, sop_instance_uid="1.2.3")
    (line,) = lines(stream)
    assert line["event"] == "instance.stored" and line["bytes"] == 12 and line["level"] == "info"
    assert str(line["at"]).endswith("+00:00")


def test_a_traceback_keeps_frames_and_types_but_not_the_words(stream: io.StringIO) -> None:
    value = "Zebra" + "marker"
    try:
        try:
            raise ValueError(f"Invalid value for VR IS: {value!r}")
        except ValueError as error:
            raise BadDataSet("The header cannot be read.") from error
    except BadDataSet:
        logger.exception("instance.failed")
    text = str(lines(stream)[0]["traceback"])
    assert "Zebramarker" not in stream.getvalue()
    assert "ValueError" in text and "BadDataSet: The header cannot be read." in text and "test_log.py" in text


def test_warnings_of_libraries_are_not_shown(stream: io.StringIO, capfd: pytest.CaptureFixture[str]) -> None:
    ds = Dataset()
    ds.InstanceNumber = 1
    warnings.warn("Invalid value for VR UI: 'Zebramarker'", stacklevel=1)
    assert "Zebramarker" not in capfd.readouterr().err + stream.getvalue()


def test_a_traceback_keeps_no_source_in_memory() -> None:
    """As Python's own way does, with every line of every file that was ever in one. Not through the logger: pytest
    listens there, and formats it in that way."""
    linecache.clearcache()
    try:
        json.loads("{")
    except ValueError as error:
        failed = (type(error), error, error.__traceback__)
    record = logging.LogRecord("node.test", logging.ERROR, __file__, 1, "instance.failed", (), failed)
    text = str(json.loads(log.JsonLines().format(record))["traceback"])
    assert "decoder.py" in text and "in JSONDecoder.raw_decode" in text
    assert linecache.cache == {}


def test_a_recursion_is_no_thousand_lines(stream: io.StringIO) -> None:
    def deeper() -> None:
        deeper()

    try:
        deeper()
    except RecursionError:
        logging.getLogger("node.test").exception("instance.failed")
    traceback = str(lines(stream)[-1]["traceback"])
    assert traceback.count("\n") <= log.MOST_FRAMES + 2 and traceback.endswith("RecursionError")
