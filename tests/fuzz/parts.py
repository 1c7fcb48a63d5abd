"""What travels on a DICOM connection as a tree whose every length can lie: PDUs, items, values, elements.

A ``Part`` has a head of one of five forms and either bytes or parts inside. Encoded as it stands it is what the
standard wants; ``mutations`` changes one part of it. Knows no socket.
"""

from __future__ import annotations

import dataclasses
import enum
import struct
from collections.abc import Iterator
from dataclasses import dataclass


class Form(enum.Enum):
    """How a head is written, and what its length counts."""

    PLAIN = "no head"
    PDU = "type, length of 4 bytes, PS3.8 section 9.3.1"
    ITEM = "type, length of 2 bytes, PS3.8 section 9.3.2"
    VALUE = "length of 4 bytes, context, control header, PS3.8 section 9.3.5.1"
    IMPLICIT = "tag, length of 4 bytes, PS3.5 section 7.1.3"
    EXPLICIT = "tag, VR, length of 2 or 4 bytes, PS3.5 section 7.1.2"


LONG_VRS = (b"OB", b"OW", b"SQ", b"UN", b"UT", b"OF", b"UC", b"UR", b"OD", b"OL", b"OV", b"SV", b"UV")


@dataclass(frozen=True)
class Part:
    """name: the two numbers of its head: (type, reserved), (context, control header) or (group, element).
    claim: the length that its head says, where that is not the true one."""

    form: Form
    name: tuple[int, int]
    inside: bytes | tuple[Part, ...]
    vr: bytes = b""
    claim: int | None = None

    def encode(self) -> bytes:
        body = self.inside if isinstance(self.inside, bytes) else b"".join(part.encode() for part in self.inside)
        true = len(body) + (2 if self.form is Form.VALUE else 0)
        return self._head(true if self.claim is None else self.claim) + body

    def _head(self, length: int) -> bytes:
        first, second = self.name
        if self.form is Form.PLAIN:
            return b""
        if self.form is Form.PDU:
            return struct.pack(">BBL", first & 0xFF, second & 0xFF, length & 0xFFFFFFFF)
        if self.form is Form.ITEM:
            return struct.pack(">BBH", first & 0xFF, second & 0xFF, length & 0xFFFF)
        if self.form is Form.VALUE:
            return struct.pack(">LBB", length & 0xFFFFFFFF, first & 0xFF, second & 0xFF)
        tag = struct.pack("<HH", first & 0xFFFF, second & 0xFFFF)
        if self.form is Form.IMPLICIT or not self.vr:
            return tag + struct.pack("<L", length & 0xFFFFFFFF)
        if self.vr in LONG_VRS:
            return tag + self.vr + b"\0\0" + struct.pack("<L", length & 0xFFFFFFFF)
        return tag + self.vr[:2] + struct.pack("<H", length & 0xFFFF)

    def walk(self, path: tuple[int, ...] = ()) -> Iterator[tuple[tuple[int, ...], Part]]:
        """Every part of the tree with the way to it, itself first."""
        yield path, self
        if not isinstance(self.inside, bytes):
            for number, part in enumerate(self.inside):
                yield from part.walk((*path, number))

    def with_parts(self, path: tuple[int, ...], new: tuple[Part, ...]) -> Part:
        """The tree in which ``new`` stands where the part at ``path`` stood; ``path`` is not empty."""
        assert not isinstance(self.inside, bytes)
        here, rest = path[0], path[1:]
        replaced = (self.inside[here].with_parts(rest, new),) if rest else new
        return dataclasses.replace(self, inside=(*self.inside[:here], *replaced, *self.inside[here + 1 :]))


def plain(*inside: Part | bytes) -> Part:
    return Part(Form.PLAIN, (0, 0), tuple(p if isinstance(p, Part) else Part(Form.PLAIN, (0, 0), p) for p in inside))


def pdu(kind: int, *inside: Part | bytes) -> Part:
    return Part(Form.PDU, (kind, 0), plain(*inside).inside)


def item(kind: int, *inside: Part | bytes) -> Part:
    return Part(Form.ITEM, (kind, 0), plain(*inside).inside)


def value(context: int, control: int, *inside: Part | bytes) -> Part:
    return Part(Form.VALUE, (context, control), plain(*inside).inside)


def implicit(tag: int, content: bytes) -> Part:
    return Part(Form.IMPLICIT, (tag >> 16, tag & 0xFFFF), content + bytes(len(content) % 2))


def explicit(tag: int, vr: bytes, content: bytes | tuple[Part, ...], claim: int | None = None) -> Part:
    if isinstance(content, bytes):
        content += (b"\0" if vr in (b"UI", b"OB", b"UN") else b" ") * (len(content) % 2)
    return Part(Form.EXPLICIT, (tag >> 16, tag & 0xFFFF), content, vr, claim)
