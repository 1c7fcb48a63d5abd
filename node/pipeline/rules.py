"""The table of rules: ``config/selection.toml`` and what a site's own file changes in it, read, checked, made callable.

Whatever is not understood is ``Misconfigured``, and the node does not start: an unknown section, key, test, word or
attribute, a value of a wrong type, a regular expression that is none, a sentence with a name its test does not tell.
A sentence may repeat no value that could identify a person.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import string
import tomllib
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from pydicom import Dataset
from pydicom.datadict import dictionary_VR, tag_for_keyword

from node.core.errors import Misconfigured
from node.pipeline.by_header import TESTS as IMAGE_TESTS
from node.pipeline.by_header import Guarded
from node.pipeline.objections import Rule, Words
from node.pipeline.picture import TESTS as PICTURE_TESTS
from node.pipeline.picture import Look
from node.pipeline.series import POINTS, Choice, Run
from node.pipeline.series import TESTS as SERIES_TESTS

Tree = dict[str, Any]
Table = Mapping[str, Any]
SECTIONS: dict[str, dict[str, Any]] = {"image": IMAGE_TESTS, "picture": PICTURE_TESTS, "series": SERIES_TESTS}
KINDS = ("film", "ct")
DOES = ("leave-out", "say", "nothing")
REQUIRED_WORDS = ("chest", "frontal", "lateral", "lung-kernel", "contrast", "no-contrast")
HARMLESS = ("CS", "DS", "IS", "US", "SS", "FD", "FL", "UI")  # codes, numbers and UIDs; nothing that people type
PATIENT_GROUP = 0x0010
NAMES: dict[Any, str] = {float: "number", int: "whole number", str: "text", bool: "true or false"}


@dataclass(frozen=True)
class Rules:
    """Everything that selection needs. ``digest``: of what was read, since it decides results."""

    image: tuple[Rule[Dataset], ...]
    picture: tuple[Rule[Look], ...]
    series: tuple[Rule[Run], ...]
    choice: Choice
    words: Mapping[str, Words]
    digest: str

    def of(self, kind: str) -> tuple[Rule[Dataset], ...]:
        """Those for the headers of one kind of image, film or ct."""
        return tuple(rule for rule in self.image if kind in rule.kinds)


def load(file: str | Path = "") -> Rules:
    """The shipped rules, with what ``file`` says otherwise; empty: the shipped ones alone."""
    tree = tomllib.loads(resources.files("config").joinpath("selection.toml").read_text(encoding="utf-8"))
    if str(file):
        _merge(tree, _read(Path(file)))
    try:
        return _rules(tree)
    except Misconfigured as error:
        raise Misconfigured(f"{file or 'selection.toml'}: {error}") from None


def _read(file: Path) -> Tree:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise Misconfigured(f"cannot read the selection rules {file}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Misconfigured(f"{file} is not valid TOML: {error}") from error


def _merge(tree: Tree, other: Tree) -> None:
    """A table's keys take the place of those of the same name; a rule with a test of its own is taken as it stands."""
    for name, value in other.items():
        whole = isinstance(value, dict) and "test" in value
        if isinstance(value, dict) and isinstance(tree.get(name), dict) and not whole:
            _merge(tree[name], value)
        else:
            tree[name] = value


def _rules(tree: Tree) -> Rules:
    _exactly("the file", tree, {"words", "choice", *SECTIONS})
    words = {name: _expression(name, value) for name, value in _table("words", tree["words"]).items()}
    if missing := [name for name in REQUIRED_WORDS if name not in words]:
        raise Misconfigured(f"[words] needs {missing[0]}")
    found = {section: _section(section, tree[section], words) for section in SECTIONS}
    return Rules(
        image=found["image"],
        picture=found["picture"],
        series=found["series"],
        choice=_choice(_table("choice", tree["choice"]), words),
        words=words,
        digest=hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest(),
    )


def _section(section: str, tables: object, words: Mapping[str, Words]) -> tuple[Rule[Any], ...]:
    """Every rule is checked, also those that do nothing."""
    checked = {name: _table(f"{section}.{name}", table) for name, table in _table(section, tables).items()}
    made = {name: _rule(section, name, table, words) for name, table in checked.items()}
    return tuple(rule for name, rule in made.items() if checked[name]["does"] != "nothing")


def _rule(section: str, name: str, table: Table, words: Mapping[str, Words]) -> Rule[Any]:
    where = f"[{section}.{name}]"
    if str(table.get("test")) not in SECTIONS[section]:
        raise Misconfigured(f"{where} test is one of {', '.join(SECTIONS[section])}, not {table.get('test')!r}")
    kind = SECTIONS[section][table["test"]]
    own = {field.name: field for field in dataclasses.fields(kind)}
    common = {"test", "does", "sentence"} | ({"for", "sop_classes", "only_if_silent"} if section == "image" else set())
    if unknown := set(table) - common - set(own):
        raise Misconfigured(f"{where} knows no {sorted(unknown)[0]}; its test has {', '.join(own) or 'no parameter'}")
    if str(table.get("does")) not in DOES:
        raise Misconfigured(f"{where} does {' or '.join(DOES)}, not {table.get('does')!r}")
    test = kind(**_parameters(where, kind, table, words))
    limits = {name: getattr(test, name) for name in own if type(getattr(test, name)) in (int, float)}
    sentence = _sentence(where, table, {*kind.tells, *limits})
    leaves_out = table["does"] == "leave-out"
    if section != "image":
        return Rule(name, sentence, test, limits, leaves_out)
    guarded = Guarded(test, _texts(where, table, "sop_classes"), _texts(where, table, "only_if_silent"))
    _check_attributes(where, guarded.only_if_silent)
    kinds = _texts(where, table, "for")
    if not kinds or set(kinds) - set(KINDS):
        raise Misconfigured(f'{where} for is a list of "film", "ct" or both')
    return Rule(name, sentence, guarded, limits, leaves_out, kinds)


def _parameters(where: str, kind: type, table: Table, words: Mapping[str, Words]) -> dict[str, Any]:
    hints = typing.get_type_hints(kind)
    found: dict[str, Any] = {}
    for field in dataclasses.fields(kind):
        if field.name in table:
            found[field.name] = _typed(f"{where} {field.name}", table[field.name], hints[field.name], words)
        elif field.default is dataclasses.MISSING:
            raise Misconfigured(f"{where} needs {field.name}")
    _check_attributes(where, found.get("attributes") or tuple(found[name] for name in ("attribute",) if name in found))
    if found.get("least", 0) > found.get("most", found.get("least", 0)):
        raise Misconfigured(f"{where} least is more than most")
    return found


def _typed(where: str, value: object, hint: Any, words: Mapping[str, Words]) -> object:
    if hint in (Words, Words | None):
        if not isinstance(value, str) or value not in words:
            raise Misconfigured(f"{where} names no entry of [words]: {value!r}")
        return words[value]
    if hint == tuple[str, ...]:
        return _list(where, value)
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is not hint:
        raise Misconfigured(f"{where} is a {NAMES.get(hint, hint.__name__)}, not {value!r}")
    return value


def _sentence(where: str, table: Table, tells: set[str]) -> str:
    """The sentence, which ends in a full stop and names nothing but what its test tells."""
    sentence = table.get("sentence")
    if not isinstance(sentence, str) or not sentence.endswith("."):
        raise Misconfigured(f"{where} sentence is a text that ends in a full stop")
    _check_names(where, sentence, tells)
    repeats = "{value" in sentence or "{kind" in sentence
    if repeats and not _is_harmless(str(table["attribute"])):
        raise Misconfigured(f"{where} sentence may not repeat {table['attribute']}, which could identify a person")
    return sentence


def _check_names(where: str, sentence: str, allowed: set[str], formats: bool = False) -> None:
    """``formats``: the sentence is filled with numbers, whose form it may say, as in {best:.0f}."""
    try:
        named = [(name, form or kind) for _, name, form, kind in string.Formatter().parse(sentence) if name is not None]
    except ValueError:
        raise Misconfigured(f"{where} sentence has a brace without its partner") from None
    for name, form in named:
        if name not in allowed:
            raise Misconfigured(f"{where} sentence cannot tell {{{name}}}")
        if form and not (formats and re.fullmatch(r"\.\d[fg]", form)):
            raise Misconfigured(f"{where} sentence cannot tell {{{name}}} in the form {form!r}")


def _is_harmless(attribute: str) -> bool:
    tag = tag_for_keyword(attribute.rpartition(".")[2]) or 0
    return dictionary_VR(tag) in HARMLESS and tag >> 16 != PATIENT_GROUP


def _check_attributes(where: str, attributes: Sequence[str]) -> None:
    for attribute in attributes:
        if any(tag_for_keyword(part) is None for part in attribute.split(".")):
            raise Misconfigured(f"{where} names no DICOM attribute: {attribute!r}")


def _choice(table: Table, words: Mapping[str, Words]) -> Choice:
    hints = typing.get_type_hints(Choice)
    _exactly("[choice]", table, set(hints) - {"words"})
    because = {
        name: str(_typed(f"[choice.because] {name}", text, str, words))
        for name, text in _table("choice.because", table["because"]).items()
    }
    simple = set(hints) - {"words", "because"}
    found: dict[str, Any] = {name: _typed(f"[choice] {name}", table[name], hints[name], words) for name in simple}
    choice = Choice(**found, because=because, words=words)
    if unknown := [name for name in (*choice.order, *because) if name not in POINTS]:
        raise Misconfigured(f"[choice] order names {unknown[0]!r}; known: {', '.join(POINTS)}")
    if missing := [name for name in (*choice.order, "number") if name not in because]:
        raise Misconfigured(f"[choice.because] needs {missing[0]}")
    _check_names("[choice]", choice.sentence, {"because"})
    for name, text in choice.because.items():
        _check_names(f"[choice.because] {name}", text, {"best", "this"}, formats=True)
    return choice


def _expression(name: str, value: object) -> Words:
    parts = [value] if isinstance(value, str) else _list(f"[words] {name}", value)
    try:
        return re.compile("|".join(parts), re.IGNORECASE)
    except re.error as error:
        raise Misconfigured(f"[words] {name} is no regular expression: {error}") from None


def _texts(where: str, table: Table, key: str) -> tuple[str, ...]:
    return _list(f"{where} {key}", table.get(key, []))


def _list(where: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise Misconfigured(f"{where} is a list of texts, not {value!r}")
    return tuple(value)


def _table(name: str, value: object) -> Table:
    if not isinstance(value, dict):
        raise Misconfigured(f"{name} is a table")
    return value


def _exactly(where: str, table: Table, names: set[str]) -> None:
    if unknown := set(table) - names:
        raise Misconfigured(f"{where} knows no {sorted(unknown)[0]}; known: {', '.join(sorted(names))}")
    if missing := names - set(table):
        raise Misconfigured(f"{where} needs {sorted(missing)[0]}")
