"""What can be said against an image by its header: tests with parameters, which ``config/selection.toml`` gives them.

Each test answers None where it has nothing to say, else the facts named in ``tells``. An attribute that is silent, or
that cannot be read, objects to nothing unless the test says so.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from pydicom import Dataset
from pydicom._uid_dict import UID_dictionary

from node.pipeline.header import text_of
from node.pipeline.objections import Facts, Words, age_years, plain, sentence_of, texts, values


@dataclass(frozen=True)
class HasValue:
    """One of the attribute's values is one of ``values``."""

    tells: ClassVar = ("value", "kind")
    attribute: str
    values: tuple[str, ...]

    def __call__(self, header: Dataset) -> Facts | None:
        refused = {plain(value) for value in self.values}
        return next((_told(said) for said in texts(header, self.attribute) if plain(said) in refused), None)


@dataclass(frozen=True)
class NotAmong:
    """The attribute has values, and none is one of ``values``. ``silent``: an attribute without value objects too."""

    tells: ClassVar = ("value", "kind")
    attribute: str
    values: tuple[str, ...]
    silent: bool = False

    def __call__(self, header: Dataset) -> Facts | None:
        said = texts(header, self.attribute)
        if not said:
            return _told("") if self.silent else None
        return None if {plain(one) for one in said} & {plain(value) for value in self.values} else _told(said[0])


@dataclass(frozen=True)
class Says:
    """The attributes together say ``words`` and do not say ``unless``."""

    tells: ClassVar = ()
    attributes: tuple[str, ...]
    words: Words
    unless: Words | None = None

    def __call__(self, header: Dataset) -> Facts | None:
        said = sentence_of(header, self.attributes)
        objects = self.words.search(said) and not (self.unless and self.unless.search(said))
        return {} if objects else None


@dataclass(frozen=True)
class SaysNot:
    """The attribute has a value, which does not say ``words``."""

    tells: ClassVar = ("value", "kind")
    attribute: str
    words: Words

    def __call__(self, header: Dataset) -> Facts | None:
        said = sentence_of(header, (self.attribute,))
        return _told(said) if said and not self.words.search(said) else None


@dataclass(frozen=True)
class Outside:
    """A number of the attribute is less than ``least`` or more than ``most``. What is no number objects to nothing."""

    tells: ClassVar = ("value",)
    attribute: str
    least: float = -math.inf
    most: float = math.inf

    def __call__(self, header: Dataset) -> Facts | None:
        found = [value for text in texts(header, self.attribute) if (value := _number(text)) is not None]
        outside = [value for value in found if not self.least <= value <= self.most]
        return {"value": outside[0]} if outside else None


@dataclass(frozen=True)
class SeveralFrames:
    """Number of Frames (0028,0008) is not one."""

    tells: ClassVar = ("frames",)

    def __call__(self, header: Dataset) -> Facts | None:
        try:
            frames = int(header.get("NumberOfFrames", 1) or 1)
        except (TypeError, ValueError):
            return {"frames": "an unreadable number of"}
        return None if frames == 1 else {"frames": frames}


@dataclass(frozen=True)
class YoungerThan:
    """The patient was younger than ``years`` when the study was made; an age that is not known objects to nothing."""

    tells: ClassVar = ()
    years: float

    def __call__(self, header: Dataset) -> Facts | None:
        age = age_years(header)
        return {} if age is not None and age < self.years else None


@dataclass(frozen=True)
class AgeUnknown:
    """Neither age nor date of birth can be read."""

    tells: ClassVar = ()

    def __call__(self, header: Dataset) -> Facts | None:
        return {} if age_years(header) is None else None


@dataclass(frozen=True)
class FirstValueBegins:
    """The first value of the attribute begins with one of ``letters``."""

    tells: ClassVar = ("value", "kind")
    attribute: str
    letters: str

    def __call__(self, header: Dataset) -> Facts | None:
        said = texts(header, self.attribute)[:1]
        return _told(said[0]) if said and said[0][0].upper() in self.letters.upper() else None


@dataclass(frozen=True)
class WithContrast:
    """A contrast agent is named, or the description of the series says ``words``; unless it says ``unless``."""

    tells: ClassVar = ()
    words: Words
    unless: Words

    def __call__(self, header: Dataset) -> Facts | None:
        agent = sentence_of(header, ("ContrastBolusAgent", "ContrastBolusAgentSequence.CodeMeaning"))
        said = sentence_of(header, ("SeriesDescription", "ProtocolName"))
        by_agent = agent and not self.unless.search(agent)
        by_words = self.words.search(said) and not self.unless.search(said)
        return {} if by_agent or by_words else None


@dataclass(frozen=True)
class Guarded:
    """A test for images of some SOP classes alone, or for those that are silent on some attributes."""

    test: Callable[[Dataset], Facts | None]
    sop_classes: tuple[str, ...]
    only_if_silent: tuple[str, ...]

    def __call__(self, header: Dataset) -> Facts | None:
        if self.sop_classes and text_of(header, "SOPClassUID") not in self.sop_classes:
            return None
        return None if any(values(header, name) for name in self.only_if_silent) else self.test(header)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _told(value: str) -> Facts:
    """``kind``: the standard's name of a UID."""
    name, *_ = UID_dictionary.get(value, ("object of unknown kind",))
    return {"value": value, "kind": name}


TESTS: dict[str, type] = {
    "has-value": HasValue,
    "not-among": NotAmong,
    "first-value-begins": FirstValueBegins,
    "says": Says,
    "says-not": SaysNot,
    "outside": Outside,
    "several-frames": SeveralFrames,
    "younger-than": YoungerThan,
    "age-unknown": AgeUnknown,
    "with-contrast": WithContrast,
}
