"""multipart/related (RFC 2387, RFC 2046 section 5.1) as it is read and written, without input or output.

Bytes in, events out. A reader holds the headers of one part and the beginning of a boundary, never a part: memory does
not grow with the message. Whatever is not well formed is a ``Malformed`` with a sentence.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

MOST_HEADER_BYTES = 16384  # of the headers of one part
MOST_PREAMBLE_BYTES = 65536  # before the first part
MOST_PARTS = 50_000  # of a message; each is remembered until its end
SIGNS = r"0-9A-Za-z'()+_,\-./:=?"
BOUNDARY = re.compile(rf"[{SIGNS} ]{{0,127}}[{SIGNS}]")  # RFC 2046 section 5.1.1 has 70 at most; Orthanc sends 73


class Malformed(ValueError):
    """The message is no multipart message; the text is a sentence."""


@dataclass(frozen=True)
class Begin:
    """A part begins. headers: names in small letters."""

    headers: Mapping[str, str]


@dataclass(frozen=True)
class Data:
    content: bytes


@dataclass(frozen=True)
class End:
    """A part ended."""


Event = Begin | Data | End


class Reader:
    """``feed`` each chunk as it comes, ``close`` at the end of the message."""

    def __init__(self, boundary: str) -> None:
        if not BOUNDARY.fullmatch(boundary):
            raise Malformed("The multipart message has no valid boundary.")
        self._mark = b"\r\n--" + boundary.encode("ascii")
        self._held = b"\r\n"  # so that a boundary at the very beginning is one too
        self._state = self._preamble
        self._finished, self._parts = False, 0

    def feed(self, chunk: bytes) -> Iterator[Event]:
        self._held = self._held + chunk if self._held else chunk
        state = None
        while state is not self._state and not self._finished:
            state = self._state
            yield from state()

    def close(self) -> None:
        if not self._finished:
            raise Malformed("The multipart message ends before its last boundary.")

    def _preamble(self) -> Iterator[Event]:
        place = self._held.find(self._mark)
        if place >= 0:
            self._held, self._state = self._held[place + len(self._mark) :], self._after_mark
        elif len(self._held) > MOST_PREAMBLE_BYTES:
            raise Malformed("The multipart message does not begin with its boundary.")
        yield from ()

    def _after_mark(self) -> Iterator[Event]:
        if self._held.startswith(b"--"):
            self._finished, self._held = True, b""
            return
        line, found, rest = self._held.partition(b"\r\n")
        if line.strip(b" \t" if found else b" \t\r") and line != b"-":
            raise Malformed("A boundary of the multipart message is followed by something else.")
        if found:
            self._held, self._state = b"\r\n" + rest, self._headers
        elif len(line) > MOST_HEADER_BYTES:
            raise Malformed("A boundary of the multipart message is followed by something else.")
        yield from ()

    def _headers(self) -> Iterator[Event]:
        lines, found, rest = self._held.partition(b"\r\n\r\n")
        if (not found and len(self._held) > MOST_HEADER_BYTES) or len(lines) > MOST_HEADER_BYTES:
            raise Malformed("The headers of a part are too long.")
        if found:
            self._held, self._state, self._parts = rest, self._content, self._parts + 1
            if self._parts > MOST_PARTS:
                raise Malformed(f"A message has at most {MOST_PARTS} parts; send more in another one.")
            yield Begin(_headers(lines))

    def _content(self) -> Iterator[Event]:
        place = self._held.find(self._mark)
        if place >= 0:
            content, self._held = self._held[:place], self._held[place + len(self._mark) :]
            self._state = self._after_mark
            if content:
                yield Data(content)
            yield End()
            return
        kept = self._could_begin()
        content, self._held = self._held[: len(self._held) - kept], self._held[len(self._held) - kept :]
        if content:
            yield Data(content)

    def _could_begin(self) -> int:
        """How many bytes at the end may be the beginning of a boundary."""
        place = self._held.rfind(b"\r", max(0, len(self._held) - len(self._mark) + 1))
        while place >= 0:
            if self._mark.startswith(self._held[place:]):
                return len(self._held) - place
            place = self._held.rfind(b"\r", max(0, len(self._held) - len(self._mark) + 1), place)
        return 0


def _headers(lines: bytes) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in lines.split(b"\r\n"):
        if not line:
            continue
        name, colon, value = line.partition(b":")
        if not colon or not name.strip():
            raise Malformed("A header of a part cannot be understood.")
        found[name.strip().decode("latin-1").lower()] = value.strip().decode("latin-1")
    return found


@dataclass(frozen=True)
class Writer:
    """The frame of an answer with parts of one type."""

    media_type: str
    boundary: str

    @classmethod
    def new(cls, media_type: str) -> Writer:
        return cls(media_type, uuid.uuid4().hex)

    @property
    def content_type(self) -> str:
        return f'multipart/related; type="{self.media_type}"; boundary={self.boundary}'

    def begin(self, content_type: str, first: bool, location: str = "", length: int | None = None) -> bytes:
        lines = [f"--{self.boundary}", f"Content-Type: {content_type}"]
        lines += [f"Content-Length: {length}"] if length is not None else []
        lines += [f"Content-Location: {location}"] if location else []
        return ("" if first else "\r\n").encode() + "\r\n".join([*lines, "", ""]).encode("ascii")

    def end(self) -> bytes:
        return f"\r\n--{self.boundary}--\r\n".encode("ascii")
