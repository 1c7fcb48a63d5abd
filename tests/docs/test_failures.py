"""The page of the fifteen failures names tests that are there, and leaves none of the fifteen out."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "why" / "fifteen-failures.md"


def test_every_failure_has_its_row_and_every_test_is_there() -> None:
    page = PAGE.read_text(encoding="utf-8")
    rows = {int(row[1]): row[0] for row in re.finditer(r"^\| (\d+) \|.*$", page, re.MULTILINE)}
    assert sorted(rows) == list(range(1, 16))
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", page)
    missing = [f"{file}::{name}" for file, name in named if not _is_there(file, name)]
    assert missing == []
    without = [number for number, row in rows.items() if "::" not in row and "not held to by a test" not in row]
    assert without == []


def _is_there(file: str, name: str) -> bool:
    return (ROOT / file).is_file() and f"\ndef {name}(" in (ROOT / file).read_text(encoding="utf-8")
