"""Peers that break pynetdicom's own threads, or would fill its memory: their association ends by an A-ABORT, no other.

Raw sockets on one side. Found by ``tests/fuzz``, which tries far more. Not covered: the quick way of C-STORE
(test_streaming), silence (test_hanging), pynetdicom's own server, which is the fallback and has none of this.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import logging
import socket
import struct
import threading
from collections.abc import Callable, Iterator

import psutil
import pytest

from node.core import log
from node.dimse import ending
from tests import peers
from tests.dimse.station import Station, film, station
from tests.fuzz import messages
from tests.fuzz.conversation import A_ABORT, A_ASSOCIATE_AC, A_RELEASE_RP, P_DATA_TF, associated, read, status
from tests.fuzz.parts import Part, implicit, pdu, value
from tests.sending import store

US = struct.Struct("<H")


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Station]:
    with station(tmp_path_factory.mktemp("node")) as running:
        yield running


def command(*elements: Part, control: int = 3) -> bytes:
    return pdu(0x04, value(1, control, *elements)).encode()


FIELD = implicit(0x0100, US.pack(0x0030))  # C-ECHO-RQ
NO_DATA = implicit(0x0800, US.pack(0x0101))
BROKEN = {
    "no command field": command(NO_DATA),
    "no data set type": command(FIELD),
    "an unknown command field": command(implicit(0x0100, US.pack(0x7777)), NO_DATA),
    "two command fields in one": command(implicit(0x0100, US.pack(1) * 2), NO_DATA),
    "no command at all": command(),
    "data before the command": pdu(0x04, value(1, 2, b"1234")).encode(),
    "a command after the command": command(FIELD, implicit(0x0800, US.pack(1))) * 2,
    "five thousand commands in one": pdu(0x04, *[value(1, 3, FIELD, implicit(0x0800, US.pack(1)))] * 5000).encode(),
    "a command of a megabyte": command(implicit(0x0002, bytes(900_000)), FIELD, NO_DATA),
    "a sequence that never ends": command(dataclasses.replace(FIELD, claim=0xFFFFFFFF)),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_a_command_that_cannot_be_read_is_aborted(node: Station, broken: str) -> None:
    with associated(node.port) as connection:
        connection.sendall(BROKEN[broken])
        assert read(connection)[0] == A_ABORT
        assert read(connection)[0] == 0
    peers.wait_until(lambda: not node.board.open_studies(), 20, "nothing is known of it any more")
    peers.wait_until(lambda: not _threads(), 20, "both of its threads have ended")
    assert store(node.port, [film(f"after {broken}")]) == [0x0000]


def test_the_study_of_a_sender_that_breaks_the_rules_is_not_held_open(node: Station) -> None:
    """Otherwise it would wait for the hard limit: nobody would ever say that its association has ended."""
    with associated(node.port) as connection:
        connection.sendall(messages.store("held open").encode())
        assert read(connection)[0] == P_DATA_TF
        assert node.board.open_studies()
        connection.sendall(BROKEN["no command field"])
        assert read(connection)[0] == A_ABORT
    peers.wait_until(lambda: not node.board.open_studies(), 20, "the study is closed")


def test_a_message_without_end_is_aborted_before_it_fills_the_memory(node: Station) -> None:
    before, fragment = psutil.Process().memory_info().rss, bytes(100_000)
    for control, begin in ((1, b""), (0, _command_of(messages.find("endless")))):
        with associated(node.port) as connection:
            connection.settimeout(60)
            with contextlib.suppress(OSError):
                connection.sendall(begin)
                for _ in range(5 * ending.LARGEST_MESSAGE // len(fragment)):
                    connection.sendall(pdu(0x04, value(7, control, fragment)).encode())
                pytest.fail("all of it was taken")
    assert psutil.Process().memory_info().rss - before < 4 * ending.LARGEST_MESSAGE
    assert store(node.port, [film("after the endless ones")]) == [0x0000]


def test_requests_without_waiting_for_answers_are_slowed_down(node: Station) -> None:
    """Twenty thousand C-ECHO at once: what is not served yet stays with its sender, not in our memory."""
    with associated(node.port) as connection:
        sender = threading.Thread(target=_send, args=(connection, messages.echo("").encode() * 20_000))
        sender.start()
        for _ in range(100):
            assert read(connection)[0] == P_DATA_TF
            waiting = [one.dimse.msg_queue.qsize() for one in node.receiver._ae.active_associations]
            assert max(waiting) <= 1
        connection.shutdown(socket.SHUT_RDWR)
        sender.join()
    assert store(node.port, [film("after the flood")]) == [0x0000]


def _send(connection: socket.socket, content: bytes) -> None:
    with contextlib.suppress(OSError):
        connection.sendall(content)


@pytest.mark.parametrize("largest", [1, 6, 7, 8, 100])
def test_a_peer_that_takes_hardly_anything_is_answered(node: Station, largest: int) -> None:
    with associated(node.port, largest) as connection:
        connection.sendall(messages.move("tiny").encode())
        kind, body = read(connection)
        assert kind == P_DATA_TF and len(body) <= ending.SMALLEST_LENGTH


@pytest.mark.parametrize("service", [messages.find, messages.get, messages.move])
def test_an_identifier_that_cannot_be_read_is_answered(node: Station, service: Callable[[str], Part]) -> None:
    """A sequence that ends within its first item: 0xA900, PS3.4 Tables C.4-1 and C.4-3."""
    first = Part.encode(service("cut short").inside[0])  # type: ignore[arg-type]
    context = {messages.find: 7, messages.get: 11, messages.move: 9}[service]
    data = pdu(0x04, value(context, 2, bytes.fromhex("08001122535100000a000000feff00e0ffff")))
    with associated(node.port) as connection:
        connection.sendall(first + data.encode())
        kind, body = read(connection)
        assert kind == P_DATA_TF
        assert status(body) == (0xA801 if service is messages.move else 0xA900)
        connection.sendall(messages.release_rq().encode())
        assert read(connection)[0] == A_RELEASE_RP


def test_a_request_with_ten_thousand_contexts_is_not_taken(node: Station) -> None:
    many = dict.fromkeys(range(10000), (messages.CR, messages.EXPLICIT_LITTLE))
    with socket.create_connection(("127.0.0.1", node.port), 30) as connection, contextlib.suppress(ConnectionError):
        connection.sendall(messages.associate_rq(many).encode())
        assert read(connection)[0] != A_ASSOCIATE_AC
    assert store(node.port, [film("after the contexts")]) == [0x0000]


def test_an_exception_in_a_thread_is_an_event_without_its_words() -> None:
    stream, before, hook = io.StringIO(), logging.getLogger().handlers[:], threading.excepthook
    try:
        log.start("info", stream)
        thread = threading.Thread(target=int, args=("Zebramarker",))
        thread.start()
        thread.join()
    finally:
        logging.getLogger().handlers[:], threading.excepthook = before, hook
    assert '"event": "thread.failed"' in stream.getvalue() and "ValueError" in stream.getvalue()
    assert "Zebramarker" not in stream.getvalue()


def _command_of(message: Part) -> bytes:
    assert not isinstance(message.inside, bytes)
    return message.inside[0].encode()


def _threads() -> list[threading.Thread]:
    return [
        thread for thread in threading.enumerate() if "run_reactor" in thread.name or "AcceptorThread" in thread.name
    ]
