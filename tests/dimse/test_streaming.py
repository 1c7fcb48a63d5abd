"""The quick way of the receiver beside pynetdicom's own: the same bytes, the same answers, whatever the fragments."""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from collections.abc import Iterator
from importlib.metadata import version
from io import BytesIO
from pathlib import Path

import psutil
import pytest
from pynetdicom.association import Association
from pynetdicom.dimse_messages import C_STORE_RQ, C_STORE_RSP
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.pdu import P_DATA_TF

from node.dimse import streaming, wire
from tests import peers
from tests.dimse.station import Station, film, station
from tests.sending import Encoded, associate, store

NUMBER = 7  # of each message that is pushed
ABORT = b"\x07\x00\x00\x00\x00\x04\x00\x00\x00\x00"  # A-ABORT, PS3.8 section 9.3.8


@pytest.fixture(scope="module", params=["quick", "ordinary"])
def node(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Station]:
    """The same station by both ways."""
    with contextlib.ExitStack() as stack:
        with pytest.MonkeyPatch.context() as patch:
            if request.param == "ordinary":
                patch.setattr(streaming, "usable", lambda: False)
            running = stack.enter_context(station(tmp_path_factory.mktemp(request.param)))
        yield running


def test_the_pinned_pynetdicom_has_all_the_names() -> None:
    assert version("pynetdicom") == "3.0.4", "the quick way is built on this version: try it anew with another"
    assert streaming.usable()


def test_a_pynetdicom_without_one_of_them_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(streaming.DULServiceProvider, "_read_pdu_data")
    assert not streaming.usable()


@pytest.mark.parametrize("uid", ["1.2.3", "1.2.34"])
def test_success_is_encoded_as_pynetdicom_encodes_it(uid: str) -> None:
    request = wire.StoreRequest(65535, film("any").sop_class_uid, uid)
    answer = C_STORE()
    answer.MessageIDBeingRespondedTo, answer.Status = request.message_id, 0x0000
    answer.AffectedSOPClassUID, answer.AffectedSOPInstanceUID = request.sop_class_uid, uid
    message = C_STORE_RSP()
    message.primitive_to_message(answer)
    (data,) = message.encode_msg(7, 0)
    pdu = P_DATA_TF()
    pdu.from_primitive(data)
    assert wire.success(request, 7) == pdu.encode()


@pytest.mark.parametrize("fragment", [64, 1000, 16382, 131066])
@pytest.mark.parametrize("values_per_pdu", [1, 3, 1000])
def test_any_fragmentation_stores_the_same_bytes(node: Station, fragment: int, values_per_pdu: int) -> None:
    instance = film(f"in fragments {fragment} {values_per_pdu}", 128)
    with _associated(node, instance) as association:
        for pdu in _pdus(association, instance, fragment, values_per_pdu):
            _push(association, pdu)
        assert _status(association) == 0x0000
    assert node.stored(instance.sop_instance_uid) == instance.data_set


def test_many_on_one_association_are_answered_in_order(node: Station) -> None:
    instances = [film(f"row {number}", 32 + number) for number in range(40)]
    assert store(node.port, instances) == [0x0000] * 40
    assert [node.stored(i.sop_instance_uid) for i in instances] == [i.data_set for i in instances]


def test_echo_between_stores(node: Station) -> None:
    one, two = film("before the echo"), film("after the echo")
    kinds = [(one.sop_class_uid, one.transfer_syntax_uid), ("1.2.840.10008.1.1", "1.2.840.10008.1.2")]
    with associate(node.port, kinds) as association:
        for instance in (one, two):
            for pdu in _pdus(association, instance, 16382, 1):
                _push(association, pdu)
            assert _status(association) == 0x0000
            assert association.send_c_echo().Status == 0x0000


def test_an_abort_in_the_middle_leaves_nothing_and_hurts_nobody(node: Station) -> None:
    broken, good = film("aborted", 256), film("after the abort")
    with _associated(node, broken) as association:
        pdus = _pdus(association, broken, 4096, 1)
        for pdu in pdus[: len(pdus) // 2]:
            _push(association, pdu)
        _push(association, ABORT)
        peers.wait_until(lambda: not node.board.open_studies(), 10, "the association is closed")
    assert node.stored(broken.sop_instance_uid) is None
    assert store(node.port, [good]) == [0x0000]


def test_a_claim_of_gigabytes_takes_no_memory(node: Station) -> None:
    """One PDU, one value of almost 4 GiB by its own word; then nothing more comes."""
    broken, good = film("gigabytes", 64), film("after the gigabytes")
    before = psutil.Process().memory_info().rss
    with _associated(node, broken) as association:
        command, _, *_ = _pdus(association, broken, 4096, 1)
        context = association.accepted_contexts[0].context_id
        claim = b"\x04\x00" + struct.pack(">LLBB", 2**32 - 1, 2**32 - 5, context, 0)
        _push(association, command + claim + bytes(1000))
        _half_close(association)
        peers.wait_until(lambda: not association.is_established, 20, "the node ended the association")
    assert psutil.Process().memory_info().rss - before < 200 * 2**20
    assert store(node.port, [good]) == [0x0000]


@pytest.mark.parametrize("fault", ["another context", "a command in the data", "a length beyond the PDU"])
def test_a_fragment_that_cannot_belong_there_ends_the_association(node: Station, fault: str) -> None:
    broken, good = film(f"broken by {fault}", 256), film(f"after {fault}")
    with _associated(node, broken) as association:
        first, second, *_ = _pdus(association, broken, 4096, 1)
        bad = bytearray(second)
        if fault == "another context":
            bad[10] += 2
        elif fault == "a command in the data":
            bad[11] |= 1
        else:
            bad[6:10] = struct.pack(">L", 1 << 30)
        _push(association, first)
        _push(association, bytes(bad))
        _half_close(association)
        peers.wait_until(lambda: not association.is_established, 20, "the node ended the association")
    assert node.stored(broken.sop_instance_uid) is None
    assert store(node.port, [good]) == [0x0000]


def test_what_is_too_large_is_refused_and_the_next_is_taken(tmp_path: Path) -> None:
    large, small = film("too large", 512), film("small enough", 64)
    with station(tmp_path, max_instance_bytes=100_000) as node:
        assert store(node.port, [large, small]) == [0xC000, 0x0000]
        assert "larger than the limit" in node.refusals()[0][1]


def test_a_peer_that_goes_before_it_asks_frees_its_place(tmp_path: Path) -> None:
    instance = film("after the silent ones")
    with station(tmp_path, max_associations=2, acse_timeout_seconds=3600) as node:
        for _ in range(5):
            socket.create_connection(("127.0.0.1", node.port)).close()
        peers.wait_until(lambda: _taken(node, instance), 20, "an association is free again")


def test_a_peer_that_falls_silent_within_a_pdu_is_dropped(tmp_path: Path) -> None:
    instance = film("silent")
    with station(tmp_path, network_timeout_seconds=1) as node, _associated(node, instance) as association:
        first, second, *_ = _pdus(association, instance, 4096, 1)
        _push(association, first + second[: len(second) // 2])
        peers.wait_until(lambda: not association.is_established, 20, "the node ended the association")
        assert node.stored(instance.sop_instance_uid) is None


@pytest.mark.parametrize("fragment", [4096, 2], ids=["within a PDU", "by whole PDUs"])
def test_a_peer_that_sends_a_little_now_and_then_is_dropped(tmp_path: Path, fragment: int) -> None:
    """It is never silent for as long as the network timeout, and each of its messages would take hours."""
    instance = film("slow")
    with station(tmp_path, network_timeout_seconds=2) as node, _associated(node, instance) as association:
        first, *others = _pdus(association, instance, fragment, 1)
        _push(association, first)
        pieces = iter(others if fragment == 2 else [bytes([byte]) for byte in others[0]])
        sent = 0
        with contextlib.suppress(OSError):
            while association.is_established and sent < 200:
                _push(association, next(pieces))
                sent += 1
                time.sleep(0.2)
        assert sent < 150 and node.stored(instance.sop_instance_uid) is None


def _taken(node: Station, instance: Encoded) -> bool:
    with contextlib.suppress(ConnectionError):
        return store(node.port, [instance]) == [0x0000]
    return False


@contextlib.contextmanager
def _associated(node: Station, instance: Encoded) -> Iterator[Association]:
    with associate(node.port, [(instance.sop_class_uid, instance.transfer_syntax_uid)]) as association:
        yield association


def _pdus(association: Association, instance: Encoded, fragment: int, values_per_pdu: int) -> list[bytes]:
    """P-DATA-TF PDUs (PS3.8 section 9.3.5) of one C-STORE-RQ, with so many values of ``fragment`` bytes in each."""
    request = C_STORE()
    request.MessageID, request.Priority = NUMBER, 2
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = instance.sop_class_uid, instance.sop_instance_uid
    request.DataSet = BytesIO(instance.data_set)
    message = C_STORE_RQ()
    message.primitive_to_message(request)
    context = next(c.context_id for c in association.accepted_contexts if c.abstract_syntax == instance.sop_class_uid)
    fragments = [value for data in message.encode_msg(context, 0) for _, value in data.presentation_data_value_list]
    command = b"".join(value[1:] for value in fragments if value[0] & 1)
    pieces = [(3, command)]
    data = instance.data_set
    for begin in range(0, len(data), fragment):
        pieces.append((2 if begin + fragment >= len(data) else 0, data[begin : begin + fragment]))
    values = [struct.pack(">LBB", len(piece) + 2, context, control) + piece for control, piece in pieces]
    groups = [values[n : n + values_per_pdu] for n in range(0, len(values), values_per_pdu)]
    return [b"\x04\x00" + struct.pack(">L", len(body)) + body for body in (b"".join(group) for group in groups)]


def _push(association: Association, pdu: bytes) -> None:
    """Raises OSError where the connection is closed already."""
    connection = association.dul.socket
    wired = connection.socket if connection is not None else None
    if wired is None:
        raise ConnectionAbortedError
    wired.sendall(pdu)


def _half_close(association: Association) -> None:
    """Nothing more comes; the connection may be closed already, by either side."""
    connection = association.dul.socket
    wired = connection.socket if connection is not None else None
    if wired is not None:
        with contextlib.suppress(OSError):
            wired.shutdown(socket.SHUT_WR)


def _status(association: Association) -> int | None:
    """The status of the next response that comes to what was pushed."""
    association.dimse.asked = NUMBER  # type: ignore[attr-defined]
    _, response = association.dimse.get_msg(block=True)
    status = getattr(response, "Status", None)
    return None if status is None else int(status)
