"""Whose the messages on our own associations are: answers wait for who asked, requests are served meanwhile.

Not covered: real peers (tests/e2e, tests/dimse/test_commitment.py), TLS (tests/dimse/test_tls.py).
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_ECHO
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from node.dimse.associating import Peer, associate
from tests.peers import LOOPBACK, wait_until

LOOKS = 0.1  # seconds: the association's own thread looks a hundred times meanwhile


@pytest.fixture
def association() -> Iterator[Association]:
    ae = AE("ARCHIVE")
    ae.add_supported_context(Verification, scu_role=True, scp_role=True)
    server = ae.start_server((LOOPBACK, 0), block=False)
    peer = Peer(LOOPBACK, server.socket.getsockname()[1], "ARCHIVE", "LUNGNODE", 5, 5)
    try:
        opened = associate(peer, [build_context(Verification)])
        yield opened
        opened.release()
    finally:
        server.shutdown()


def test_an_answer_waits_for_who_asked(association: Association) -> None:
    """However early it comes: before whoever asked has begun to wait, with the association's own thread at work."""
    answer = C_ECHO()
    answer.MessageIDBeingRespondedTo, answer.Status = 1, 0x0000
    association.dimse.msg_queue.put((1, answer))
    time.sleep(LOOKS)
    assert association.dimse.get_msg(block=True) == (1, answer)


def test_the_word_that_it_broke_waits_too(association: Association) -> None:
    """pynetdicom puts it there so that nobody waits in vain."""
    association.dimse.msg_queue.put((None, None))
    time.sleep(LOOKS)
    assert association.dimse.msg_queue.qsize() == 1
    assert association.dimse.get_msg(block=True) == (None, None)


def test_a_request_of_the_peer_is_served_meanwhile(association: Association) -> None:
    served: list[int] = []
    association.bind(evt.EVT_C_ECHO, lambda event: served.append(event.request.MessageID) or 0x0000)
    request = C_ECHO()
    request.MessageID, request.AffectedSOPClassUID = 7, Verification
    association.dimse.msg_queue.put((1, request))
    wait_until(lambda: served == [7], 10, "the request is served")


def test_question_after_question_is_answered(association: Association) -> None:
    assert [association.send_c_echo().Status for _ in range(200)] == [0x0000] * 200
