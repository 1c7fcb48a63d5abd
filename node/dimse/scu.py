"""C-STORE SCU: many files over as few associations as the peer allows, with one outcome for each file.

A file whose compressed transfer syntax the peer does not take is sent once more as Explicit VR Little Endian. When an
association breaks, a new one goes on at the file that has no answer; what breaks two does not keep back the rest.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext, build_context
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from node.core import log
from node.dimse.associating import Peer, associate, away
from node.dimse.status import SUCCESS, took_it

logger = logging.getLogger(__name__)
MOST_CONTEXTS = 128  # PS3.8 section 9.3.2.2: odd numbers 1 to 255
FOR_NOW = {0x01, 0x02}  # user-rejection, no-reason: PS3.8 Table 9-18; 0x03 and 0x04 say that it knows no better
MEANINGS = {
    0x0111: "duplicate SOP instance",
    0x0117: "invalid SOP instance",
    0x0122: "SOP class not supported",
    0x0124: "not authorised",
    0xB000: "coercion of data elements",
    0xB006: "elements discarded",
    0xB007: "data set does not match SOP class (warning)",
}


@dataclass(frozen=True)
class Sent:
    """What became of one file. ``delivered``: the peer said that it has it. ``status`` None: no answer came.

    away: there was no association, or it broke before the answer.
    """

    path: Path
    sop_instance_uid: str
    status: int | None
    comment: str
    delivered: bool
    away: bool = False


@dataclass(frozen=True)
class _Item:
    path: Path
    sop_class: str
    sop_instance_uid: str
    syntax: str


def send_files(
    host: str,
    port: int,
    calling_aet: str,
    called_aet: str,
    files: Sequence[Path],
    on_progress: Callable[[Sent], None] | None = None,
) -> tuple[Sent, ...]:
    """Send all files with the usual time-outs; one outcome a file, in the order given."""
    return send(Peer(host, port, called_aet, calling_aet), files, on_progress)


def send(peer: Peer, files: Sequence[Path], on_progress: Callable[[Sent], None] | None = None) -> tuple[Sent, ...]:
    outcomes: dict[Path, Sent] = {}

    def note(sent: Sent) -> None:
        outcomes[sent.path] = sent
        if on_progress is not None:
            on_progress(sent)

    items = []
    for path in files:
        item = _read(path)
        if isinstance(item, Sent):
            note(item)
        else:
            items.append(item)
    for batch in _batches(items):
        _send_all(peer, batch, note)
    return tuple(outcomes[path] for path in files)


def _send_all(peer: Peer, items: Sequence[_Item], note: Callable[[Sent], None]) -> None:
    """Go on over a new association at the file at which one broke. A file that breaks two is left out, and the rest is
    sent without it; two such files in a row, or a peer that lets nobody in twice, and the rest waits."""
    left, breaks, skipped = list(items), 0, False
    while left and breaks < 2:
        before, (established, left) = len(left), _send_batch(peer, left, note)
        if len(left) < before:
            breaks, skipped = 0, False
        breaks += 1
        if left and established and breaks == 2 and not skipped:
            note(_no_answer(peer, left.pop(0)))
            breaks, skipped = 0, True
    for item in left:
        note(_no_answer(peer, item))


def _no_answer(peer: Peer, item: _Item) -> Sent:
    return Sent(item.path, item.sop_instance_uid, None, away(peer), False, away=True)


def echo(peer: Peer) -> str:
    """Empty when the peer answered: C-ECHO, or the refusal of its presentation context. Else the problem in words."""
    association = associate(peer, [build_context(Verification)])
    if not association.is_established:
        return "" if association.rejected_contexts else away(peer)
    try:
        return "" if "Status" in association.send_c_echo() else away(peer)
    except (ValueError, RuntimeError):
        return away(peer)
    finally:
        if association.is_established:
            association.release()


def _at_once(event: evt.Event) -> None:
    """DCMTK and Orthanc answer in two writes, of which the second waits until we acknowledge the first."""
    connection: Any = event.assoc.dul.socket
    connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


def _read(path: Path) -> _Item | Sent:
    try:
        ds = dcmread(path, specific_tags=["SOPClassUID", "SOPInstanceUID"], stop_before_pixels=True)
        meta = ds.file_meta
        return _Item(
            path, str(meta.MediaStorageSOPClassUID), str(meta.MediaStorageSOPInstanceUID), str(meta.TransferSyntaxUID)
        )
    except (InvalidDicomError, AttributeError, OSError, ValueError, EOFError):
        return Sent(path, "", None, "not a DICOM file", False)


def _batches(items: Sequence[_Item]) -> list[list[_Item]]:
    """As few associations as the number of presentation contexts allows; order is kept."""
    batches: list[list[_Item]] = []
    kinds: set[tuple[str, str]] = set()
    for item in items:
        wanted = {(item.sop_class, item.syntax), (item.sop_class, str(ExplicitVRLittleEndian))}
        if not batches or len(kinds | wanted) > MOST_CONTEXTS:
            batches.append([])
            kinds = set()
        kinds |= wanted
        batches[-1].append(item)
    return batches


def _contexts(items: Sequence[_Item]) -> list[PresentationContext]:
    """One context for each class and syntax, so that the peer's choice cannot hide another syntax; plain last."""
    pairs = dict.fromkeys((item.sop_class, item.syntax) for item in items)
    plain = dict.fromkeys(item.sop_class for item in items)
    found = [build_context(sop_class, syntax) for sop_class, syntax in pairs]
    for sop_class in plain:
        if (sop_class, str(ExplicitVRLittleEndian)) not in pairs and len(found) < MOST_CONTEXTS:
            found.append(build_context(sop_class, [ExplicitVRLittleEndian, ImplicitVRLittleEndian]))
    return found


def _send_batch(peer: Peer, items: Sequence[_Item], note: Callable[[Sent], None]) -> tuple[bool, list[_Item]]:
    """Send over one association; returns whether it came about, and the items that got no answer."""
    association = associate(peer, _contexts(items), [(evt.EVT_DATA_SENT, _at_once)])
    if not association.is_established:
        if association.rejected_contexts:  # it answered, and took none of them: pynetdicom aborts
            for item in items:
                note(_not_taken(association, item))
            return True, []
        log.event(logger, "association.failed", logging.WARNING, peer=f"{peer.aet}@{peer.host}:{peer.port}")
        return False, list(items)
    try:
        for number, item in enumerate(items):
            sent = _send_one(association, item)
            if sent is None:
                return True, list(items[number:])
            note(sent)
        return True, []
    finally:
        if association.is_established:
            association.release()


def _send_one(association: Association, item: _Item) -> Sent | None:
    """None when the association broke before an answer came."""
    syntaxes = {
        str(context.transfer_syntax[0])
        for context in association.accepted_contexts
        if context.abstract_syntax == item.sop_class
    }
    if not syntaxes:
        return _not_taken(association, item)
    try:
        data: Path | Dataset = item.path if item.syntax in syntaxes else _decompressed(item.path)
    except Exception:  # noqa: BLE001 - the codecs raise what they like; this file alone is not sent
        return Sent(item.path, item.sop_instance_uid, None, "the peer does not take its transfer syntax", False)
    try:
        answer = association.send_c_store(data)
    except (ValueError, RuntimeError, AttributeError):
        if not association.is_established:
            return None
        return Sent(item.path, item.sop_instance_uid, None, "the file cannot be sent as the peer wants it", False)
    if "Status" not in answer:
        return None
    status = int(answer.Status)
    return Sent(item.path, item.sop_instance_uid, status, _comment(status, answer), took_it(status))


def _not_taken(association: Association, item: _Item) -> Sent:
    """No presentation context of its class was accepted: for ever, or, by the peer's user or its provider, now."""
    results = {c.result for c in association.rejected_contexts if c.abstract_syntax == item.sop_class}
    if results & FOR_NOW:
        return Sent(item.path, item.sop_instance_uid, None, "the peer rejected its presentation context for now", False)
    return Sent(item.path, item.sop_instance_uid, 0x0122, "the peer does not accept this SOP class", False)


def _decompressed(path: Path) -> Dataset:
    ds = dcmread(path)
    if ds.file_meta.TransferSyntaxUID.is_compressed and "PixelData" in ds:
        ds.decompress(generate_instance_uid=False)
    else:
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return ds


def _comment(status: int, answer: Dataset) -> str:
    if status == SUCCESS:
        return ""
    said = str(answer.get("ErrorComment", "") or "").strip()
    meaning = MEANINGS.get(status) or (
        "out of resources" if 0xA700 <= status <= 0xA7FF else
        "data set does not match SOP class" if 0xA900 <= status <= 0xA9FF else
        "cannot understand" if 0xC000 <= status <= 0xCFFF else "failure"
    )  # fmt: skip
    return f"status 0x{status:04X}, {meaning}" + (f": {said}" if said else "")
