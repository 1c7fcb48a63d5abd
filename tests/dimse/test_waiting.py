"""The provider of our own associations: it waits instead of looking, and misses nothing while it waits.

Not covered: TLS and real peers, whose tests (tests/dimse/test_tls.py, tests/e2e) go over the same associations.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from node.dimse.associating import Peer, associate
from node.dimse.waiting import Doorbell, WaitingProvider
from tests.peers import LOOPBACK, wait_until

LATE = 0.5  # seconds until the peer answers: the original would look some five hundred times
LOOKS = 100
NEVER = 600.0  # seconds


@contextmanager
def asked(answer: Callable[[Any], int]) -> Iterator[Association]:
    """An association with a peer that answers C-ECHO so."""
    ae = AE("ARCHIVE")
    ae.add_supported_context(Verification)
    server = ae.start_server((LOOPBACK, 0), block=False, evt_handlers=[(evt.EVT_C_ECHO, answer)])
    try:
        peer = Peer(LOOPBACK, server.socket.getsockname()[1], "ARCHIVE", "LUNGNODE", NEVER, NEVER)
        opened = associate(peer, [build_context(Verification)])
        assert opened.is_established
        yield opened
        if opened.is_established:
            opened.release()
    finally:
        server.shutdown()


def ended(association: Association) -> None:
    """The association's own thread knows it too."""
    wait_until(lambda: not association.is_established, 60, "it has ended")


def late(event: Any) -> int:
    time.sleep(LATE)
    return 0x0000


def aborting(event: Any) -> int:
    event.assoc.abort()
    return 0x0000


def test_it_rests_while_the_peer_works(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[None] = []
    original = WaitingProvider._is_transport_event
    monkeypatch.setattr(WaitingProvider, "_is_transport_event", lambda self: looked.append(None) or original(self))
    with asked(late) as association:
        assert association.send_c_echo().Status == 0x0000
    assert 0 < len(looked) < LOOKS


def test_question_after_question_is_answered() -> None:
    with asked(lambda event: 0x0000) as association:
        assert [association.send_c_echo().Status for _ in range(200)] == [0x0000] * 200


def test_an_abort_of_the_peer_ends_the_wait() -> None:
    """Whose time-out would be ten minutes."""
    with asked(aborting) as association:
        assert "Status" not in association.send_c_echo()
        ended(association)
        assert association.is_aborted


def test_a_release_that_nobody_can_answer_is_not_waited_for() -> None:
    """The peer has aborted, and the association's own thread may not know it yet."""
    for _ in range(10):
        with asked(aborting) as association:
            association.send_c_echo()


def test_a_release_by_the_peer_is_answered() -> None:
    others: list[Association] = []
    with asked(lambda event: others.append(event.assoc) or 0x0000) as association:
        association.send_c_echo()
        others[0].release()
        ended(association)
        assert association.is_released


def test_every_end_closes_what_was_opened() -> None:
    before = bells()
    with asked(lambda event: 0x0000) as association:
        association.send_c_echo()
    with asked(aborting) as association:
        association.send_c_echo()
    with socket.socket() as unused:
        unused.bind((LOOPBACK, 0))
        nobody = associate(Peer(LOOPBACK, unused.getsockname()[1], "NOBODY", "LUNGNODE"), [build_context(Verification)])
    assert not nobody.is_established
    wait_until(lambda: bells() <= before, 60, "the bells are closed")


def bells() -> int:
    """Open file descriptors of this process that are event counters."""
    found = 0
    for link in Path("/proc/self/fd").iterdir():
        try:
            found += "eventfd" in str(link.readlink())
        except FileNotFoundError:  # that of the listing itself
            continue
    return found


def test_what_rang_before_the_wait_is_heard() -> None:
    bell = Doorbell()
    bell.ring()
    bell.wait(None, NEVER)
    bell.close()


def test_a_bell_and_a_connection_are_waited_for_together() -> None:
    bell, (ours, theirs) = Doorbell(), socket.socketpair()
    with ours, theirs:
        theirs.send(b"word")
        bell.wait(ours, NEVER)
        assert ours.recv(4) == b"word"
        ringing = threading.Thread(target=bell.ring)
        ringing.start()
        bell.wait(ours, NEVER)
        ringing.join()
    bell.wait(ours, 0.0)  # a connection that somebody else has closed
    bell.close()


def test_ringing_after_the_end_touches_nothing() -> None:
    bell = Doorbell()
    bell.close()
    with Path("/dev/null").open("rb") as reused:  # likely the number that the bell had
        bell.ring()
        bell.wait(None, NEVER)
        bell.close()
        assert os.fstat(reused.fileno())
