"""What a URL below /studies names: the objects in the archive, and how they are named in answers.

UIDs of a path are checked before anything is looked up; what is not here is a 404.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from starlette.requests import Request

from node.archive import Archive
from node.db.catalogue import Held
from node.pipeline.catalogue import Catalogue, Query
from node.pipeline.header import is_uid
from node.pipeline.query_keys import Level
from node.web.dicomweb.answers import BAD_REQUEST, NOT_FOUND, Refusal

HOST = re.compile(r"[0-9A-Za-z.\-]{1,253}(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](:[0-9]{1,5})?")


@dataclass(frozen=True)
class Resource:
    """A study, a series of it, or an instance of that."""

    study: str
    series: str = ""
    instance: str = ""

    @classmethod
    def of(cls, path: Mapping[str, str]) -> Resource:
        for name in ("study", "series", "instance"):
            if name in path and not is_uid(path[name]):
                raise Refusal(BAD_REQUEST, f"What the path names as {name} is not a UID.")
        return cls(path["study"], path.get("series", ""), path.get("instance", ""))

    @property
    def level(self) -> Level:
        return Level.IMAGE if self.instance else Level.SERIES if self.series else Level.STUDY

    @property
    def keys(self) -> dict[str, str]:
        """The unique keys that it fixes."""
        named = {"StudyInstanceUID": self.study, "SeriesInstanceUID": self.series, "SOPInstanceUID": self.instance}
        return {keyword: uid for keyword, uid in named.items() if uid}

    def within(self, one: Held) -> str:
        """The path of an object below the root of the service."""
        return f"/studies/{self.study}/series/{one.series_uid}/instances/{one.sop_instance_uid}"


@dataclass(frozen=True)
class Objects:
    """The archive as the web sees it."""

    catalogue: Catalogue
    archive: Archive

    def held(self, resource: Resource) -> list[Held]:
        """At least one; Refusal where there is none."""
        if resource.instance:
            one = self.catalogue.one(resource.study, resource.series, resource.instance)
            found = [one] if one else []
        else:
            found = self.catalogue.held(Query(resource.level, resource.keys, patient_root=False))
        if not found:
            what = {Level.STUDY: "study", Level.SERIES: "series"}.get(resource.level, "instance")
            raise Refusal(NOT_FOUND, f"There is no such {what} here.")
        return found

    def one(self, resource: Resource) -> tuple[Held, Path]:
        """Of an instance."""
        (found,) = self.held(resource)
        return found, self.path(found)

    def path(self, one: Held) -> Path:
        return self.archive.path(one.path)


def root_of(request: Request, public_url: str) -> str:
    """URL of the service, for addresses in answers: as the settings say, else as the client called us."""
    prefix = str(request.scope.get("root_path", ""))
    if public_url:
        return public_url.rstrip("/")
    host = request.headers.get("host", "")
    if not HOST.fullmatch(host):
        raise Refusal(BAD_REQUEST, "The Host header is not a host.")
    address, port = request.scope.get("server") or ("", None)
    if host == address and port not in (None, 80, 443):
        host = f"{host}:{port}"  # some clients leave the port out of the header
    return f"{request.url.scheme}://{host}{prefix}"


def etag(found: Iterable[Held], *variant: str) -> str:
    """The same for the same objects in the same form."""
    words = [*variant, *(one.sop_instance_uid for one in found)]
    return f'"{hashlib.sha256(chr(10).join(words).encode()).hexdigest()[:32]}"'


def is_known(request: Request, tag: str) -> bool:
    """Whether the client has it already (RFC 9110 section 13.1.2)."""
    named = request.headers.get("if-none-match", "")
    return named.strip() == "*" or tag in (one.strip().removeprefix("W/") for one in named.split(","))


def by_number(found: Sequence[Held]) -> list[Held]:
    """In the order of Instance Number, those without one last."""
    return sorted(found, key=lambda one: (one.instance_number is None, one.instance_number or 0))


def only_images(found: Sequence[Held]) -> list[Held]:
    return [one for one in found if one.rows or one.is_result]


def with_series(resource: Resource, one: Held) -> Resource:
    """The resource of one object of a study or series."""
    return replace(resource, series=one.series_uid, instance=one.sop_instance_uid)
