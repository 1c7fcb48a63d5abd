"""Writes docs/selection.md from config/selection.toml and the tests that a rule may name, so that neither differs.

Run as ``python -m tests.docs.selection_page``; a test compares its output with the page.
"""

from __future__ import annotations

import dataclasses
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from node.pipeline.rules import SECTIONS

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "selection.md"
RULES = ROOT / "config" / "selection.toml"
HEAD = """\
# Selection

Which images are analysed, written from `config/selection.toml`: every rule, what it looks at, what it does and the
sentence that the report says. Rules speak in this order, and the first that objects decides. A rule either leaves out,
or only says its sentence of what is analysed, or does nothing until a site switches it on.

A site's own file is named by `[analysis] selection` in the settings and holds only what differs:

    [image.age]
    years = 18                    # a limit of its own

    [image.contrast]
    does = "leave-out"            # unenhanced series alone

    [image.our-test-room]         # a rule of its own speaks after the shipped ones
    for = ["film", "ct"]
    test = "has-value"
    attribute = "StationName"
    values = ["TESTROOM"]
    does = "leave-out"
    sentence = "It was made in the test room."

An unknown key, test, word or attribute, a wrong type or a sentence with a name that its test does not tell refuses to
start. A sentence repeats codes, numbers and UIDs of a header alone, never what people type. To try a file:

    lungnode select STUDY_UID --data DIR --rules FILE     # on a stored study
    lungnode select --files PATH... --rules FILE          # on files; neither stores anything

Three rules cannot be switched off: results of this node are never analysed, a file that cannot be read is left out, and
nothing is analysed of a study with images of two patients. A system whose model card states a least age refuses younger
patients by itself.
"""
TITLES = {
    "image": "Headers of films and of CT slices",
    "picture": "The pixels of a film",
    "series": "CT series",
}
COMMON = ("test", "does", "sentence", "for")


def page() -> str:
    text = RULES.read_text(encoding="utf-8")
    tree, whys = tomllib.loads(text), _comments(text)
    parts = [HEAD]
    for section, title in TITLES.items():
        parts.append(f"\n## {title}\n\n| rule | for | looks at | does | sentence | why |\n|---|---|---|---|---|---|\n")
        parts += [_rule(section, name, rule, whys) for name, rule in tree[section].items()]
    parts.append("\n## Which of several CT series\n\n| key | default | meaning |\n|---|---|---|\n")
    keys = {key: value for key, value in tree["choice"].items() if key not in ("because", "sentence")}
    parts += [_row(f"`{key}`", f"`{_toml(value)}`", whys[f"choice {key}"]) for key, value in keys.items()]
    parts.append(f'\nA series that is not taken: "{tree["choice"]["sentence"]}"\n\n| point | because |\n|---|---|\n')
    parts += [_row(f"`{name}`", text) for name, text in tree["choice"]["because"].items()]
    parts.append("\n## Words\n\nRegular expressions, without regard to case.\n\n| name | expression |\n|---|---|\n")
    parts += [_row(f"`{name}`", f"`{_expression(value)}`") for name, value in tree["words"].items()]
    parts.append(
        "\n## Tests\n\nWhat a rule of a site may name.\n\n| section | test | keys | objects when |\n|---|---|---|---|\n"
    )
    parts += [_test(section, name, kind) for section, tests in SECTIONS.items() for name, kind in tests.items()]
    return "".join(parts)


def _comments(text: str) -> dict[str, str]:
    """The remark behind a table's heading or a key of [choice]."""
    found = {}
    section = ""
    for line in text.splitlines():
        if heading := re.match(r"\[([\w.-]+)\]\s*(?:#\s*(.*))?$", line):
            section = heading[1]
            found[section] = heading[2] or ""
        elif section == "choice" and (key := re.match(r"(\w+) = .*?#\s*(.*)$", line)):
            found[f"choice {key[1]}"] = key[2]
    return found


def _rule(section: str, name: str, rule: Mapping[str, Any], whys: Mapping[str, str]) -> str:
    keys = [f"{key} = {_toml(value)}" for key, value in rule.items() if key not in COMMON]
    looks = "; ".join([f"`{rule['test']}`", *(f"`{key}`" for key in keys)])
    kinds = ", ".join(rule.get("for", [])) or ("film" if section == "picture" else "ct")
    return _row(f"`{name}`", kinds, looks, rule["does"], rule["sentence"], whys.get(f"{section}.{name}", ""))


def _test(section: str, name: str, kind: type) -> str:
    keys = [
        f"`{field.name}`" + ("" if field.default is dataclasses.MISSING else " (optional)")
        for field in dataclasses.fields(kind)
    ]
    said = re.sub(r"\s+", " ", str(kind.__doc__).replace("``", "`"))
    return _row(section, f"`{name}`", ", ".join(keys), said)


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    return f'"{value}"' if isinstance(value, str) else str(value)


def _expression(value: str | list[str]) -> str:
    return value if isinstance(value, str) else "|".join(value)


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
