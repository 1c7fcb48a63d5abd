"""Records as text: columns, formulas, control characters."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass

from node.commands import show


@dataclass(frozen=True)
class Row:
    class_name: str
    probability: float | None
    decision: bool


ROWS = [Row("covid19", 0.123456, True), Row("=cmd()", None, False), Row("PID\x1b[31m\r\nred", 12345.678, False)]


def test_json_keeps_everything() -> None:
    found = json.loads(show.render(ROWS, Row, "json"))
    assert found[0] == {"class": "covid19", "probability": 0.123456, "decision": True}
    assert found[2]["class"] == "PID\x1b[31m\r\nred"


def test_csv_is_harmless_in_a_spreadsheet_and_a_terminal() -> None:
    text = show.render(ROWS, Row, "csv")
    found = list(csv.DictReader(io.StringIO(text)))
    assert found[0]["probability"] == "0.123456"
    assert found[1]["class"] == "'=cmd()"
    assert "\x1b" not in text and len(text.splitlines()) == 4


def test_a_table_is_one_line_a_record() -> None:
    text = show.render(ROWS, Row, "table")
    assert len(text.splitlines()) == 4 and "\x1b" not in text
    assert "0.123" in text and "12345.7" in text and "yes" in text
    assert show.render([], Row, "table").split() == ["class", "probability", "decision"]
