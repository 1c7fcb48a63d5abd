"""The settings of [dicomweb]: whether and where the node is a DICOMweb origin server, and how much it takes at once."""

from __future__ import annotations

import re
from dataclasses import dataclass

from node.core.errors import Misconfigured


@dataclass(frozen=True)
class Dicomweb:
    serve: bool
    prefix: str
    public_url: str
    cors_origins: tuple[str, ...]
    most_upload_bytes: int
    silent_seconds: float
    most_renderings: int
    viewer_folder: str


def check_dicomweb(dicomweb: Dicomweb) -> None:
    """What a type cannot say."""
    if not re.fullmatch(r"(/[A-Za-z0-9._-]+)+", dicomweb.prefix):
        raise Misconfigured('dicomweb.prefix is a path such as "/dicom-web"')
    if dicomweb.public_url and not re.fullmatch(r"https?://[^\s/?#]+[^\s?#]*", dicomweb.public_url):
        raise Misconfigured('dicomweb.public_url is a URL such as "https://host/dicom-web", or empty')
    for origin in dicomweb.cors_origins:
        if origin != "*" and not re.fullmatch(r"https?://[^\s/?#]+", origin):
            raise Misconfigured(f'dicomweb.cors_origins: {origin!r} is no origin such as "https://viewer.example.org"')
    if dicomweb.most_renderings < 1:
        raise Misconfigured("dicomweb.most_renderings is at least 1")
    if dicomweb.most_upload_bytes < 1 or dicomweb.silent_seconds <= 0:
        raise Misconfigured("dicomweb.most_upload_bytes is at least 1, dicomweb.silent_seconds above 0")
