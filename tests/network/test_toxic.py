"""A network that is not well, from a sender to the node and from the node to a PACS: nothing lost, nothing twice.

Latency, writes of a few bytes, a narrow line, resets at many a byte, answers that never come. What is held to: a sender
without an answer may send again and gets success, one row for one instance; the ledger says delivered only what the
PACS took and said so, and it holds each result once. Not covered: what a PACS itself does (tests/pipeline/
test_nasty_pacs.py), peers that hang (tests/dimse/test_hanging.py), TLS.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

from node.composition.peers import Peers
from node.core import settings
from node.pipeline.deliver import Deliver
from tests.dimse.station import Station, film, station
from tests.network.toxic import Toxic, ToxicProxy
from tests.pipeline.test_nasty_pacs import TABLE, Nasty, Ward
from tests.pipeline.waiting import Room
from tests.sending import associate, store, store_encoded

WELL_ENOUGH = {
    "latency": Toxic(latency_seconds=0.02),
    "writes of seven bytes": Toxic(piece=7),
    "a narrow line": Toxic(piece=4096, bytes_per_second=100_000),
}
RESETS = [1, 6, 74, 100, 200, 700, 1000, 2000, 5000, 9000]  # from the first byte of the request to the last of the data


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Station]:
    with station(tmp_path_factory.mktemp("node"), network_timeout_seconds=5) as running:
        yield running


@pytest.mark.parametrize("name", WELL_ENOUGH)
def test_a_slow_line_to_the_node_is_good_enough(node: Station, name: str) -> None:
    instances = [film(f"{name} {number}", 32) for number in range(2)]
    with ToxicProxy(node.port) as proxy:
        proxy.toxics.append(WELL_ENOUGH[name])
        assert store(proxy.port, instances) == [0x0000, 0x0000]
    assert [node.stored(one.sop_instance_uid) for one in instances] == [one.data_set for one in instances]


@pytest.mark.parametrize("reset_after", RESETS)
def test_a_sender_whose_line_broke_sends_again(node: Station, reset_after: int) -> None:
    instance = film(f"reset after {reset_after}", 64)
    assert len(instance.data_set) > reset_after
    with ToxicProxy(node.port) as proxy:
        proxy.toxics.append(Toxic(reset_after=reset_after))
        with contextlib.suppress(ConnectionError):
            assert store(proxy.port, [instance]) == [None]
        assert store(proxy.port, [instance]) == [0x0000]
    _held_once(node, instance.sop_instance_uid, instance.data_set)


def _held_once(node: Station, sop_uid: str, content: bytes) -> None:
    assert node.stored(sop_uid) == content
    assert len(node.rows("SELECT id FROM instances WHERE sop_uid = :uid", uid=sop_uid)) == 1
    assert not [path for path in node.files() if path.suffix == ".part"]


def test_a_sender_that_got_no_answer_may_send_again(node: Station) -> None:
    """The node has it, the answer was swallowed: the repeat is a success without effect."""
    instance = film("swallowed", 64)
    with ToxicProxy(node.port) as proxy:
        proxy.toxics.append(Toxic(swallow_answers=True))
        with associate(proxy.port, [(instance.sop_class_uid, instance.transfer_syntax_uid)]) as association:
            association.dimse_timeout = 1
            assert store_encoded(association, instance) is None
            association.abort()
        assert node.stored(instance.sop_instance_uid) == instance.data_set
        assert store(proxy.port, [instance]) == [0x0000]
    _held_once(node, instance.sop_instance_uid, instance.data_set)


@pytest.fixture
def line(tmp_path: Path) -> Iterator[tuple[Ward, ToxicProxy]]:
    """A delivery to a PACS that is well, over a line that is not; answers are waited for half a second."""
    pacs, room, usual = Nasty(), Room(tmp_path), settings.load()
    pacs.up()
    with ToxicProxy(pacs.port) as proxy:
        behind = pacs.port
        pacs.port = proxy.port  # by which the ledger knows it
        wanted = dataclasses.replace(
            usual.delivery, backoff_seconds=TABLE, acse_timeout_seconds=2.0, dimse_timeout_seconds=0.5
        )
        peers = Peers(dataclasses.replace(usual, delivery=wanted))
        duty = Deliver(
            room.database, room.archive, wanted, peers.send, room.clock, lambda: 1.0, peer=peers.find, probe=peers.probe
        )
        yield Ward(room, pacs, duty), proxy
        pacs.port = behind
    pacs.down()


SPOILS = {f"reset after {count}": Toxic(reset_after=count) for count in (1, 100, 500, 1500, 4000)}
SPOILS["answers that are lost"] = Toxic(swallow_answers=True)


@pytest.mark.parametrize("name", SPOILS)
def test_a_line_to_the_pacs_that_breaks_is_tried_again_later(line: tuple[Ward, ToxicProxy], name: str) -> None:
    """Owed until the PACS says that it took it, asked no sooner than the pause allows, and held once all the same."""
    ward, proxy = line
    (uid,) = ward.owe()
    proxy.toxics.extend([SPOILS[name]] * 4)
    ward.turn()
    assert ward.states([uid]) == ["waiting"]
    tried = proxy.connections
    ward.turn()
    assert proxy.connections == tried, "not before the pause is over"
    while proxy.toxics:
        assert ward.states([uid]) == ["waiting"]
        ward.turn(TABLE[-1])
    ward.turn(TABLE[-1])
    assert ward.states([uid]) == ["delivered"]
    assert len(ward.pacs.held[uid]) == 1


@pytest.mark.parametrize("name", ["latency", "writes of seven bytes"])
def test_a_slow_line_to_the_pacs_is_good_enough(line: tuple[Ward, ToxicProxy], name: str) -> None:
    ward, proxy = line
    uids = ward.owe()
    proxy.toxics.append(WELL_ENOUGH[name])
    ward.turn()
    assert set(ward.states(uids)) == {"delivered"}
