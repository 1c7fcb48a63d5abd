"""Rules as data: a test with its parameters, the name and the sentence of the rule; and how headers are read for them.

A test is a small frozen dataclass whose fields are the parameters that ``config/selection.toml`` gives it. Called with
what it judges it answers None where it has nothing to say, else the facts that the sentence is filled with. Rules stand
in order; the first that objects decides. Tests of headers are in ``by_header``, of pictures in ``picture``, of CT
series in ``series``; how rules are read is in ``rules``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Generic, TypeVar

from pydicom import Dataset
from pydicom import Sequence as Items
from pydicom.multival import MultiValue

from node.pipeline.header import text_of

DESCRIPTIONS = ("SeriesDescription", "ProtocolName", "AcquisitionDeviceProcessingDescription", "StudyDescription")
LONGEST_VALUE = 32  # characters of a header that a sentence repeats
Facts = Mapping[str, object]
Subject = TypeVar("Subject")
Words = re.Pattern[str]


@dataclass(frozen=True)
class Objection:
    """Why something is left out. ``rule``: the name of the rule that decided."""

    rule: str
    sentence: str


@dataclass(frozen=True)
class Rule(Generic[Subject]):
    """One rule. ``leaves_out``: false: the sentence is only said of what is taken. ``kinds``: of image, film or ct.

    limits: the numbers among the test's parameters, which the sentence may name.
    """

    name: str
    sentence: str
    test: Callable[[Subject], Facts | None]
    limits: Facts
    leaves_out: bool = True
    kinds: tuple[str, ...] = ()

    def speaks(self, subject: Subject) -> str:
        """The filled sentence; empty where the test has nothing to say."""
        facts = self.test(subject)
        return "" if facts is None else filled(self.sentence, {**self.limits, **facts})


def first_objection(subject: Subject, rules: Sequence[Rule[Subject]]) -> Objection | None:
    spoken = ((rule.name, rule.speaks(subject)) for rule in rules if rule.leaves_out)
    return next((Objection(name, sentence) for name, sentence in spoken if sentence), None)


def remarks(subject: Subject, rules: Sequence[Rule[Subject]]) -> tuple[str, ...]:
    """What is to be said of something that is taken."""
    return tuple(said for rule in rules if not rule.leaves_out and (said := rule.speaks(subject)))


def filled(sentence: str, facts: Facts) -> str:
    """The sentence with its facts; numbers without needless places."""
    return sentence.format(**{name: _shown(fact) for name, fact in facts.items()})


def _shown(fact: object) -> str:
    if isinstance(fact, float):
        return f"{fact:.4g}"
    text = str(fact)
    return "".join(character for character in text if character.isprintable())[:LONGEST_VALUE]


def texts(header: Dataset, path: str) -> list[str]:
    """The values of an attribute as texts; ``Sequence.Attribute`` those of every item of a sequence."""
    sequence, _, attribute = path.rpartition(".")
    if sequence:
        items = [item for item in values(header, sequence) if isinstance(item, Dataset)]
        return [value for item in items for value in texts(item, attribute)]
    return [str(value).replace("\0", "").strip() for value in values(header, attribute)]


def values(header: Dataset, keyword: str) -> list[object]:
    try:
        value = header.get(keyword)
    except Exception:  # noqa: BLE001 - a value pydicom cannot convert counts as absent
        return []
    found = list(value) if isinstance(value, MultiValue | Items) else [value]
    return [one for one in found if one is not None and (isinstance(one, Dataset) or str(one).strip("\0 "))]


def sentence_of(header: Dataset, attributes: Sequence[str]) -> str:
    return " ".join(value for name in attributes for value in texts(header, name)).replace("_", " ")


def description(header: Dataset) -> str:
    return sentence_of(header, DESCRIPTIONS)


def names_the_chest(header: Dataset, words: Words) -> bool:
    return bool(words.search(sentence_of(header, ("BodyPartExamined", *DESCRIPTIONS))))


def plain(text: str) -> str:
    """For comparing code strings: capitals, without the blanks and underscores that senders add."""
    return re.sub(r"[\s_]", "", text).upper()


def age_years(header: Dataset) -> float | None:
    """Patient's Age (0010,1010), else Study Date less Patient's Birth Date; None where neither can be read."""
    found = re.fullmatch(r"(\d{1,3})([DWMY])", text_of(header, "PatientAge"))  # AS, PS3.5 Table 6.2-1
    if found:
        return int(found[1]) * {"D": 1 / 365.25, "W": 7 / 365.25, "M": 1 / 12, "Y": 1.0}[found[2]]
    born, taken = _day(header, "PatientBirthDate"), _day(header, "StudyDate")
    return (taken - born).days / 365.25 if born and taken and taken >= born else None


def _day(header: Dataset, keyword: str) -> date | None:
    try:
        text = text_of(header, keyword)
        return date(int(text[:4]), int(text[4:6]), int(text[6:8]))
    except ValueError:
        return None
