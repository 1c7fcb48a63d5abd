"""WADO-RS metadata and bulk data: headers as DICOM JSON or XML, and what they name instead of holding it.

Read from the file up to its pixel data, which is never touched. JSON is kept for some time: viewers ask for the same
study again and again. PS3.18 section 10.4.1.1.2 and 10.4.1.1.5.
"""

from __future__ import annotations

import json
import re
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from node.db.catalogue import Held
from node.pipeline.pixel_bytes import PIECE
from node.pipeline.stored_file import USUAL_HEADER, expect, opened
from node.web.dicomweb import json_model, xml_model
from node.web.dicomweb.answers import NOT_FOUND, Refusal
from node.web.dicomweb.media import XML
from node.web.dicomweb.multipart import Writer
from node.web.dicomweb.resources import Objects, Resource

MOST_KEPT_BYTES = 64 << 20
MOST_EXPECTED_BYTES = 512 << 20  # of one study, in the kernel's cache
ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)
BULK = '"BulkDataURI":"'  # a text cannot hold it: its quotes are escaped
PLACE = re.compile(r"[0-9A-F]{8}(/[0-9]{1,6}/[0-9A-F]{8}){0,64}")


class Headers:
    """Of all objects; may be asked from any thread."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._bytes, self._lock = 0, threading.Lock()
        self._ahead = ThreadPoolExecutor(1, "ahead")

    def as_json(self, resource: Resource, found: Sequence[Held], root: str) -> Iterator[bytes]:
        """A JSON list, object by object."""
        yield b"["
        for one in found:
            if one.path not in self._kept:
                expect(self._objects.path(one), USUAL_HEADER)
        for number, one in enumerate(found):
            yield (b"," if number else b"") + self._json(resource, one, root)
        self._ahead.submit(_expect_all, [self._objects.path(one) for one in found])
        yield b"]"

    def as_xml(self, resource: Resource, found: Sequence[Held], root: str, writer: Writer) -> Iterator[bytes]:
        """A part with a document for each object."""
        for number, one in enumerate(found):
            document = xml_model.encoded(json.loads(self._json(resource, one, root)))
            yield writer.begin(XML, first=not number, length=len(document)) + document
        yield writer.end()

    def _json(self, resource: Resource, one: Held, root: str) -> bytes:
        kept = self._read(one)
        address = f"{BULK}{root}{resource.within(one)}/bulkdata/"
        return kept.replace(f"{BULK}/".encode(), address.encode())

    def _read(self, one: Held) -> bytes:
        with self._lock:
            if one.path in self._kept:
                self._kept.move_to_end(one.path)
                return self._kept[one.path]
        with opened(self._objects.path(one)) as file:
            model = json_model.of_file(file, lambda path, _vr, _begin, _end: f"/{path}")
        model["00083002"] = {"vr": "UI", "Value": [one.transfer_syntax_uid]}  # Available Transfer Syntax UID
        content = ENCODER.encode(dict(sorted(model.items()))).encode("utf-8", "replace")
        with self._lock:
            self._keep(one.path, content)
        return content

    def _keep(self, path: str, content: bytes) -> None:
        if path in self._kept or len(content) > MOST_KEPT_BYTES // 8:
            return
        self._kept[path], self._bytes = content, self._bytes + len(content)
        while self._bytes > MOST_KEPT_BYTES:
            _, oldest = self._kept.popitem(last=False)
            self._bytes -= len(oldest)


def _expect_all(paths: Sequence[Path]) -> None:
    """Who asks for metadata is a viewer that will ask for frames."""
    left = MOST_EXPECTED_BYTES
    for path in paths:
        with suppress(OSError):
            left -= path.stat().st_size
            if left < 0:
                return
            expect(path, 0)


def bulk(path: Path, place: str) -> Iterator[bytes]:
    """The value at a path of tags and item numbers, in little endian; Refusal where there is none.

    Encapsulated pixel data is no such value: its frames are.
    """
    places: dict[str, tuple[int, int]] = {}

    def note(where: str, _vr: str, begin: int, end: int) -> str:
        places[where] = (begin, end)
        return where

    with opened(path) as file:
        if PLACE.fullmatch(place):
            json_model.of_file(file, note)
        if place not in places:
            raise Refusal(NOT_FOUND, "The instance has no bulk data there.")
        begin, end = places[place]
        for at in range(begin, end, PIECE):
            yield file.read(at, min(at + PIECE, end))
