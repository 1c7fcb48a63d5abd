"""What sending makes of a peer's negotiation: a class that is not taken, and one that is not taken just now.

Real peers are in tests/e2e. Not covered: compressed transfer syntaxes (tests/e2e/test_peers.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pynetdicom import AE, acse, evt
from pynetdicom.presentation import PresentationContext, negotiate_as_acceptor

from node.dimse.associating import Peer
from node.dimse.scu import send
from tests.films import CR, SC, Film, drawn, wrap, write
from tests.peers import LOOPBACK


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """A film of a class that the peer does not take, and one of a class that it takes."""
    return [
        write(wrap(Film(drawn(1, 64), f"sent {sop_class}", sop_class=sop_class)), tmp_path) for sop_class in (CR, SC)
    ]


@contextmanager
def archive(*takes: str) -> Iterator[tuple[Peer, list[str]]]:
    """A peer that takes these classes, and the kinds of object that it got."""
    got: list[str] = []

    def store(event: evt.Event) -> int:
        got.append(str(event.request.AffectedSOPClassUID))
        return 0x0000

    ae = AE("ARCHIVE")
    for sop_class in takes:
        ae.add_supported_context(sop_class)
    server = ae.start_server((LOOPBACK, 0), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
    try:
        yield Peer(LOOPBACK, server.socket.getsockname()[1], "ARCHIVE", "LUNGNODE", 5, 5), got
    finally:
        server.shutdown()


def test_a_class_that_is_not_taken_is_refused_beside_one_that_is(files: list[Path]) -> None:
    with archive(SC) as (peer, got):
        refused, taken = send(peer, files)
    assert (refused.status, refused.delivered) == (0x0122, False)
    assert taken.delivered and got == [SC]


def test_a_class_that_is_not_taken_is_refused_when_it_comes_alone(files: list[Path]) -> None:
    """The peer accepts the association and none of its contexts; that is an answer, not an absence."""
    with archive(SC) as (peer, _):
        (alone,) = send(peer, files[:1])
    assert (alone.status, alone.comment) == (0x0122, "the peer does not accept this SOP class")


@pytest.mark.parametrize("result, status", [(0x01, None), (0x02, None), (0x03, 0x0122), (0x04, 0x0122)])
def test_a_rejection_that_may_pass_is_no_refusal(
    files: list[Path], monkeypatch: pytest.MonkeyPatch, result: int, status: int | None
) -> None:
    """Results of PS3.8 Table 9-18: the first two name no fault of what was proposed."""

    def as_told(*arguments: object) -> tuple[list[PresentationContext], object]:
        contexts, roles = negotiate_as_acceptor(*arguments)  # type: ignore[arg-type]
        for context in contexts:
            context.result = result if context.result else 0
        return contexts, roles

    monkeypatch.setattr(acse, "negotiate_as_acceptor", as_told)
    with archive(SC) as (peer, _):
        refused, taken = send(peer, files)
        (alone,) = send(peer, files[:1])
    assert refused.status == alone.status == status and not refused.delivered and taken.delivered
