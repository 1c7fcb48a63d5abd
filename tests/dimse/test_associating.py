"""Whose the messages on our own associations are: an answer waits for who asked, once; requests are served meanwhile.

Peers that go silent are in test_stalling. Not covered: real peers (tests/e2e, tests/dimse/test_commitment.py), TLS
(tests/dimse/test_tls.py).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from pynetdicom import AE, evt
from pynetdicom.dimse_primitives import C_ECHO, C_STORE
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from node.dimse.associating import Peer, associate
from node.dimse.scu import send
from tests.films import SC, Film, drawn, wrap, write
from tests.peers import LOOPBACK, wait_until

LOOKS = 0.1  # seconds: the association's own thread looks a hundred times meanwhile


@contextlib.contextmanager
def archive(answers: Mapping[str, Callable[[evt.Event], int]]) -> Iterator[Peer]:
    """A peer that answers C-ECHO, and C-STORE of these SOP classes so."""
    ae = AE("ARCHIVE")
    for sop_class in (Verification, *answers):
        ae.add_supported_context(sop_class)
    handlers: list[Any] = [(evt.EVT_C_STORE, answer) for answer in answers.values()]
    server = ae.start_server((LOOPBACK, 0), block=False, evt_handlers=handlers)
    try:
        yield Peer(LOOPBACK, server.socket.getsockname()[1], "ARCHIVE", "LUNGNODE", 30, 30)
    finally:
        server.shutdown()


@pytest.fixture
def association() -> Iterator[Any]:
    with archive({}) as peer:
        opened = associate(peer, [build_context(Verification)])
        yield opened
        opened.release()


def test_an_answer_waits_for_who_asked(association: Any) -> None:
    """However early it comes: before whoever asked has begun to wait, with the association's own thread at work."""
    answer = C_ECHO()
    answer.MessageIDBeingRespondedTo, answer.Status = association.dimse.asked, 0x0000
    association.dimse.msg_queue.put((1, answer))
    time.sleep(LOOKS)
    assert association.dimse.get_msg(block=True) == (1, answer)


def test_an_answer_that_comes_twice_is_not_that_to_the_next_question(tmp_path: Path) -> None:
    """Objects of which the peer refuses every second one, and answers the first twice."""
    files = [write(wrap(Film(drawn(1, 64), f"twice {number}", sop_class=SC)), tmp_path) for number in range(4)]
    asked: list[int] = []

    def store(event: evt.Event) -> int:
        asked.append(event.request.MessageID)
        if len(asked) == 1:
            answer = C_STORE()
            answer.MessageIDBeingRespondedTo, answer.Status = event.request.MessageID, 0x0000
            answer.AffectedSOPClassUID = event.request.AffectedSOPClassUID
            answer.AffectedSOPInstanceUID = event.request.AffectedSOPInstanceUID
            event.assoc.dimse.send_msg(answer, event.context.context_id)
        return 0xA700 if len(asked) % 2 == 0 else 0x0000

    with archive({SC: store}) as peer:
        assert [one.status for one in send(peer, files)] == [0x0000, 0xA700, 0x0000, 0xA700]
    assert len(set(asked)) == 4, "each has a number of its own"


def test_the_word_that_it_broke_waits_too(association: Any) -> None:
    """pynetdicom puts it there so that nobody waits in vain."""
    association.dimse.msg_queue.put((None, None))
    time.sleep(LOOKS)
    assert association.dimse.msg_queue.qsize() == 1
    assert association.dimse.get_msg(block=True) == (None, None)


def test_a_request_of_the_peer_is_served_meanwhile(association: Any) -> None:
    served: list[int] = []
    association.bind(evt.EVT_C_ECHO, lambda event: served.append(event.request.MessageID) or 0x0000)
    request = C_ECHO()
    request.MessageID, request.AffectedSOPClassUID = 7, Verification
    association.dimse.msg_queue.put((1, request))
    wait_until(lambda: served == [7], 10, "the request is served")


def test_question_after_question_is_answered(association: Any) -> None:
    assert [association.send_c_echo().Status for _ in range(200)] == [0x0000] * 200
