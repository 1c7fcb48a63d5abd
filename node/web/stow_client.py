"""STOW-RS client: Store Instances, PS3.18 section 10.5, with one outcome for each file.

Files are streamed as they are, in their own transfer syntax. A success is only what the answer says of that instance,
or status 200 where the answer names none; TLS certificates are verified. The value of the Authorization header is read
when it is needed and stands in no log or comment.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import ssl
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydicom.filereader import read_file_meta_info

PIECE = 1 << 20
MOST_FILES, MOST_BYTES = 50, 1 << 28  # in one request
MOST_ANSWER = 1 << 22  # bytes
SUCCESS, CANNOT_UNDERSTAND = 0x0000, 0xC000  # PS3.4 Table B.2-1
OK, ACCEPTED, CONFLICT, TOO_LARGE = 200, 202, 409, 413  # all, some and none stored: PS3.18 Table 10.5.3-1
OUT_OF_SERVICE = (502, 503, 504)  # nobody is behind the door


@dataclass(frozen=True)
class Service:
    """base: URL to which ``/studies`` is added. seconds: for each step of the conversation. authorization: where the
    header's value is, "env:NAME" or "file:PATH"; empty: none."""

    base: str
    seconds: float
    authorization: str = ""


@dataclass(frozen=True)
class Stored:
    """status: as of a C-STORE; None where the answer says nothing of the instance."""

    status: int | None
    comment: str
    delivered: bool
    away: bool = False


@dataclass(frozen=True)
class _Answer:
    status: int
    body: bytes


class Unreadable(Exception):
    """The authorization is not where the settings say."""


def store(service: Service, files: Sequence[Path]) -> list[Stored]:
    """In the order given."""
    found: list[Stored] = []
    for group in _groups(files):
        found += _store(service, group)
    return found


def probe(service: Service) -> str:
    """Empty when somebody answers, else the problem in words."""
    try:
        answer = _talk(service, "OPTIONS", iter(()), {})
    except Unreadable as error:
        return str(error)
    except (OSError, http.client.HTTPException) as error:
        return _away(error)
    return f"HTTP status {answer.status}" if answer.status in OUT_OF_SERVICE else ""


def _groups(files: Sequence[Path]) -> Iterator[list[Path]]:
    group: list[Path] = []
    size = 0
    for file in files:
        more = file.stat().st_size
        if group and (len(group) == MOST_FILES or size + more > MOST_BYTES):
            yield group
            group, size = [], 0
        group.append(file)
        size += more
    if group:
        yield group


def _store(service: Service, files: list[Path]) -> list[Stored]:
    """One request; halves of it where the server finds it too large."""
    boundary = uuid.uuid4().hex
    headers = {
        "Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}',
        "Content-Length": str(sum(len(front) + size + len(end) for front, size, end in _parts(files, boundary))),
        "Accept": "application/dicom+json",
    }
    try:
        answer = _talk(service, "POST", _body(files, boundary), headers)
    except Unreadable as error:
        return [Stored(None, str(error), False) for _ in files]
    except (OSError, http.client.HTTPException) as error:
        return [Stored(None, _away(error), False, away=True) for _ in files]
    if answer.status == TOO_LARGE and len(files) > 1:
        half = len(files) // 2
        return _store(service, files[:half]) + _store(service, files[half:])
    return understood(answer.status, answer.body, [_uid(file) for file in files])


def _parts(files: Sequence[Path], boundary: str) -> Iterator[tuple[bytes, int, bytes]]:
    """(what stands before a file, its length, what follows it)"""
    for number, file in enumerate(files, 1):
        front = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
        yield front, file.stat().st_size, b"\r\n" + (f"--{boundary}--\r\n".encode() if number == len(files) else b"")


def _body(files: Sequence[Path], boundary: str) -> Iterator[bytes]:
    for file, (front, _, end) in zip(files, _parts(files, boundary), strict=True):
        yield front
        with file.open("rb") as content:
            while piece := content.read(PIECE):
                yield piece
        yield end


def _talk(service: Service, method: str, body: Iterator[bytes], headers: dict[str, str]) -> _Answer:
    url = urlsplit(service.base.rstrip("/") + "/studies")
    if service.authorization:
        headers = {**headers, "Authorization": _secret(service.authorization)}
    host = url.hostname or ""
    connection = (
        http.client.HTTPSConnection(host, url.port, timeout=service.seconds, context=ssl.create_default_context())
        if url.scheme == "https"
        else http.client.HTTPConnection(host, url.port, timeout=service.seconds)
    )
    try:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # one that has read enough has answered
            connection.request(method, url.path, body=body, headers=headers)
        response = connection.getresponse()
        return _Answer(response.status, response.read(MOST_ANSWER))
    finally:
        connection.close()


def _secret(reference: str) -> str:
    kind, _, where = reference.partition(":")
    try:
        found = os.environ[where] if kind == "env" else Path(where).read_text(encoding="utf-8")
    except (KeyError, OSError, UnicodeDecodeError):
        raise Unreadable("the authorization is not where the settings say") from None
    value = found.strip()
    if not value or not value.isprintable() or not value.isascii():
        raise Unreadable("the authorization is no value of an HTTP header")
    return value


def understood(status: int, body: bytes, sop_instance_uids: Sequence[str]) -> list[Stored]:
    """What an answer says of each instance: a Store Instances Response, PS3.18 Table I.1-1, in JSON."""
    if status not in (OK, ACCEPTED, CONFLICT):
        comment = f"STOW-RS: HTTP status {status}"
        return [Stored(None, comment, False, away=status in OUT_OF_SERVICE) for _ in sop_instance_uids]
    stored, failed = _sequences(body)
    silent = status == OK and not stored and not failed  # all were stored, and nothing else is said
    return [
        _failed(failed[uid])
        if uid in failed
        else _warned(stored[uid])
        if uid in stored
        else Stored(SUCCESS, "", True)
        if silent
        else Stored(None, f"STOW-RS: HTTP status {status}, and nothing is said of this instance", False)
        for uid in sop_instance_uids
    ]


def _failed(reason: int) -> Stored:
    return Stored(reason, f"STOW-RS: failure reason 0x{reason:04X}", False)


def _warned(reason: int) -> Stored:
    return Stored(reason, f"STOW-RS: warning reason 0x{reason:04X}" if reason else "", True)


def _sequences(body: bytes) -> tuple[dict[str, int], dict[str, int]]:
    """SOP Instance UID -> Warning Reason or 0 of what was stored, Failure Reason of what was not; empty where the body
    is no answer."""
    try:
        found: Any = json.loads(body)
        found = found[0] if isinstance(found, list) and found else found
        stored = _reasons(found, "00081199", "00081196", SUCCESS)
        return stored, _reasons(found, "00081198", "00081197", CANNOT_UNDERSTAND)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        return {}, {}


def _reasons(found: Any, sequence: str, reason: str, usual: int) -> dict[str, int]:
    """Referenced SOP Instance UID (0008,1155) -> the reason of each item."""
    items = found.get(sequence, {}).get("Value", [])
    return {str(item["00081155"]["Value"][0]): int((item.get(reason, {}).get("Value") or [usual])[0]) for item in items}


def _uid(file: Path) -> str:
    return str(read_file_meta_info(file).MediaStorageSOPInstanceUID)


def _away(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {error.verify_message}"
    return f"the STOW-RS service did not answer or broke off ({type(error).__name__})"
