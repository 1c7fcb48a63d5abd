"""Retrieve Capabilities (PS3.18 section 8.9): the resources of the service as a WADL document."""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.etree.ElementTree import Element, SubElement, tostring

from node.web.dicomweb.media import DICOM, GIF, JPEG, JSON, OCTETS, PNG, XML

NAMESPACE = "http://wadl.dev.java.net/2009/02"
STORES = ("/studies", "/studies/{study}")


def described(root: str, paths: Sequence[str]) -> bytes:
    """paths: of what can be read, with names in braces."""
    document = Element("application", {"xmlns": NAMESPACE})
    resources = SubElement(document, "resources", {"base": root})
    for path in paths:
        resource = SubElement(resources, "resource", {"path": path.lstrip("/").replace(":path}", "}")})
        for name in re.findall(r"\{(\w+)", path):
            SubElement(resource, "param", {"name": name, "style": "template", "required": "true"})
        _method(resource, "GET", (), representations(path))
        if path in STORES:
            _method(resource, "POST", (DICOM, JSON), (JSON, XML))
    return bytes(tostring(document, encoding="utf-8", xml_declaration=True))


def representations(path: str) -> tuple[str, ...]:
    """The media types in which a path can be had."""
    last = path.rpartition("/")[2]
    if last == "rendered":
        return JPEG, PNG, GIF
    if last == "thumbnail":
        return JPEG, PNG
    if last == "metadata" or last in ("studies", "series", "instances"):
        return JSON, XML
    return (OCTETS,) if "/frames/" in path or "/bulkdata/" in path else (DICOM,)


def _method(resource: Element, name: str, takes: Sequence[str], gives: Sequence[str]) -> None:
    method = SubElement(resource, "method", {"name": name})
    if takes:
        request = SubElement(method, "request")
        for media_type in takes:
            SubElement(request, "representation", {"mediaType": f'multipart/related; type="{media_type}"'})
    response = SubElement(method, "response", {"status": "200"})
    for media_type in gives:
        SubElement(response, "representation", {"mediaType": media_type})
