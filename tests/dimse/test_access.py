"""Who may associate, how often at once and how fast, over real sockets; which rejection says what.

Not covered: speed (the pace is tested with a clock of its own), the lists of AE titles (test_scp.py), IPv6 sockets.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
from collections.abc import Iterator
from functools import partial
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pynetdicom import AE
from pynetdicom.association import Association

from node.board import Board
from node.core import settings
from node.core.errors import Misconfigured
from node.core.limits import PeerLimits
from node.dimse import access, contexts
from node.dimse.access import Access
from tests import peers
from tests.dimse.station import Station, film, station
from tests.peers import LOOPBACK
from tests.sending import store


@contextlib.contextmanager
def _associated(node: Station, calling: str) -> Iterator[Association]:
    ae = AE(calling)
    ae.add_requested_context(contexts.VERIFICATION)
    association = ae.associate(LOOPBACK, node.port, ae_title="LUNGNODE")
    try:
        yield association
    finally:
        if association.is_established:
            association.release()


def _answer(association: Association) -> tuple[int, int, int]:
    primitive = association.acceptor.primitive
    assert primitive is not None and association.is_rejected
    return primitive.result, primitive.result_source, primitive.diagnostic


@pytest.mark.parametrize(
    "everybody, one, answer",
    [
        ((), (), None),
        (("127.0.0.0/8",), (), None),
        (("10.0.0.0/8", "::1"), (), (1, 1, 1)),
        ((), ("127.0.0.1",), None),
        ((), ("10.0.0.0/8",), (1, 1, 3)),
        (("127.0.0.0/8",), ("10.0.0.0/8",), (1, 1, 3)),
    ],
)
def test_an_address_that_is_not_listed_is_rejected_for_ever(
    tmp_path: Path, everybody: tuple[str, ...], one: tuple[str, ...], answer: tuple[int, int, int] | None
) -> None:
    """Codes of PS3.8 Table 9-21."""
    rules = partial(Access, calling_addresses=everybody, peers={"SCANNER": PeerLimits(addresses=one)})
    with station(tmp_path, access=rules) as node, _associated(node, "SCANNER") as association:
        assert association.is_established is (answer is None)
        if answer:
            assert _answer(association) == answer


def test_a_peer_that_has_all_its_associations_is_rejected_for_now_and_others_are_not(tmp_path: Path) -> None:
    rules = partial(Access, peers={"SCANNER": PeerLimits(max_associations=2)})
    with station(tmp_path, access=rules) as node:
        with _associated(node, "SCANNER") as one, _associated(node, "SCANNER") as two:
            assert one.is_established and two.is_established
            with _associated(node, "SCANNER") as third, _associated(node, "OTHER") as other:
                assert _answer(third) == (2, 3, 2), "rejected-transient, local limit exceeded"
                assert other.is_established

        def again() -> bool:
            with _associated(node, "SCANNER") as association:
                return association.is_established

        peers.wait_until(again, 20, "a place is free again")


def test_an_aborted_association_frees_its_place(tmp_path: Path) -> None:
    rules = partial(Access, peers={"SCANNER": PeerLimits(max_associations=1)})

    def once() -> bool:
        with _associated(node, "SCANNER") as association:
            if not association.is_established:
                return False
            association.abort()
            return True

    with station(tmp_path, access=rules) as node:
        for _ in range(5):
            peers.wait_until(once, 20, "the place is free")


def test_rejections_are_events_and_counted_by_reason(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "node")
    rules = partial(Access, peers={"SCANNER": PeerLimits(addresses=("10.0.0.1",))})
    with station(tmp_path, access=rules, calling_aets=("SCANNER", "OTHER")) as node:
        for calling in ("SCANNER", "NOBODY", "OTHER"):
            with _associated(node, calling):
                pass
        words = access.WORDS[1, 1, 3]
        peers.wait_until(lambda: node.board.rejected() == {words: 2}, 10, "both are counted")
    events = [record for record in caplog.records if record.getMessage() == "association.rejected"]
    assert [record.fields["reason"] for record in events] == [words] * 2  # type: ignore[attr-defined]


def test_who_sends_too_fast_waits_and_loses_nothing(tmp_path: Path) -> None:
    """Every object asks for its turn, by either association; nobody else waits."""
    waited: list[float] = []
    slow = {"SCANNER": PeerLimits(max_instances_per_second=1)}
    rules = partial(Access, peers=slow, clock=lambda: 0.0, sleep=waited.append)
    instances = [film(f"fast {number}") for number in range(6)]
    with station(tmp_path, access=rules) as node:
        assert store(node.port, instances[:3], "SCANNER") == [0x0000] * 3
        assert store(node.port, instances[3:5], "SCANNER") == [0x0000] * 2
        assert store(node.port, instances[5:], "OTHER") == [0x0000]
        assert all(node.stored(instance.sop_instance_uid) for instance in instances)
    assert waited == [1.0, 2.0, 3.0, 4.0]


@given(st.lists(st.floats(0, 3), min_size=1, max_size=30), st.sampled_from([1.0, 2.0, 10.0]))
def test_the_pace_is_kept_over_processes_and_no_time_is_saved_up(
    tmp_path_factory: pytest.TempPathFactory, pauses: list[float], rate: float
) -> None:
    """Whatever the pauses between requests: turns are at least 1/rate apart, and who is slower never waits."""
    now = [0.0]
    turns: list[float] = []

    def sleep(seconds: float) -> None:
        now[0] += seconds

    peer = {"A": PeerLimits(max_instances_per_second=rate)}
    folder = tmp_path_factory.mktemp("boards")
    processes = [Access(Board(folder, name), peers=peer, clock=lambda: now[0], sleep=sleep) for name in ("one", "two")]
    for pause in pauses:
        now[0] += pause
        before = now[0]
        processes[len(turns) % 2].wait("A")
        turns.append(now[0])
        if len(turns) == 1 or before >= turns[-2] + 1 / rate:
            assert now[0] == before
    assert all(later - earlier >= 1 / rate - 1e-6 for earlier, later in itertools.pairwise(turns))


@given(st.ip_addresses(), st.integers(0, 32))
def test_an_address_is_within_its_own_networks_and_mapped_or_not(
    tmp_path_factory: pytest.TempPathFactory, address: object, bits: int
) -> None:
    network = ip_network(f"{address}/{bits}", strict=False)
    board = Board(tmp_path_factory.mktemp("boards"), "receiver-1")
    board.serve()
    rules = Access(board, [str(network)])
    assert rules.enter("one", "A", str(address)) is None
    if ip_address(str(address)).version == 4:
        assert rules.enter("two", "A", f"::ffff:{address}") is None
    other = ip_address(int(network.network_address) ^ (1 << (network.max_prefixlen - 1)))
    if bits and other.version == network.version:
        assert rules.enter("three", "A", str(other)) == access.ADDRESS_UNKNOWN


@pytest.mark.parametrize(
    "text",
    [
        '[limits]\ncalling_addresses = ["10.0.0.1/8"]',
        '[limits]\nsop_classes = "some"',
        "[limits]\nmax_waiting_studies = -1",
        "[access]\nSCANNER = 3",
        "[access.SCANNER]\nmax = 1",
        "[access.SCANNER]\nmax_associations = -1",
        "[access.SCANNER]\nmax_instances_per_second = 0.5",
        '[access.SCANNER]\naddresses = ["here"]',
        '[access.SCANNER]\naddresses = "10.0.0.1"',
    ],
)
def test_settings_that_mean_nothing_are_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "node.toml"
    file.write_text(text)
    with pytest.raises(Misconfigured):
        settings.load(file)


def test_settings_of_a_peer_are_read_and_travel_to_workers(tmp_path: Path) -> None:
    file = tmp_path / "node.toml"
    file.write_text('[access."A B"]\naddresses = ["10.1.0.0/16", "2001:db8::/32"]\nmax_associations = 2\n')
    effective = settings.load(file)
    assert effective.access == {"A B": PeerLimits(("10.1.0.0/16", "2001:db8::/32"), 2, 0.0)}
    assert settings.from_tree(settings.as_tree(effective)) == effective
