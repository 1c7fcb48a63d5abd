"""C-STORE on the wire: the few bytes of P-DATA-TF PDUs and command sets that the quick way reads and writes itself."""

from __future__ import annotations

import struct

from pydicom.uid import UID
from pynetdicom.dimse_primitives import C_STORE

from node.dimse.status import SUCCESS

P_DATA_TF = 0x04  # PS3.8 section 9.3.5
COMMAND, LAST = 0x01, 0x02  # bits of the message control header, PS3.8 Annex E.2
NO_DATA_SET = 0x0101  # PS3.7 section E.1
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


def store_request(command: memoryview) -> C_STORE | None:
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
    request = C_STORE()
    request.AffectedSOPClassUID = UID(elements[0x0002].decode("ascii").rstrip("\0 "))
    request.AffectedSOPInstanceUID = UID(elements[0x1000].decode("ascii").rstrip("\0 "))
    request.MessageID, request.Priority = _number(elements[0x0110]), _number(elements[0x0700])
    return request


def _number(value: bytes) -> int:
    return int(struct.unpack("<H", value)[0])


def success(request: C_STORE, context_id: int) -> bytes:
    """The P-DATA-TF PDU of a C-STORE-RSP with status 0x0000 (PS3.7 Table 9.3-2), as pynetdicom would encode it."""
    sop_class, instance = (_even(uid) for uid in (request.AffectedSOPClassUID, request.AffectedSOPInstanceUID))
    elements = b"".join(
        struct.pack("<HHL", 0, element, len(value)) + value
        for element, value in (
            (0x0002, sop_class),
            (0x0100, struct.pack("<H", C_STORE_RSP)),
            (0x0120, struct.pack("<H", request.MessageID)),
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
