"""Accept and Content-Type: what the client can take, in its order, and the media types of compressed frames.

PS3.18 section 8.7. Pure: header texts in, choices out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from node.web.dicomweb.answers import BAD_REQUEST, NOT_ACCEPTABLE, Refusal

DICOM, OCTETS = "application/dicom", "application/octet-stream"
JSON, XML = "application/dicom+json", "application/dicom+xml"
JPEG, PNG, GIF = "image/jpeg", "image/png", "image/gif"
ANY_SYNTAX = "*"
EXPLICIT = "1.2.840.10008.1.2.1"
COMPRESSED = {  # transfer syntax -> media type of its frames, PS3.18 Table 8.7.3-5; the first of each is its default
    "1.2.840.10008.1.2.4.70": "image/jpeg",
    "1.2.840.10008.1.2.4.50": "image/jpeg",
    "1.2.840.10008.1.2.4.51": "image/jpeg",
    "1.2.840.10008.1.2.4.53": "image/jpeg",
    "1.2.840.10008.1.2.4.55": "image/jpeg",
    "1.2.840.10008.1.2.4.57": "image/jpeg",
    "1.2.840.10008.1.2.5": "image/dicom-rle",
    "1.2.840.10008.1.2.4.80": "image/jls",
    "1.2.840.10008.1.2.4.81": "image/jls",
    "1.2.840.10008.1.2.4.90": "image/jp2",
    "1.2.840.10008.1.2.4.91": "image/jp2",
    "1.2.840.10008.1.2.4.92": "image/jpx",
    "1.2.840.10008.1.2.4.93": "image/jpx",
    "1.2.840.10008.1.2.4.201": "image/jphc",
    "1.2.840.10008.1.2.4.202": "image/jphc",
    "1.2.840.10008.1.2.4.203": "image/jphc",
    "1.2.840.10008.1.2.4.100": "video/mpeg",
    "1.2.840.10008.1.2.4.101": "video/mpeg",
    "1.2.840.10008.1.2.4.102": "video/mp4",
    "1.2.840.10008.1.2.4.103": "video/mp4",
    "1.2.840.10008.1.2.4.104": "video/mp4",
    "1.2.840.10008.1.2.4.105": "video/mp4",
    "1.2.840.10008.1.2.4.106": "video/mp4",
    "1.2.840.10008.1.2.4.107": "video/H265",
    "1.2.840.10008.1.2.4.108": "video/H265",
}
_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_RANGE = re.compile(rf"\s*({_TOKEN}/{_TOKEN})\s*")
_PARAMETER = re.compile(rf'\s*;\s*({_TOKEN})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;,"]*))\s*')
MOST_LETTERS = 8192  # of one such header


@dataclass(frozen=True)
class Typed:
    """A media type with its parameters, names in small letters."""

    name: str
    parameters: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Acceptable:
    """One thing that the client takes. name: the type of a part where it is multipart; syntax: empty where not said."""

    name: str
    multipart: bool
    syntax: str = ""

    def takes(self, name: str) -> bool:
        kind, _, star = self.name.partition("/")
        return self.name in (name, "*/*") or (star == "*" and name.startswith(f"{kind}/"))


def parsed(header: str) -> list[Typed]:
    """The members of a list of media types; Refusal where it is none."""
    if len(header) > MOST_LETTERS:
        raise Refusal(BAD_REQUEST, "A header that names media types is too long.")
    found: list[Typed] = []
    position = 0
    while position < len(header):
        named = _RANGE.match(header, position)
        if named is None:
            raise Refusal(BAD_REQUEST, "A header that names media types cannot be understood.")
        position, parameters = named.end(), {}
        while parameter := _PARAMETER.match(header, position):
            quoted = parameter[2]
            parameters[parameter[1].lower()] = re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else parameter[3]
            position = parameter.end()
        found.append(Typed(named[1].lower(), parameters))
        if position < len(header) and header[position] not in ",":
            raise Refusal(BAD_REQUEST, "A header that names media types cannot be understood.")
        position += 1
    return found


def acceptable(header: str) -> list[Acceptable]:
    """Best first, in the order of the client where it likes them alike; everything where nothing is said."""
    ranked: list[tuple[float, Acceptable]] = []
    for one in parsed(header or "*/*"):
        multipart = one.name.startswith("multipart/")
        name = one.parameters.get("type", "*/*").lower() if multipart else one.name
        weight = _weight(one.parameters.get("q", "1"))
        if weight > 0:
            ranked.append((weight, Acceptable(name, multipart, one.parameters.get("transfer-syntax", ""))))
    return [one for _, one in sorted(ranked, key=lambda pair: -pair[0])]


def chosen(header: str, offered: Iterable[str], what: str) -> tuple[str, bool]:
    """(the first type that the client takes, whether as multipart) of those offered, which come in our order."""
    ours = list(offered)
    for one in acceptable(header):
        for name in ours:
            if one.takes(name):
                return name, one.multipart
    raise Refusal(NOT_ACCEPTABLE, f"{what} can be had as {', '.join(ours)} alone.")


def default_syntax(media_type: str) -> str:
    """The transfer syntax that a media type of compressed frames means where none is named."""
    return next((syntax for syntax, name in COMPRESSED.items() if name == media_type), EXPLICIT)


def _weight(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 1.0
