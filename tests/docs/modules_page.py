"""Writes docs/modules.md: what each module of ``node`` and ``models`` owns, in its own words.

The words are the first paragraph of its docstring, so a module whose docstring opens with its contract is on the page
as it should be. Run as ``python -m tests.docs.modules_page``; a test compares its output with the page.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "modules.md"
HEAD = """\
# Modules

What each module owns, in the words of its own docstring, room by room. The way of a study through them is in
[architecture.md](architecture.md). Written by `python -m tests.docs.modules_page`.
"""
LEFT_OUT = "migrations"  # each is a step of the schema that its name says


def modules() -> list[Path]:
    """Relative to the project, each room's own before those of the rooms in it."""
    found = [path.relative_to(ROOT) for room in ("node", "models") for path in (ROOT / room).rglob("*.py")]
    kept = [path for path in found if LEFT_OUT not in path.parts]
    return sorted(kept, key=lambda path: (path.parts[0] != "node", path.parent.parts, path))


def owns(path: Path) -> str:
    """First paragraph of the docstring of a module, on one line; empty where it has none."""
    docstring = ast.get_docstring(ast.parse((ROOT / path).read_text(encoding="utf-8"))) or ""
    return " ".join(docstring.partition("\n\n")[0].split()).replace("``", "`").replace("|", "\\|")


def page() -> str:
    return HEAD + "".join(line for room, paths in groupby(modules(), lambda path: path.parent)
                          for line in _table(room, list(paths)))  # fmt: skip


def _table(room: Path, paths: list[Path]) -> Iterator[str]:
    yield f"\n## {room}\n\n"
    if (said := owns(room / "__init__.py")) and len(paths) > 1:
        yield f"{said}\n\n"
    yield "| module | what it owns |\n|---|---|\n"
    for path in paths:
        if path.name != "__init__.py":
            yield f"| [{path.stem}](../{path}) | {owns(path)} |\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
