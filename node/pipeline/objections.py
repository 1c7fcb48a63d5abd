"""What a header can say against an image, whatever its modality: its part of the body, its patient's age, its kind.

A rule takes a header and gives a sentence, or an empty text where it has nothing to say. Rules stand in order; the
first that speaks decides.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import date

from pydicom import Dataset

from node.pipeline.header import text_of

Rule = Callable[[Dataset], str]
YOUNGEST_YEARS = 16  # every shipped model was trained on adults
CHEST = re.compile(r"chest|thorax|thora|lung|pulm|torax|brust|poumon", re.IGNORECASE)
OTHER_PARTS = re.compile(
    r"knee|knie|hand|wrist|foot|ankle|elbow|shoulder|hip|pelvis|becken|abdom|spine|skull|finger|femur|tibia|humerus|"
    r"clavicle|rib\b|ribs\b|cervical|lumbar|genou|rodilla|breast|mamm|\bhead\b|brain|\bneck\b|sinus|orbit|kopf|"
    r"sch(?:ä|ae)del|cerebr|cran(?:ial|io)",
    re.IGNORECASE,
)


def first_objection(header: Dataset, rules: Sequence[Rule]) -> str:
    return next((reason for rule in rules if (reason := rule(header))), "")


def several_frames(header: Dataset) -> str:
    try:
        frames = int(header.get("NumberOfFrames", 1) or 1)
    except (TypeError, ValueError):
        return "Its number of frames cannot be read."
    return f"It has {frames} frames; one is read of each object." if frames != 1 else ""


def body_part(header: Dataset) -> str:
    part = text_of(header, "BodyPartExamined")
    if part and not CHEST.search(part):
        return f"BodyPartExamined says {part[:16]}; this node reads images of the chest."
    said = description(header)
    if not part and OTHER_PARTS.search(said) and not CHEST.search(said):
        return "Its description names another part of the body; this node reads images of the chest."
    return ""


def age(header: Dataset) -> str:
    years = _years(header)
    if years is not None and years < YOUNGEST_YEARS:
        return f"The patient is younger than {YOUNGEST_YEARS} years; the systems were trained on adults."
    return ""


def names_the_chest(header: Dataset) -> bool:
    return bool(CHEST.search(text_of(header, "BodyPartExamined")) or CHEST.search(description(header)))


def description(header: Dataset) -> str:
    keywords = ("SeriesDescription", "ProtocolName", "AcquisitionDeviceProcessingDescription", "StudyDescription")
    return " ".join(text_of(header, keyword) for keyword in keywords).replace("_", " ")


def words(header: Dataset, keyword: str) -> list[str]:
    """The values of a multi-valued text."""
    text = text_of(header, keyword).strip("[]").replace("'", "")
    return [word.strip() for word in re.split(r"[\\,]", text) if word.strip()]


def _years(header: Dataset) -> float | None:
    found = re.fullmatch(r"(\d{1,3})([DWMY])", text_of(header, "PatientAge"))
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
