"""QIDO-RS, Search Transaction (PS3.18 section 10.6): a query string in, one page of matches out.

The matching is that of C-FIND (``pipeline.catalogue``, ``pipeline.query_keys``); here are only the ways in which a URL
says what it wants, and the attributes that every answer has.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from pydicom.datadict import dictionary_VR, keyword_for_tag, tag_for_keyword

from node.pipeline.catalogue import Catalogue, Query, patience
from node.pipeline.query_keys import UNIQUE, Level, Value, known_at
from node.web.dicomweb import json_model
from node.web.dicomweb.answers import BAD_REQUEST, Refusal
from node.web.dicomweb.json_model import Model

RETURNED = {  # in every answer of a level where they are known, PS3.18 Tables 10.6.3-3 to 10.6.3-5
    Level.STUDY: (
        "StudyDate", "StudyTime", "AccessionNumber", "ModalitiesInStudy", "ReferringPhysicianName", "PatientName",
        "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex", "StudyInstanceUID", "StudyID",
        "StudyDescription", "NumberOfStudyRelatedSeries", "NumberOfStudyRelatedInstances",
    ),
    Level.SERIES: (
        "Modality", "SeriesDescription", "SeriesInstanceUID", "SeriesNumber", "NumberOfSeriesRelatedInstances",
        "BodyPartExamined", "PerformedProcedureStepStartDate", "PerformedProcedureStepStartTime",
        "RequestAttributesSequence.ScheduledProcedureStepID", "RequestAttributesSequence.RequestedProcedureID",
    ),
    Level.IMAGE: (
        "SOPClassUID", "SOPInstanceUID", "InstanceNumber", "AvailableTransferSyntaxUID", "Rows", "Columns",
        "NumberOfFrames",
    ),
}  # fmt: skip
REQUIRED = {  # matching that an origin server owes, PS3.18 Table 10.6.1-5
    Level.STUDY: (
        "StudyDate", "StudyTime", "AccessionNumber", "ModalitiesInStudy", "ReferringPhysicianName", "PatientName",
        "PatientID", "StudyInstanceUID", "StudyID",
    ),
    Level.SERIES: (
        "Modality", "SeriesInstanceUID", "SeriesNumber", "PerformedProcedureStepStartDate",
        "PerformedProcedureStepStartTime", "RequestAttributesSequence.ScheduledProcedureStepID",
        "RequestAttributesSequence.RequestedProcedureID",
    ),
    Level.IMAGE: ("SOPClassUID", "SOPInstanceUID", "InstanceNumber"),
}  # fmt: skip
OF_ALL_ABOVE = (Level.STUDY, Level.SERIES, Level.IMAGE)
OWN = frozenset({"limit", "offset", "includefield", "fuzzymatching", "accept", "emptyvaluematching",
                 "multiplevaluematching"})  # fmt: skip
NOT_SUPPORTED = ("fuzzymatching", "emptyvaluematching", "multiplevaluematching")  # said by a Warning when asked for
MOST_PARAMETERS = 200
MOST_SECONDS = 20.0  # of one search, on its way to the last match that was asked for
MORE = "There are additional results that can be requested."  # PS3.18 section 8.3.4.4
TAG = re.compile(r"[0-9A-Fa-f]{8}")


@dataclass(frozen=True)
class Asked:
    """level: of what is searched for. limit: None where the client names none. remarks: for the Warning field."""

    query: Query
    shown: tuple[str, ...]
    limit: int | None
    offset: int
    remarks: tuple[str, ...]


@dataclass(frozen=True)
class Found:
    """whole: whether nothing that matches was held back but what the client did not ask for."""

    matches: list[Model]
    whole: bool


def read(level: Level, above: Mapping[str, str], parameters: Sequence[tuple[str, str]]) -> Asked:
    """above: unique keys that stand in the path. Refusal where a parameter cannot be understood."""
    if len(parameters) > MOST_PARAMETERS:
        raise Refusal(BAD_REQUEST, f"More than {MOST_PARAMETERS} query parameters.")
    known, asked, remarks = known_at(level), dict(above), []
    for name, text in parameters:
        if name in OWN:
            continue
        keyword = attribute(name)
        if keyword not in known:
            remarks.append(f"{keyword} is not matched; it was left out of the query.")
        elif keyword in asked and asked[keyword] != _listed(keyword, text):
            raise Refusal(BAD_REQUEST, f"{keyword} is asked for twice.")
        else:
            asked[keyword] = _listed(keyword, text)
    own = [(name, text) for name, text in parameters if name in OWN]
    remarks += [_remark(name) for name, text in own if name in NOT_SUPPORTED and text.lower() == "true"]
    shown = _shown(level, above, [text for name, text in own if name == "includefield"])
    query = Query(level, {**dict.fromkeys(shown, ""), **asked}, patient_root=False, relational=True)
    return Asked(query, shown, _number(own, "limit"), _number(own, "offset") or 0, tuple(dict.fromkeys(remarks)))


def search(catalogue: Catalogue, asked: Asked, root: str, most: int) -> Found:
    """root: URL of the service. most: matches of one answer, 0 for no limit."""
    wanted = asked.limit if asked.limit is not None else most or None
    count = min(wanted, most) if most and wanted is not None else wanted
    found = itertools.islice(catalogue.find(asked.query, patience(MOST_SECONDS)), asked.offset, None)
    matches = [_match(asked, values, root) for values in itertools.islice(found, count)]
    cut = asked.limit is None or count != asked.limit
    return Found(matches, whole=not (cut and count is not None and next(found, None) is not None))


def attribute(name: str) -> str:
    """A keyword, from a keyword or a tag, with dots between a sequence and its element; Refusal for anything else."""
    parts = []
    for part in name.split("."):
        keyword = keyword_for_tag(int(part, 16)) if TAG.fullmatch(part) else part
        if not keyword or tag_for_keyword(keyword) is None:
            if TAG.fullmatch(part):
                return part.upper()  # private, or of another edition: no key of ours
            raise Refusal(BAD_REQUEST, "A query parameter is neither an attribute nor one of QIDO-RS.")
        parts.append(keyword)
    return ".".join(parts)


def _listed(keyword: str, text: str) -> str:
    """Lists are written with commas (PS3.18 section 8.3.4.1), which no UID and no code string has."""
    vr = dictionary_VR(keyword.rpartition(".")[2])
    return text.replace(",", "\\") if vr in ("UI", "CS") else text


def _shown(level: Level, above: Mapping[str, str], includes: Iterable[str]) -> tuple[str, ...]:
    """The attributes of an answer; those of levels above where the path does not say whose."""
    known = known_at(level)
    wanted = [part.strip() for text in includes for part in text.split(",") if part.strip()]
    levels = OF_ALL_ABOVE[: OF_ALL_ABOVE.index(level) + 1]
    first = next((one for one in levels if UNIQUE[one] not in above), level)
    shown = [keyword for one in levels[levels.index(first) :] for keyword in RETURNED[one]]
    shown = [*(UNIQUE[one] for one in levels), *shown]
    if "all" in wanted:
        shown += [key for key in known if known[key].level in levels or known[key].level is Level.PATIENT]
    shown += [keyword for name in wanted if name != "all" and (keyword := attribute(name)) in known]
    return tuple(keyword for keyword in dict.fromkeys(shown) if not keyword.startswith("NumberOfPatient"))


def _match(asked: Asked, values: Mapping[str, Value], root: str) -> Model:
    known = known_at(asked.query.level)
    listed = [(keyword, known[keyword].vr, value) for keyword, value in values.items() if _is_shown(keyword, value)]
    path = "".join(
        f"/{name}/{values[UNIQUE[level]]}"
        for level, name in zip(OF_ALL_ABOVE, ("studies", "series", "instances"), strict=True)
        if UNIQUE[level] in values and OF_ALL_ABOVE.index(level) <= OF_ALL_ABOVE.index(asked.query.level)
    )
    listed += [("InstanceAvailability", "CS", "ONLINE"), ("RetrieveURL", "UR", root + path)]
    return json_model.of_values(listed)


def _is_shown(keyword: str, value: Value) -> bool:
    """Empty request attributes are not shown: an item says that there was a request."""
    return "." not in keyword or any(value if isinstance(value, tuple) else ())


def _number(own: Iterable[tuple[str, str]], name: str) -> int | None:
    for found, text in own:
        if found == name:
            if not re.fullmatch(r"[0-9]{1,9}", text):
                raise Refusal(BAD_REQUEST, f"{name} is a whole number, 0 or more.")
            return int(text)
    return None


def _remark(name: str) -> str:
    if name == "fuzzymatching":  # the words of PS3.18 section 8.3.4.2
        return "The fuzzymatching parameter is not supported. Only literal matching has been performed."
    return f"The {name} parameter is not supported."


def encoded(matches: Iterable[Model]) -> Iterator[bytes]:
    """A JSON list, match by match."""
    yield b"["
    for number, match in enumerate(matches):
        yield (b"," if number else b"") + json.dumps(match, ensure_ascii=False, separators=(",", ":")).encode()
    yield b"]"
