"""The filters of queries on stored results, declared once for HTTP, the command line, OpenAPI and the docs.

A value comes as text, from a URL or a flag, and is parsed here; what it cannot be is said in one sentence.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from node.core.errors import Misconfigured


class BadFilter(Misconfigured):
    """A filter that cannot be used; ``filter`` is its name, the message says what it may be."""

    def __init__(self, name: str, sentence: str) -> None:
        super().__init__(sentence)
        self.filter = name


def moment(text: str) -> datetime:
    """ISO 8601; UTC unless it says otherwise."""
    try:
        found = datetime.fromisoformat(text)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(f"{text!r} is not a time like 2024-05-06 or 2024-05-06T07:08:09Z") from None


def share(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = -1.0
    if not 0 <= found <= 1:
        raise ValueError(f"{text!r} is not a probability from 0 to 1")
    return found


def truth(text: str) -> bool:
    known = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}
    if text.lower() not in known:
        raise ValueError(f"{text!r} is neither yes nor no")
    return known[text.lower()]


def words(text: str) -> str:
    if "\0" in text or len(text) > 128 or any("\ud800" <= letter <= "\udfff" for letter in text):
        raise ValueError("it is a text of at most 128 characters")
    return text


def uid(text: str) -> str:
    if not re.fullmatch(r"[0-9.]{1,64}", text):  # PS3.5 section 9.1
        raise ValueError(f"{text!r} is not a UID")
    return text


PARSE: dict[str, Callable[[str], Any]] = {"time": moment, "share": share, "truth": truth, "text": words, "uid": uid}


@dataclass(frozen=True)
class Filter:
    """kind: a key of PARSE. choices: all that a text may be; empty: any."""

    name: str
    kind: str
    meaning: str
    example: str
    choices: tuple[str, ...] = ()
    identifying: bool = False

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    def parse(self, text: str) -> Any:
        """Its value; BadFilter with a sentence that names the filter."""
        if self.choices and text not in self.choices:
            raise BadFilter(self.name, f"{self.name}: {text!r} is none of {', '.join(self.choices)}")
        try:
            return PARSE[self.kind](text)
        except ValueError as error:
            raise BadFilter(self.name, f"{self.name}: {error}") from None


VERDICTS = ("agree", "disagree", "unsure", "none")
FILTERS = {
    one.name: one
    for one in (
        Filter("since", "time", "at or after this time; UTC unless it says otherwise", "2026-01-01T00:00:00Z"),
        Filter("until", "time", "before this time", "2026-02-01"),
        Filter("study", "uid", "Study Instance UID", "1.2.826.0.1.3680043.2.1143.1"),
        Filter("patient_id", "text", "Patient ID, exactly", "P-1001", identifying=True),
        Filter("issuer", "text", "Issuer of Patient ID, with patient_id", "HOSPITAL", identifying=True),
        Filter("accession", "text", "Accession Number, exactly", "A-2001", identifying=True),
        Filter("modality", "text", "Modality of the image, of analyses any in the study", "DX"),
        Filter("calling_aet", "text", "AE title that sent the image", "CR_ROOM_2"),
        Filter("system", "text", "system that judged", "cxnet"),
        Filter("version", "text", "version of its model", "1.0.0"),
        Filter("class", "text", "class: normal, pneumonia, covid19, ...", "covid19"),
        Filter("min_probability", "share", "probability, at least", "0.5"),
        Filter("max_probability", "share", "probability, at most", "0.9"),
        Filter("decision", "truth", "whether the system decided for the class", "yes"),
        Filter("outcome", "text", "how it ended", "refused"),
        Filter("delivered", "truth", "yes: all that was owed of it was delivered; no: something was not", "no"),
        Filter("verdict", "text", "what a reader said of the analysis; none: nobody did", "disagree", VERDICTS),
        Filter("destination", "text", "name of the destination", "PACS@pacs.example:104"),
        Filter("state", "text", "of the delivery: waiting, committing, delivered, failed, refused, ...", "waiting"),
        Filter("kind", "text", "kind of object, or of event", "sr"),
        Filter("actor", "text", "who did it", "reader-7"),
        Filter("aet", "text", "AE title of the other side", "PACS"),
        Filter("address", "text", "network address of the other side", "192.0.2.7"),
        Filter("superseded", "truth", "yes: analyses that a newer one superseded too", "yes"),
    )
}


def parse(given: Mapping[str, str], known: tuple[str, ...]) -> dict[str, Any]:
    """The values of the filters that were given; BadFilter for one that is not ``known`` here or cannot be."""
    for name in given:
        if name not in known:
            raise BadFilter(name, f"{name} is no filter here; there are {', '.join(known)}")
    if "issuer" in given and "patient_id" not in given:
        raise BadFilter("issuer", "issuer: it narrows patient_id and is of no use without it")
    return {name: FILTERS[name].parse(text) for name, text in given.items()}
