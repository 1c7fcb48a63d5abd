"""A C-STORE sender that costs next to nothing: PDUs are laid out beforehand and handed to the kernel in one call each.

DCMTK ``storescu`` reads, decodes and encodes what it sends and is itself the bottleneck of a quick receiver. Here only
the association is negotiated (PS3.8 section 9.3); one message is under way at a time, as with any modality.
"""

from __future__ import annotations

import argparse
import socket
import struct
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom import dcmread
from pydicom.filereader import read_partial

APPLICATION_CONTEXT = b"1.2.840.10008.3.1.1.1"
IOV = 256  # parts of one sendmsg; the kernel allows 1024
SUCCESS = 0


@dataclass(frozen=True)
class Message:
    """One C-STORE, ready to send. ``data``: the encoded data set, as it stands in the file."""

    sop_class: bytes
    instance: bytes
    data: memoryview


def load(path: Path) -> Message:
    with path.open("rb") as file:
        meta = read_partial(file, stop_when=lambda *_: True).file_meta
        file.seek(132 + 12 + meta.FileMetaInformationGroupLength)
        content = file.read()
    return Message(_even(meta.MediaStorageSOPClassUID), _even(meta.MediaStorageSOPInstanceUID), memoryview(content))


def send(host: str, port: int, messages: Sequence[Message], syntax: str, called: str = "ANY-SCP") -> list[int]:
    """The status of every message, in order, over one association."""
    classes = list(dict.fromkeys(message.sop_class for message in messages))
    with socket.create_connection((host, port), 30) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(_associate(classes, syntax.encode(), called))
        largest = _accepted(_pdu(connection), len(classes))
        found = []
        for number, message in enumerate(messages):
            context = 2 * classes.index(message.sop_class) + 1
            _gather(connection, _parts(message, context, number % 65535 + 1, largest))
            found.append(_status(_pdu(connection)))
        connection.sendall(struct.pack(">BBLL", 0x05, 0, 4, 0))  # A-RELEASE-RQ
        _pdu(connection)
    return found


def _even(uid: object) -> bytes:
    text = str(uid).rstrip("\0").encode("ascii")
    return text + bytes(len(text) % 2)


def _item(kind: int, content: bytes) -> bytes:
    return struct.pack(">BBH", kind, 0, len(content)) + content


def _associate(classes: Sequence[bytes], syntax: bytes, called: str) -> bytes:
    """A-ASSOCIATE-RQ, PS3.8 Table 9-11."""
    contexts = b"".join(
        _item(
            0x20, struct.pack(">BBBB", 2 * number + 1, 0, 0, 0) + _item(0x30, uid.rstrip(b"\0")) + _item(0x40, syntax)
        )
        for number, uid in enumerate(classes)
    )
    user = _item(0x51, struct.pack(">L", 1 << 17)) + _item(0x52, b"1.2.826.0.1.3680043.9.9999.1")
    body = struct.pack(">HH", 1, 0) + called.encode().ljust(16) + b"REPLAY".ljust(16) + bytes(32)
    body += _item(0x10, APPLICATION_CONTEXT) + contexts + _item(0x50, user)
    return struct.pack(">BBL", 0x01, 0, len(body)) + body


def _pdu(connection: socket.socket) -> tuple[int, bytes]:
    head = _exactly(connection, 6)
    kind, _, length = struct.unpack(">BBL", head)
    return kind, _exactly(connection, length)


def _exactly(connection: socket.socket, count: int) -> bytes:
    content = b""
    while len(content) < count:
        part = connection.recv(count - len(content))
        if not part:
            raise ConnectionError("the receiver closed the association")
        content += part
    return content


def _accepted(answer: tuple[int, bytes], contexts: int) -> int:
    """The receiver's largest PDU; an error where it does not take every context."""
    kind, body = answer
    if kind != 0x02:
        raise ConnectionError(f"the association was answered by PDU {kind:#04x}")
    largest, place, taken = 0, 68, 0
    while place + 4 <= len(body):
        item, _, length = struct.unpack(">BBH", body[place : place + 4])
        content = body[place + 4 : place + 4 + length]
        taken += item == 0x21 and content[2] == 0
        if item == 0x50:
            (largest,) = struct.unpack(">L", content[4:8])  # the first sub-item is the maximum length (PS3.8 D.1)
        place += 4 + length
    if taken < contexts:
        raise ConnectionError("not every presentation context was accepted")
    return min(largest or 1 << 20, 1 << 20)


def _parts(message: Message, context: int, number: int, largest: int) -> list[bytes | memoryview]:
    """Heads and fragments of one C-STORE-RQ: the command in a PDU of its own, the data set in PDUs of ``largest``."""
    elements = b"".join(
        struct.pack("<HHL", 0, element, len(value)) + value
        for element, value in (
            (0x0002, message.sop_class),
            (0x0100, struct.pack("<H", 0x0001)),
            (0x0110, struct.pack("<H", number)),
            (0x0700, struct.pack("<H", 0)),
            (0x0800, struct.pack("<H", 0x0001)),
            (0x1000, message.instance),
        )
    )
    command = struct.pack("<HHLL", 0, 0, 4, len(elements)) + elements
    parts: list[bytes | memoryview] = [_head(len(command), context, 0x03) + command]
    room = largest - 6
    for begin in range(0, len(message.data), room):
        fragment = message.data[begin : begin + room]
        parts += [_head(len(fragment), context, 0x02 if begin + room >= len(message.data) else 0x00), fragment]
    return parts


def _head(length: int, context: int, control: int) -> bytes:
    return struct.pack(">BBLLBB", 0x04, 0, length + 6, length + 2, context, control)


def _gather(connection: socket.socket, parts: list[bytes | memoryview]) -> None:
    """Send all parts; the kernel takes as much of them as it has room for."""
    views, first = [memoryview(part) for part in parts], 0
    while first < len(views):
        sent = connection.sendmsg(views[first : first + IOV])
        while first < len(views) and sent >= len(views[first]):
            sent -= len(views[first])
            first += 1
        if sent:
            views[first] = views[first][sent:]


def _status(answer: tuple[int, bytes]) -> int:
    """Status (0000,0900) of a C-STORE-RSP."""
    kind, body = answer
    if kind != 0x04:
        raise ConnectionError(f"a C-STORE was answered by PDU {kind:#04x}")
    command, place = body[6:], 0
    while place + 8 <= len(command):
        group, element, length = struct.unpack("<HHL", command[place : place + 8])
        if (group, element) == (0, 0x0900):
            return int(struct.unpack("<H", command[place + 8 : place + 10])[0])
        place += 8 + length
    raise ConnectionError("the response has no status")


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Send the files of a folder over several associations; prints seconds."
    )
    parser.add_argument("port", type=int)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--associations", type=int, default=1)
    given = parser.parse_args()
    files = sorted(given.folder.iterdir())
    syntax = str(dcmread(files[0], stop_before_pixels=True).file_meta.TransferSyntaxUID)
    messages = [load(path) for path in files]
    failed: list[str] = []

    def one(own: Sequence[Message]) -> None:
        try:
            failed.extend(f"{status:#06x}" for status in send("127.0.0.1", given.port, own, syntax) if status)
        except OSError as error:
            failed.append(str(error))

    threads = [
        threading.Thread(target=one, args=(messages[n :: given.associations],)) for n in range(given.associations)
    ]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sys.stdout.write(f"{time.perf_counter() - began:.6f}\n")
    if failed:
        sys.stderr.write(f"{len(failed)} failed: {failed[0]}\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
