"""WADO-RS, Retrieve Transaction (PS3.18 section 10.4): instances, frames and bulk data, streamed.

What the client accepts decides the transfer syntax: what is stored goes out as the bytes that it is, the rest is made
on the way where that loses nothing, and what cannot be made is refused before anything is sent.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from node.db.catalogue import Held
from node.pipeline import pixel_bytes
from node.pipeline.header import BIG_ENDIAN, IMPLICIT
from node.pipeline.pixel_bytes import LOSSY, can_give
from node.pipeline.stored_file import expect
from node.web.dicomweb import metadata
from node.web.dicomweb.answers import BAD_REQUEST, NOT_ACCEPTABLE, NOT_FOUND, Refusal
from node.web.dicomweb.media import ANY_SYNTAX, COMPRESSED, DICOM, EXPLICIT, OCTETS, Acceptable, default_syntax
from node.web.dicomweb.multipart import Writer

NOT_OF_THE_WEB = (IMPLICIT, BIG_ENDIAN)  # PS3.18 section 8.7.3
FRAME_LIST = re.compile(r"[0-9]{1,9}(,[0-9]{1,9})*")
MOST_FRAMES = 10000  # of one request
AHEAD, EXPECTED_BYTES = 2, 1 << 20  # files that are read from the disk while one is sent, and how much of each


@dataclass(frozen=True)
class Body:
    """An answer to be: its parts come one after the other."""

    content_type: str
    parts: Iterator[bytes]


@dataclass(frozen=True)
class Form:
    """How pixels go out: the media type of a part, and the transfer syntax in it."""

    name: str
    syntax: str

    @property
    def content_type(self) -> str:
        return f"{self.name}; transfer-syntax={self.syntax}"


def instances(accept: Sequence[Acceptable], found: Sequence[Held], path: Callable[[Held], Path]) -> Body:
    """Complete files, one part each; a client that wants no parts gets a single one as it is."""
    usable = [one for one in accept if one.takes(DICOM)]
    if not usable:
        raise Refusal(NOT_ACCEPTABLE, f"Instances can be had as {DICOM} alone.")
    chosen = [(one, _syntax(one.transfer_syntax_uid, usable)) for one in found]
    if len(found) == 1 and not usable[0].multipart and usable[0].name == DICOM:
        ((one, syntax),) = chosen
        parts = pixel_bytes.whole_as(path(one), one.transfer_syntax_uid, syntax)
        return Body(f"{DICOM}; transfer-syntax={syntax}", parts)
    writer = Writer.new(DICOM)
    return Body(writer.content_type, _instances(writer, chosen, path))


def _instances(writer: Writer, chosen: Sequence[tuple[Held, str]], path: Callable[[Held], Path]) -> Iterator[bytes]:
    for number, (one, syntax) in enumerate(chosen):
        for after, _ in chosen[number + 1 : number + 1 + AHEAD]:
            expect(path(after), EXPECTED_BYTES)
        front = writer.begin(f"{DICOM}; transfer-syntax={syntax}", first=not number)
        yield front
        yield from pixel_bytes.whole_as(path(one), one.transfer_syntax_uid, syntax)
    yield writer.end()


def _syntax(stored: str, accept: Sequence[Acceptable]) -> str:
    """As stored where the client takes that, else its first that can be made."""
    wanted = [one.syntax for one in accept]
    if stored in wanted or (ANY_SYNTAX in wanted and stored not in NOT_OF_THE_WEB):
        return stored
    for syntax in wanted:
        if syntax == "" and stored in LOSSY:
            return stored  # what is only here with losses goes out as it is, PS3.18 section 8.7.3
        target = EXPLICIT if syntax in ("", ANY_SYNTAX) else syntax
        if can_give(stored, target):
            return target
    raise Refusal(NOT_ACCEPTABLE, "The stored transfer syntax cannot be turned into one that is asked for.")


def numbers(text: str, frames: int) -> list[int]:
    """A list of frames, counted from 1 in the URL and from 0 in what comes back."""
    if not FRAME_LIST.fullmatch(text):
        raise Refusal(BAD_REQUEST, "Frames are whole numbers with commas between them.")
    found = [int(part) for part in text.split(",")]
    if 0 in found or len(found) > MOST_FRAMES:
        raise Refusal(BAD_REQUEST, f"Frames count from 1, and at most {MOST_FRAMES} are given at once.")
    if max(found) > frames:
        raise Refusal(NOT_FOUND, f"The instance has {frames} frames.")
    return [number - 1 for number in found]


def frames(accept: Sequence[Acceptable], path: Path, listed: str) -> Body:
    """Each frame as a part of its own."""
    expect(path, EXPECTED_BYTES)
    of = pixel_bytes.layout(path)
    indices = numbers(listed, of.frames)
    form, multipart = _form(of.transfer_syntax_uid, accept)
    found = pixel_bytes.frames_as(path, of, indices, form.syntax)
    if len(indices) == 1 and not multipart:
        return Body(form.content_type, found)
    writer = Writer.new(form.name)
    return Body(writer.content_type, _parts(writer, form.content_type, found))


def _parts(writer: Writer, content_type: str, contents: Iterator[bytes]) -> Iterator[bytes]:
    first = True
    for content in contents:
        yield writer.begin(content_type, first, length=len(content))
        yield content
        first = False
    yield writer.end()


def _form(stored: str, accept: Sequence[Acceptable]) -> tuple[Form, bool]:
    """(how frames of a stored syntax go out, whether as parts)"""
    native = stored in pixel_bytes.PLAIN
    for one in accept:
        for form in _forms(stored, native, one):
            if can_give(stored, form.syntax):
                return form, one.multipart or one.name == "*/*"
    raise Refusal(NOT_ACCEPTABLE, "The frames cannot be had in a media type and transfer syntax that are asked for.")


def _forms(stored: str, native: bool, one: Acceptable) -> Iterator[Form]:
    """What one acceptable type may mean, best first."""
    as_stored = Form(OCTETS, EXPLICIT) if native else Form(COMPRESSED.get(stored, OCTETS), stored)
    if one.syntax == ANY_SYNTAX and (one.takes(OCTETS) or one.takes(as_stored.name)):
        yield as_stored
    elif one.takes(OCTETS) and one.syntax in ("", EXPLICIT):
        if one.syntax == "" and stored in LOSSY:
            yield as_stored
        yield Form(OCTETS, EXPLICIT)
    elif one.takes(OCTETS):
        yield Form(COMPRESSED.get(one.syntax, OCTETS), one.syntax)
    elif one.syntax == "" and one.takes(as_stored.name):
        yield as_stored
    else:
        syntax = one.syntax or default_syntax(one.name)
        if one.takes(COMPRESSED.get(syntax, "")):
            yield Form(COMPRESSED[syntax], syntax)


def bulk(accept: Sequence[Acceptable], path: Path, place: str) -> Body:
    """Pixel data that is encapsulated comes frame by frame; any other value as one part."""
    if place == "7FE00010":
        of = pixel_bytes.layout(path)
        if of.is_encapsulated:
            return frames(accept, path, ",".join(str(number + 1) for number in range(of.frames)))
    usable = next((one for one in accept if one.takes(OCTETS)), None)
    if usable is None:
        raise Refusal(NOT_ACCEPTABLE, f"Bulk data can be had as {OCTETS} alone.")
    content = metadata.bulk(path, place)
    if not usable.multipart and usable.name == OCTETS:
        return Body(OCTETS, content)
    writer = Writer.new(OCTETS)
    return Body(writer.content_type, _single(writer, content))


def _single(writer: Writer, content: Iterator[bytes]) -> Iterator[bytes]:
    front = writer.begin(OCTETS, first=True)
    for piece in content:
        yield front + piece
        front = b""
    yield front + writer.end()
