"""The C-STOREs of a retrieval: one object of the archive over an association that is open, whichever side opened it.

A file goes as it is stored wherever the peer took that transfer syntax, read and handed to the wire piece by piece: no
object is in memory as a whole. Only where the peer took nothing else is it decompressed and encoded anew.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from pydicom import dcmread
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom.association import Association
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import encode, split_dataset
from pynetdicom.presentation import PresentationContext, build_context

from node.db.catalogue import Held
from node.dimse.associating import Peer, answer, associate

PLAIN = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
MOST_CONTEXTS = 128  # PS3.8 section 9.3.2.2: odd numbers 1 to 255
PDU_BYTES = 131072  # where the peer names no limit
WAITING_PDUS = 8  # that may wait for the wire; more would be the object in memory
LATE_SECONDS = 0.05  # a response that takes longer is not waiting for an ACK
BIG_ENDIAN = "1.2.840.10008.1.2.2"


class NotSent(Exception):
    """Why an object could not be sent; the association is still good."""


@dataclass(frozen=True)
class Originator:
    """On whose behalf a C-MOVE sends (PS3.7 section 9.1.1.1)."""

    aet: str
    message_id: int


def open_association(peer: Peer, objects: Iterable[Held]) -> Association | None:
    """For all of the objects; None when the peer does not take it."""
    association = associate(peer, _contexts(objects))
    return association if association.is_established else None


def _hurry(association: Association) -> None:
    """Acknowledge at once what comes: DCMTK sends a response in two pieces, the second after the first's ACK.

    The kernel goes back to acknowledging after 40 ms whenever something was sent, hence more than once.
    """
    pause = 0.001
    while pause < LATE_SECONDS and association.dimse.msg_queue.empty() and association.is_established:
        connection = association.dul.socket
        if connection is not None and connection.socket is not None:
            with contextlib.suppress(OSError):  # the peer has gone: the next step says so
                connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        time.sleep(pause)
        pause *= 1.5


def _contexts(objects: Iterable[Held]) -> list[PresentationContext]:
    """A context for each class and stored syntax, then one for each class as plain; the latter are left out first."""
    pairs = dict.fromkeys((one.sop_class_uid, one.transfer_syntax_uid) for one in objects)
    found = [build_context(sop_class, syntax) for sop_class, syntax in pairs]
    found += [build_context(sop_class, list(PLAIN)) for sop_class in dict.fromkeys(pair[0] for pair in pairs)]
    return found[:MOST_CONTEXTS]


def store(
    association: Association, one: Held, path: Path, message_id: int, originator: Originator | None = None
) -> int | None:
    """Send and wait; the peer's status, None when the association broke. NotSent: the object alone is at fault."""
    contexts = {
        str(context.transfer_syntax[0]): context
        for context in association.accepted_contexts
        if context.abstract_syntax == one.sop_class_uid and context.as_scu
    }
    request = C_STORE()
    request.MessageID, request.Priority = message_id, 0x0000  # medium, PS3.7 Table 9.3-1
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = UID(one.sop_class_uid), UID(one.sop_instance_uid)
    if originator is not None:
        request.MoveOriginatorApplicationEntityTitle = originator.aet
        request.MoveOriginatorMessageID = originator.message_id
    context = _with_data(request, contexts, one, path)
    return _exchange(association, request, context)


def _with_data(
    request: C_STORE, contexts: Mapping[str, PresentationContext], one: Held, path: Path
) -> PresentationContext:
    stored = contexts.get(one.transfer_syntax_uid)
    try:
        if stored is not None:
            _, offset = split_dataset(path)
            request._dataset_path = (path, offset)
            return stored
        plain = next((syntax for syntax in PLAIN if str(syntax) in contexts), None)
        if plain is None:
            raise NotSent("the peer takes neither the stored transfer syntax nor a plain one")
        request.DataSet = BytesIO(_transcoded(path, plain))
        return contexts[str(plain)]
    except NotSent:
        raise
    except Exception as error:
        raise NotSent("the stored object cannot be read or decoded") from error


def _transcoded(path: Path, target: UID) -> bytes:
    ds = dcmread(path)
    source = ds.file_meta.TransferSyntaxUID
    if source == BIG_ENDIAN:
        raise NotSent("words of big endian objects are not turned round")
    if source.is_compressed and "PixelData" in ds:
        ds.decompress(generate_instance_uid=False)
    content = encode(ds, target.is_implicit_VR, target.is_little_endian, target.is_deflated)
    if content is None:
        raise NotSent("the stored object cannot be encoded anew")
    return content


def _exchange(association: Association, request: C_STORE, context: PresentationContext) -> int | None:
    message = C_STORE_RQ()
    message.primitive_to_message(request)
    assert context.context_id is not None
    association._reactor_checkpoint.clear()  # the answer is ours, not the reactor's
    try:
        while not association._is_paused:
            time.sleep(0.0001)
        for pdu in message.encode_msg(context.context_id, association.dimse.maximum_pdu_size or PDU_BYTES):
            while association.dul.to_provider_queue.qsize() >= WAITING_PDUS and association.dul.is_alive():
                time.sleep(0.0002)
            if not association.dul.is_alive():  # ``is_established`` is kept by this very thread where we were asked
                association.abort()
                return None
            association.dul.send_pdu(pdu)
        _hurry(association)
        _, response = answer(association.dimse, request.MessageID or 0)
    except OSError:  # of the file; its command is on the way, and nothing but its data could follow
        association.abort()
        return None
    finally:
        association._reactor_checkpoint.set()
    if isinstance(response, C_STORE) and response.Status is not None:
        return int(response.Status)
    if association.is_established:
        association.abort()
    return None
