"""A peer that hangs, at each point of an association, over TCP and TLS: it is let go and everybody else is served.

The time-outs are short and only their end is waited for. Not covered: pynetdicom's own server, which is the fallback
and waits for ever within a PDU; how long a time-out lasts.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import psutil
import pytest
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.pdu import P_DATA_TF

from node.dimse import streaming
from tests import peers
from tests.dimse.certificates import Authority
from tests.dimse.station import Station, film, station
from tests.peers import LOOPBACK
from tests.sending import Encoded, store

SHORT: dict[str, object] = {"acse_timeout_seconds": 1, "dimse_timeout_seconds": 1, "network_timeout_seconds": 1}
A_ASSOCIATE_RQ = b"\x01\x00"  # and four bytes of length, PS3.8 Table 9-11


class Line:
    """A node with short time-outs, and how to reach it."""

    def __init__(self, node: Station, port: int, context: ssl.SSLContext | None) -> None:
        self.node, self.port, self.context = node, port, context

    @contextlib.contextmanager
    def connected(self) -> Iterator[socket.socket]:
        with contextlib.ExitStack() as stack:
            found = stack.enter_context(socket.create_connection((LOOPBACK, self.port), 30))
            if self.context is not None:
                found = stack.enter_context(self.context.wrap_socket(found, server_hostname=LOOPBACK))
            yield found

    @contextlib.contextmanager
    def associated(self, instance: Encoded) -> Iterator[tuple[Association, socket.socket]]:
        """The association, whose own threads do nothing any more, and its socket."""
        ae = AE("HANGS")
        ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 60
        ae.add_requested_context(instance.sop_class_uid, instance.transfer_syntax_uid)
        args = None if self.context is None else (self.context, LOOPBACK)
        association = ae.associate(LOOPBACK, self.port, tls_args=args)
        assert association.is_established
        yield association, association.dul.socket.socket  # type: ignore[union-attr]
        association.abort()

    def lets_go(self) -> None:
        """Of every association; then another sender is served."""
        peers.wait_until(lambda: not self._associations(), 30, "the node has let go of it")
        assert not self.node.board.open_studies()
        assert store(self.node.port, [film("after it")]) == [0x0000]
        assert not [path for path in self.node.files() if path.suffix == ".part"]

    def _associations(self) -> list[Any]:
        return [found for found in self.node.receiver._ae.active_associations if found.is_acceptor]


@pytest.fixture(scope="module", params=["TCP", "TLS"])
def line(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "TCP":
        with station(folder, **SHORT) as node:
            yield Line(node, node.port, None)
        return
    authority = Authority(folder / "authority")
    tls = authority.tls(authority.sign("node"), require_peer_certificate=False)
    with station(folder, tls=tls, **SHORT) as node:
        yield Line(node, node.receiver.ports["dicom_tls"], ssl.create_default_context(cafile=authority.file))


@pytest.mark.parametrize(
    "begun",
    [b"", A_ASSOCIATE_RQ, A_ASSOCIATE_RQ + b"\x00\x00\x00\xc8" + bytes(50)],
    ids=["nothing", "half a header", "half a request"],
)
def test_silence_before_the_association(line: Line, begun: bytes) -> None:
    with line.connected() as connection:
        connection.sendall(begun)
        assert _ended(connection)
    line.lets_go()


def test_silence_between_messages(line: Line) -> None:
    with line.associated(film("between")) as (association, _):
        peers.wait_until(lambda: not association.is_established, 30, "the association is aborted")
    line.lets_go()


@pytest.mark.parametrize("cut", ["half a header", "half a command", "command alone", "half the data", "all but a byte"])
def test_silence_in_the_middle_of_a_message(line: Line, cut: str) -> None:
    instance = film(f"in the middle {cut} {line.port}", 128)
    with line.associated(instance) as (association, connection):
        command, *data = _pdus(association, instance)
        whole = b"".join((command, *data))
        ends = {
            "half a header": 3,
            "half a command": len(command) // 2,
            "command alone": len(command),
            "half the data": len(command) + len(data[0]) * (len(data) // 2),
            "all but a byte": len(whole) - 1,
        }
        connection.sendall(whole[: ends[cut]])
        peers.wait_until(lambda: not association.is_established, 30, "the association is ended")
    line.lets_go()
    assert line.node.stored(instance.sop_instance_uid) is None


def test_a_peer_that_never_reads_its_answers(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    """It sends on and on; with small buffers on either side the node's answers soon find no room."""
    instance = film(f"never reads {line.port}", 16)
    prepare = streaming.StreamingSocket.__init__

    def with_a_small_buffer(self: Any, assoc: Association, client_socket: socket.socket) -> None:
        prepare(self, assoc, client_socket)
        client_socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)

    monkeypatch.setattr(streaming.StreamingSocket, "__init__", with_a_small_buffer)
    with line.associated(instance) as (association, connection):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        message = b"".join(_pdus(association, instance))
        association.dul.kill_dul()  # nobody reads
        association.dul.join(10)
        connection.settimeout(30)
        with pytest.raises(OSError):
            for _ in range(100_000):
                connection.sendall(message)
    line.lets_go()


def test_an_association_request_of_gigabytes_takes_no_memory(line: Line) -> None:
    before = psutil.Process().memory_info().rss
    with line.connected() as connection:
        connection.sendall(A_ASSOCIATE_RQ + b"\x40\x00\x00\x00")
        with contextlib.suppress(OSError):
            for _ in range(256):
                connection.sendall(bytes(1 << 20))
        assert psutil.Process().memory_info().rss - before < 100 << 20
    line.lets_go()


def _ended(connection: socket.socket) -> bool:
    """Whether the node closes it, by an abort or without a word, before the test's own patience ends."""
    with contextlib.suppress(ConnectionError):
        while connection.recv(4096):
            pass
    return True


def _pdus(association: Association, instance: Encoded) -> list[bytes]:
    """The command, then data set fragments: the P-DATA-TF PDUs of one C-STORE-RQ."""
    request = C_STORE()
    request.MessageID, request.Priority = 7, 2
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = instance.sop_class_uid, instance.sop_instance_uid
    request.DataSet = BytesIO(instance.data_set)
    message = C_STORE_RQ()
    message.primitive_to_message(request)
    found = []
    for data in message.encode_msg(association.accepted_contexts[0].context_id, 4096):
        pdu = P_DATA_TF()
        pdu.from_primitive(data)
        found.append(pdu.encode())
    return found
