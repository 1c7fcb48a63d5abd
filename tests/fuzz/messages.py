"""Well-formed associations and messages as trees of ``parts``: what the mutations begin with.

Presentation contexts have fixed odd numbers (``CONTEXTS``), so that a message can be made without an answer at hand.
Data sets are small films whose UIDs come from ``seed``.
"""

from __future__ import annotations

import struct

from tests.films import CR, uid
from tests.fuzz.parts import Part, explicit, implicit, item, pdu, plain, value

IMPLICIT_LITTLE, EXPLICIT_LITTLE, DEFLATED = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99"
ECHO, FIND, MOVE, GET, COMMITMENT = (
    "1.2.840.10008.1.1", "1.2.840.10008.5.1.4.1.2.2.1", "1.2.840.10008.5.1.4.1.2.2.2", "1.2.840.10008.5.1.4.1.2.2.3",
    "1.2.840.10008.1.20.1",
)  # fmt: skip
CONTEXTS = {1: (ECHO, IMPLICIT_LITTLE), 3: (CR, EXPLICIT_LITTLE), 5: (CR, DEFLATED), 7: (FIND, EXPLICIT_LITTLE),
            9: (MOVE, EXPLICIT_LITTLE), 11: (GET, EXPLICIT_LITTLE), 13: (COMMITMENT, EXPLICIT_LITTLE)}  # fmt: skip
COMMAND, LAST = 0x01, 0x02  # of the message control header, PS3.8 Annex E.2
SELF = "1.2.840.10008.1.20.1.1"  # the one instance of Storage Commitment Push Model, PS3.4 Table J.3-2


def associate_rq(contexts: dict[int, tuple[str, str]] = CONTEXTS, largest: int = 16384) -> Part:
    """A-ASSOCIATE-RQ, PS3.8 section 9.3.2."""
    fixed = struct.pack(">HH", 1, 0) + b"LUNGNODE".ljust(16) + b"FUZZ".ljust(16) + bytes(32)
    presented = [
        item(0x20, bytes((number & 0xFF, 0, 0, 0)), item(0x30, syntax.encode()), item(0x40, transfer.encode()))
        for number, (syntax, transfer) in contexts.items()
    ]
    user = item(
        0x50,
        item(0x51, struct.pack(">L", largest)),
        item(0x52, b"1.2.3.4"),
        item(0x53, struct.pack(">HH", 1, 1)),
        item(0x54, struct.pack(">H", len(CR)), CR.encode(), b"\0\1"),
        item(0x55, b"FUZZ_1"),
        item(0x58, b"\1\0", struct.pack(">H", 4), b"user", struct.pack(">H", 0)),
    )
    return pdu(0x01, fixed, item(0x10, b"1.2.840.10008.3.1.1.1"), *presented, user)


def release_rq() -> Part:
    return pdu(0x05, bytes(4))


def abort() -> Part:
    return pdu(0x07, bytes(4))


def echo(seed: str) -> Part:
    return _message(1, _command(0x0030, ECHO, data=False), b"")


def store(seed: str) -> Part:
    more = [implicit(0x0700, struct.pack("<H", 2)), implicit(0x1000, uid("instance", seed).encode())]
    return _message(3, _command(0x0001, CR, *more), film(seed))


def find(seed: str) -> Part:
    return _message(7, _command(0x0020, FIND, implicit(0x0700, struct.pack("<H", 2))), _identifier(seed))


def get(seed: str) -> Part:
    return _message(11, _command(0x0010, GET, implicit(0x0700, struct.pack("<H", 2))), _identifier(seed))


def move(seed: str) -> Part:
    more = [implicit(0x0600, b"NOBODY"), implicit(0x0700, struct.pack("<H", 2))]
    return _message(9, _command(0x0021, MOVE, *more), _identifier(seed))


def commit(seed: str) -> Part:
    """N-ACTION of Storage Commitment, PS3.4 section J.3.2."""
    requested = [
        implicit(0x0003, COMMITMENT.encode()), implicit(0x1001, SELF.encode()), implicit(0x1008, struct.pack("<H", 1))
    ]  # fmt: skip
    command = _command(0x0130, "", *requested)
    one = _item(explicit(0x00081150, b"UI", CR.encode()), explicit(0x00081155, b"UI", uid("instance", seed).encode()))
    wanted = (explicit(0x00081195, b"UI", uid("transaction", seed).encode()), explicit(0x00081199, b"SQ", (one,)))
    return _message(13, command, plain(*wanted))


def cancel(seed: str) -> Part:
    command = (implicit(0x0100, struct.pack("<H", 0x0FFF)), implicit(0x0120, struct.pack("<H", 1)))
    return _message(7, (*command, implicit(0x0800, struct.pack("<H", 0x0101))), b"")


def film(seed: str) -> Part:
    """A small CR in Explicit VR Little Endian, with a sequence of either length, private elements and pixels."""
    code = [explicit(0x00080100, b"SH", b"T-D3000"), explicit(0x00080102, b"SH", b"SRT")]
    inner = explicit(0x00082228, b"SQ", (_item(explicit(0x00080104, b"LO", b"Chest")),))
    return plain(
        explicit(0x00080005, b"CS", b"ISO_IR 100"),
        explicit(0x00080016, b"UI", CR.encode()),
        explicit(0x00080018, b"UI", uid("instance", seed).encode()),
        explicit(0x00080020, b"DA", b"20200102"),
        explicit(0x00080060, b"CS", b"CR"),
        explicit(0x00082218, b"SQ", (_item(*code, inner), _endless_item(*code), _END), 0xFFFFFFFF),
        explicit(0x00090010, b"LO", b"FUZZ PRIVATE"),
        explicit(0x00091001, b"UN", b"\1\2\3\4"),
        explicit(0x00100010, b"PN", b"Zebramarker^Quaggamarker"),
        explicit(0x00100020, b"LO", b"PIDMARKER77120"),
        explicit(0x0020000D, b"UI", uid("study", seed).encode()),
        explicit(0x0020000E, b"UI", uid("series", seed).encode()),
        explicit(0x00200013, b"IS", b"1"),
        explicit(0x00280002, b"US", b"\1\0"),
        explicit(0x00280004, b"CS", b"MONOCHROME2"),
        explicit(0x00280010, b"US", b"\4\0"),
        explicit(0x00280011, b"US", b"\4\0"),
        explicit(0x00280100, b"US", b"\x08\0"),
        explicit(0x7FE00010, b"OB", bytes(range(16))),
    )


def _item(*inside: Part) -> Part:
    return Part(implicit(0, b"").form, (0xFFFE, 0xE000), inside)


def _endless_item(*inside: Part) -> Part:
    return Part(implicit(0, b"").form, (0xFFFE, 0xE000), (*inside, implicit(0xFFFEE00D, b"")), claim=0xFFFFFFFF)


_END = implicit(0xFFFEE0DD, b"")


def _identifier(seed: str) -> Part:
    level, study = explicit(0x00080052, b"CS", b"STUDY"), explicit(0x0020000D, b"UI", uid("study", seed).encode())
    return plain(level, explicit(0x00100010, b"PN", b"*"), study)


def _command(field: int, sop_class: str, *more: Part, data: bool = True) -> tuple[Part, ...]:
    """Elements of a command set in the order of their tags, without group length. PS3.7 section E.1."""
    elements = [implicit(0x0002, sop_class.encode())] if sop_class else []
    elements += [implicit(0x0100, struct.pack("<H", field)), implicit(0x0110, struct.pack("<H", 7)), *more]
    elements.append(implicit(0x0800, struct.pack("<H", 0x0102 if data else 0x0101)))
    return tuple(sorted(elements, key=lambda element: element.name))


def _message(context: int, command: tuple[Part, ...], data: Part | bytes) -> Part:
    """The P-DATA-TF PDUs of one message: one for the command, two values in the other where there are data."""
    length = implicit(0x0000, struct.pack("<L", sum(len(element.encode()) for element in command)))
    first = pdu(0x04, value(context, COMMAND | LAST, length, *command))
    if isinstance(data, bytes):
        return plain(first)
    assert not isinstance(data.inside, bytes)
    half = len(data.inside) // 2
    before, after = (plain(*parts) for parts in (data.inside[:half], data.inside[half:]))
    return plain(first, pdu(0x04, value(context, 0, before), value(context, LAST, after)))


MESSAGES = (store, store, store, store, echo, find, get, move, commit, cancel)  # by how often they are taken
