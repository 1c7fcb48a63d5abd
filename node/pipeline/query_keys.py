"""The keys of our C-FIND, as one table: what may be asked at which level, and how a value is matched.

PS3.4 section C.2.2.2 (matching) and C.6.1.1, C.6.2.1 (the levels). Pure: texts in, yes or no out.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Literal

Value = str | int | tuple[str, ...] | None
Reader = Callable[[str], str | None]


class Level(StrEnum):
    PATIENT = "PATIENT"
    STUDY = "STUDY"
    SERIES = "SERIES"
    IMAGE = "IMAGE"


LEVELS = tuple(Level)


@dataclass(frozen=True)
class Key:
    """kind: unique, required or optional, PS3.4 section C.6.1.1. matched: False where it is only returned.

    A keyword with a dot stands in the items of a sequence, and is of QIDO-RS alone: C-FIND matches no sequences.
    """

    level: Level
    keyword: str
    vr: str
    kind: Literal["U", "R", "O"] = "O"
    matched: bool = True


KEYS = (
    Key(Level.PATIENT, "PatientID", "LO", "U"),
    Key(Level.PATIENT, "PatientName", "PN", "R"),
    Key(Level.PATIENT, "IssuerOfPatientID", "LO"),
    Key(Level.PATIENT, "PatientBirthDate", "DA"),
    Key(Level.PATIENT, "PatientSex", "CS"),
    Key(Level.PATIENT, "NumberOfPatientRelatedStudies", "IS", matched=False),
    Key(Level.PATIENT, "NumberOfPatientRelatedSeries", "IS", matched=False),
    Key(Level.PATIENT, "NumberOfPatientRelatedInstances", "IS", matched=False),
    Key(Level.STUDY, "StudyInstanceUID", "UI", "U"),
    Key(Level.STUDY, "StudyDate", "DA", "R"),
    Key(Level.STUDY, "StudyTime", "TM", "R"),
    Key(Level.STUDY, "AccessionNumber", "SH", "R"),
    Key(Level.STUDY, "StudyID", "SH", "R"),
    Key(Level.STUDY, "StudyDescription", "LO"),
    Key(Level.STUDY, "ReferringPhysicianName", "PN"),
    Key(Level.STUDY, "ModalitiesInStudy", "CS"),
    Key(Level.STUDY, "SOPClassesInStudy", "UI"),
    Key(Level.STUDY, "NumberOfStudyRelatedSeries", "IS", matched=False),
    Key(Level.STUDY, "NumberOfStudyRelatedInstances", "IS", matched=False),
    Key(Level.SERIES, "SeriesInstanceUID", "UI", "U"),
    Key(Level.SERIES, "Modality", "CS", "R"),
    Key(Level.SERIES, "SeriesNumber", "IS", "R"),
    Key(Level.SERIES, "SeriesDescription", "LO"),
    Key(Level.SERIES, "BodyPartExamined", "CS"),
    Key(Level.SERIES, "ProtocolName", "LO"),
    Key(Level.SERIES, "SeriesDate", "DA"),
    Key(Level.SERIES, "SeriesTime", "TM"),
    Key(Level.SERIES, "PerformedProcedureStepStartDate", "DA"),
    Key(Level.SERIES, "PerformedProcedureStepStartTime", "TM"),
    Key(Level.SERIES, "RequestAttributesSequence.ScheduledProcedureStepID", "SH"),
    Key(Level.SERIES, "RequestAttributesSequence.RequestedProcedureID", "SH"),
    Key(Level.SERIES, "NumberOfSeriesRelatedInstances", "IS", matched=False),
    Key(Level.IMAGE, "SOPInstanceUID", "UI", "U"),
    Key(Level.IMAGE, "InstanceNumber", "IS", "R"),
    Key(Level.IMAGE, "SOPClassUID", "UI"),
    Key(Level.IMAGE, "AvailableTransferSyntaxUID", "UI", matched=False),
    Key(Level.IMAGE, "Rows", "US", matched=False),
    Key(Level.IMAGE, "Columns", "US", matched=False),
    Key(Level.IMAGE, "NumberOfFrames", "IS", matched=False),
)
UNIQUE = {key.level: key.keyword for key in KEYS if key.kind == "U"}
WILD = frozenset({"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"})  # PS3.4 section C.2.2.2.4
_FULL_DAY = re.compile(r"\d{4}\.?\d\d\.?\d\d")
_TIME = re.compile(r"\d\d(:?\d\d(:?\d\d(\.\d{1,6})?)?)?")


@functools.cache
def known_at(level: Level) -> Mapping[str, Key]:
    """By keyword: the keys of this level and those above it, which are answered too."""
    upper = LEVELS[: LEVELS.index(level) + 1]
    return MappingProxyType({key.keyword: key for key in KEYS if key.level in upper})


def matches(key: Key, wanted: str, value: Value) -> bool:
    """Whether a stored value fits what was asked; several values fit where one of them does."""
    if is_universal(key, wanted) or not key.matched:
        return True
    values = value if isinstance(value, tuple) else ("" if value is None else str(value),)
    return any(_matches_one(key.vr, wanted, one.strip()) for one in values)


def is_universal(key: Key, wanted: str) -> bool:
    """PS3.4 section C.2.2.2.3; asterisks alone match everything too, an absent value included (C.2.2.2.4)."""
    return not wanted or (key.vr in WILD and not wanted.strip("*"))


def is_single(key: Key, wanted: str) -> bool:
    """One value, with nothing that stands for others."""
    return bool(wanted) and "\\" not in wanted and not (key.vr in WILD and re.search(r"[*?]", wanted))


def _matches_one(vr: str, wanted: str, value: str) -> bool:
    if vr == "UI":
        return value in wanted.split("\\")
    if vr == "DA":
        return _in_range(wanted, _day(value), _day, _day)
    if vr == "TM":
        return _in_range(wanted, _earliest(value), _earliest, _latest)
    if vr == "IS":
        return value.isdigit() and wanted.strip().isdigit() and int(value) == int(wanted)
    if vr == "PN":
        return _matches_name(wanted, value)
    return any(_matches_text(vr, one, value) for one in wanted.split("\\"))


def _matches_text(vr: str, wanted: str, value: str) -> bool:
    """Case counts (PS3.4 section C.2.2.2.1)."""
    wanted = wanted.strip()
    return _fits(wanted, value) if vr in WILD else wanted == value


def _fits(wanted: str, value: str) -> bool:
    """Asterisk: any number of characters; question mark: one. Goes back to the last asterisk only: never slow."""
    place = at = 0
    star, mark = -1, 0
    while at < len(value):
        if place < len(wanted) and wanted[place] == "*":
            star, mark, place = place, at, place + 1
        elif place < len(wanted) and wanted[place] in ("?", value[at]):
            place, at = place + 1, at + 1
        elif star >= 0:
            mark += 1
            place, at = star + 1, mark
        else:
            return False
    return not wanted[place:].strip("*")


def _matches_name(wanted: str, value: str) -> bool:
    """In any of the component groups (PS3.5 section 6.2); case, accents and empty components at the end are nothing."""
    plain = _asked_plain(wanted)
    return any(_fits(plain, _plain(group)) for group in {value, *value.split("=")})


@functools.lru_cache(16)
def _asked_plain(wanted: str) -> str:
    """Once for a query, not for each name that it is held against: a peer may ask with 64 KiB of them."""
    return _plain(wanted)


def _plain(name: str) -> str:
    folded = "".join(sign for sign in unicodedata.normalize("NFKD", name) if not unicodedata.combining(sign))
    return re.sub(r"[\s^]+$", "", re.sub(r"\s*\^\s*", "^", folded.casefold().strip()))


def _in_range(wanted: str, value: str | None, low: Reader, high: Reader) -> bool:
    """PS3.4 section C.2.2.2.5: both ends belong to the range; one that is not understood matches nothing."""
    if value is None:
        return False
    first, hyphen, last = wanted.strip().partition("-")
    if not hyphen:
        last = first
    begin, end = low(first.strip()) if first.strip() else "", high(last.strip()) if last.strip() else "~"
    return begin is not None and end is not None and begin <= value <= end


def _day(text: str) -> str | None:
    return text.replace(".", "") if _FULL_DAY.fullmatch(text) else None


def _earliest(text: str) -> str | None:
    """HHMMSSFFFFFF, what is not said as zeros."""
    return _padded(text, "000000000000")


def _latest(text: str) -> str | None:
    """The last moment that a time of this precision means."""
    return _padded(text, "235959999999")


def _padded(text: str, rest: str) -> str | None:
    if not _TIME.fullmatch(text):
        return None
    digits = re.sub(r"[:.]", "", text)
    return digits + rest[len(digits) :]


def days(wanted: str) -> tuple[str, str] | None:
    """First and last day of a DA key, as YYYYMMDD, open ends as the smallest and largest text; None: not understood."""
    first, hyphen, last = wanted.strip().partition("-")
    begin, end = _day(first.strip()), _day((last if hyphen else first).strip())
    if (first.strip() and begin is None) or (last.strip() and end is None):
        return None
    return begin or "", end or "~"
