"""A peer that takes results: how it is written in settings and ledger, what it is sent, and what of that is allowed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from node.core.errors import Misconfigured


@dataclass(frozen=True)
class Objects:
    """What a destination is sent and how it is written."""

    kinds: tuple[str, ...]
    character_set: str
    whole_image_regions: bool
    jpeg: bool
    fall_back: bool
    identity_check: str
    commit: bool
    authorization: str


KINDS = (
    "summary", "regions", "heat-maps", "heat-stacks", "page", "segmentations", "film-segmentations",
    "presentation-states", "key-images", "parametric-maps", "rejection-notes",
)  # fmt: skip


@dataclass(frozen=True)
class Destination:
    """One peer that takes results, written ``AET@HOST:PORT`` or, a STOW-RS service, as its base URL; that text is its
    name in ledger and logs.

    objects: None where it is not known what the peer is sent. url: empty for a DICOM peer; others have no AE title.
    """

    aet: str
    host: str
    port: int
    objects: Objects | None = None
    url: str = ""

    @property
    def name(self) -> str:
        if self.url:
            return self.url
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.aet}@{host}:{self.port}"

    @classmethod
    def named(cls, text: str) -> Destination:
        """Either kind."""
        return cls._service(text) if re.match("https?://", text) else cls.parse(text)

    @classmethod
    def parse(cls, text: str) -> Destination:
        """A DICOM peer."""
        found = re.fullmatch(r"(?P<aet>[^@\\]{1,16})@(?P<host>[^@:\s]+|\[[0-9a-fA-F:]+\]):(?P<port>\d{1,5})", text)
        is_printable = bool(found) and text.isascii() and text.isprintable()
        if not found or not is_printable or not found["aet"].strip() or not 0 < int(found["port"]) < 65536:
            raise Misconfigured(f"a destination is written AET@HOST:PORT, not {text!r}")
        return cls(found["aet"].strip(), found["host"].strip("[]"), int(found["port"]))

    @classmethod
    def _service(cls, text: str) -> Destination:
        """No user and password (they would stand in the ledger), no query; at most what the ledger has room for."""
        if (
            not re.fullmatch(r"https?://(\[[0-9a-fA-F:]+\]|[^@:/\s?#\[\]]+)(:\d{1,5})?(/[^@\s?#]*)?", text)
            or len(text) > 128
        ):
            raise Misconfigured("a STOW-RS destination is the base URL of the service, without user or query")
        parts = urlsplit(text)
        try:
            return cls("", parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80), url=text)
        except ValueError as error:
            raise Misconfigured(f"a port is a number up to 65535, not as in {text!r}") from error


def check_objects(peer: str, wanted: Objects) -> None:
    if not wanted.kinds:
        raise Misconfigured(f"objects.kinds for {peer} names nothing; a destination that is sent nothing is none")
    if unknown := [kind for kind in wanted.kinds if kind not in KINDS]:
        raise Misconfigured(f"objects.kinds for {peer} names {unknown[0]!r}; known: {', '.join(KINDS)}")
    if wanted.authorization and not re.match(r"(env|file):.", wanted.authorization):
        raise Misconfigured('objects.authorization is empty, "env:NAME" or "file:PATH"')
    if wanted.character_set not in ("utf-8", "source"):
        raise Misconfigured("objects.character_set is utf-8 or source")
    if wanted.identity_check not in ("", "c-find") and not re.match(r"https?://\S+$", wanted.identity_check):
        raise Misconfigured('objects.identity_check is empty, "c-find", or the base URL of a QIDO-RS service')
