"""Writes docs/logs.md: every event of the log as the code has it, with its level and fields, and what it means.

Run as ``python -m tests.docs.logs_page``; a test compares its output with the page, and names each event that the code
has and the table of meanings lacks, or the other way round.
"""

from __future__ import annotations

import ast
import fnmatch
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from node.queue.embedded import EVENTS
from tests.docs.logs_text import HEAD, MEANINGS, TAIL

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "logs.md"
LEVELS, LOGGERS = ("info", "warning", "error"), ("logger", "logging.getLogger(__name__)")


@dataclass(frozen=True)
class Said:
    """One place in the code. name: with * for what is put in there."""

    name: str
    level: str
    fields: frozenset[str]


@functools.cache
def said() -> tuple[Said, ...]:
    return tuple(_said())


def _said() -> Iterator[Said]:
    for path in sorted((ROOT / "node").rglob("*.py")):
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute):
                yield from _of_call(call, call.func)
    for words in EVENTS.values():
        for kind, name in words.items():
            level = "info" if kind == "started" else "error"
            yield Said(name, level, frozenset({name.partition(".")[0], "pid" if kind != "died" else "exit_code"}))


def _of_call(call: ast.Call, function: ast.Attribute) -> Iterator[Said]:
    to = ast.unparse(function.value)
    if (to, function.attr) == ("log", "event") and len(call.args) > 1 and (name := _text(call.args[1])):
        words = ast.unparse(call.args[2]).lower() if len(call.args) > 2 else "info"
        fields = frozenset(one.arg for one in call.keywords if one.arg)
        for level in [one for one in LEVELS if one in words] or ["info", "warning"]:  # where a variable has it
            yield Said(name, level, fields)
    elif to in LOGGERS and function.attr in ("exception", "error") and (name := _text(call.args[0])):
        dicts = [node for one in call.keywords for node in ast.walk(one.value) if isinstance(node, ast.Dict)]
        keys = {str(key.value) for one in dicts for key in one.keys if isinstance(key, ast.Constant)}
        yield Said(name, "error", frozenset(keys - {"fields"} | {"traceback"}))


def _text(node: ast.expr) -> str:
    """Of a text or an f-string; empty for anything else."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "*" for part in node.values)
    return ""


def places(name: str) -> list[Said]:
    """Where the code says so."""
    return [one for one in said() if fnmatch.fnmatchcase(name, one.name)]


def unknown() -> list[str]:
    """What the code says and the table does not explain."""
    return sorted({one.name for one in said() if not fnmatch.filter(MEANINGS, one.name)})


def page() -> str:
    return "".join((HEAD, *map(_row, sorted(MEANINGS)), TAIL))


def _row(name: str) -> str:
    found = places(name)
    levels = ", ".join(sorted({one.level for one in found}))
    fields = ", ".join(f"`{field}`" for field in sorted(frozenset().union(*(one.fields for one in found))))
    return f"| `{name}` | {levels} | {fields} | {MEANINGS[name]} |\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
