"""C-STORE on the wire: the few bytes of P-DATA-TF PDUs and command sets that the quick way reads and writes itself."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from node.dimse.status import SUCCESS

P_DATA_TF = 0x04  # PS3.8 section 9.3.5
COMMAND, LAST = 0x01, 0x02  # bits of the message control header, PS3.8 Annex E.2
NO_DATA_SET = 0x0101  # PS3.7 section E.1
LOW_PRIORITY = 2  # the highest value of Priority, PS3.7 section 9.1.1.1.5
C_STORE_RQ, C_STORE_RSP = 0x0001, 0x8001  # PS3.7 section E.1


def values(body: memoryview) -> list[tuple[int, int, memoryview]]:
    """(context, control header, fragment) of each value in a P-DATA-TF PDU; none when any of them is broken."""
    found = []
    while len(body):
        if len(body) < 6:
            return []
        size, context, control = struct.unpack(">LBB", body[:6])
        if size < 2 or size + 4 > len(body):
            return []
        found.append((context, control, body[6 : 4 + size]))
        body = body[4 + size :]
    return found


@dataclass(frozen=True, slots=True)
class StoreRequest:
    """What is needed of a C-STORE-RQ; pynetdicom's own checks each UID by a regular expression whenever it is set."""

    message_id: int
    sop_class_uid: str
    sop_instance_uid: str


def store_request(command: memoryview) -> StoreRequest | None:
    """A C-STORE-RQ (PS3.7 Table 9.3-1) with a data set to come; None for any other command."""
    elements: dict[int, bytes] = {}
    while len(command):
        group, element, length = struct.unpack("<HHL", command[:8])
        if group or length > len(command) - 8:
            raise ValueError("not a command set")
        elements[element] = bytes(command[8 : 8 + length])
        command = command[8 + length :]
    if _number(elements[0x0100]) != C_STORE_RQ or _number(elements[0x0800]) == NO_DATA_SET:
        return None
    sop_class, instance = (elements[element].decode("ascii").rstrip("\0 ") for element in (0x0002, 0x1000))
    if not 0 < len(sop_class) <= 64 or not 0 < len(instance) <= 64 or _number(elements[0x0700]) > LOW_PRIORITY:
        raise ValueError("not a request that pynetdicom would take")
    return StoreRequest(_number(elements[0x0110]), sop_class, instance)


def _number(value: bytes) -> int:
    return int(struct.unpack("<H", value)[0])


def success(request: StoreRequest, context_id: int) -> bytes:
    """The P-DATA-TF PDU of a C-STORE-RSP with status 0x0000 (PS3.7 Table 9.3-2), as pynetdicom would encode it."""
    sop_class, instance = (_even(uid) for uid in (request.sop_class_uid, request.sop_instance_uid))
    elements = b"".join(
        struct.pack("<HHL", 0, element, len(value)) + value
        for element, value in (
            (0x0002, sop_class),
            (0x0100, struct.pack("<H", C_STORE_RSP)),
            (0x0120, struct.pack("<H", request.message_id)),
            (0x0800, struct.pack("<H", NO_DATA_SET)),
            (0x0900, struct.pack("<H", SUCCESS)),
            (0x1000, instance),
        )
    )
    command = struct.pack("<HHLL", 0, 0, 4, len(elements)) + elements
    value = struct.pack(">LBB", len(command) + 2, context_id, COMMAND | LAST) + command
    return struct.pack(">BBL", P_DATA_TF, 0, len(value)) + value


def _even(uid: object) -> bytes:
    text = str(uid).encode("ascii")
    return text + bytes(len(text) % 2)
