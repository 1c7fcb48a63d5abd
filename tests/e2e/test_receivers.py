"""Two receiver processes on one port: they share the load, a limit is one of both, and neither's death loses anything.

Which process took an association is read from the node's log. Not covered: the board by itself (test_board.py of
tests/core), how evenly they share and how fast they are (tests/bench), kills of anything else (tests/faults).
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import psutil
import pytest
from pynetdicom.association import Association

from tests.dimse.test_commitment import Modality
from tests.films import CR, Film, drawn, encoded, wrap
from tests.peers import LOOPBACK, wait_until
from tests.sending import Encoded, associate, store, store_encoded
from tests.served import LungnodeProcess

SETTINGS = """
[receive]
processes = 2
max_associations = 6

[access.SCANNER]
max_associations = 3

[completeness]
quiet_seconds_film = 0.2

[commitment]
default_port = 0
"""
SEED = 20261121


@pytest.fixture(scope="module")
def node() -> Iterator[LungnodeProcess]:
    with LungnodeProcess("--workers", "0", settings=SETTINGS) as running:
        yield running


def film(seed: str, study: str = "", pixels: int = 1, size: int = 64) -> Encoded:
    return encoded(wrap(Film(drawn(pixels, size), seed, study or seed, sop_class=CR)))


KIND = [(film("kind").sop_class_uid, film("kind").transfer_syntax_uid)]


@contextlib.contextmanager
def one_in_each(node: LungnodeProcess) -> Iterator[list[Association]]:
    """Two open associations, one in each process. The process with fewer takes the next one, if it is awake in time."""
    found: dict[str, Association] = {}
    with contextlib.ExitStack() as stack:
        while len(found) < 2:
            before = len(node.events("association.opened"))
            association = stack.enter_context(associate(node.dicom_port, KIND))
            opened = wait_until(functools.partial(_opened_since, node, before), 10, "it is logged")
            found.setdefault(opened[0]["process"], association)
        yield list(found.values())
    at_rest(node)


def _opened_since(node: LungnodeProcess, before: int) -> list[dict[str, Any]]:
    return node.events("association.opened")[before:]


def at_rest(node: LungnodeProcess) -> None:
    """Every association has ended."""
    folder = node.data / "run" / "board" / "open"
    wait_until(lambda: not list(folder.glob("*/*")), 20, "no association is open")


def receivers(node: LungnodeProcess) -> list[psutil.Process]:
    return [process for process in node.processes() if "receiver" in process.cmdline()]


def is_ready(node: LungnodeProcess) -> None:
    wait_until(lambda: node.http("/health/ready")[0] == 200 and len(receivers(node)) == 2, 60, "both receive")


def test_associations_are_shared_out_and_so_is_their_number(node: LungnodeProcess) -> None:
    """Six are let in, some by each process; a seventh and the fourth of a peer are rejected for now, by either."""
    before = len(node.events("association.opened"))
    with contextlib.ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(associate(node.dicom_port, KIND, "SCANNER"))
        for _ in range(3):
            with pytest.raises(ConnectionError), associate(node.dicom_port, KIND, "SCANNER"):
                pass
        for _ in range(3):
            stack.enter_context(associate(node.dicom_port, KIND))
        for _ in range(3):
            with pytest.raises(ConnectionError), associate(node.dicom_port, KIND):
                pass
    taken = Counter(event["process"] for event in node.events("association.opened")[before:])
    assert set(taken) == {"receiver-1", "receiver-2"} and taken.total() == 6
    assert 'associations_rejected_total{reason="too many associations"} 6.0' in node.http("/metrics")[1]
    at_rest(node)
    assert store(node.dicom_port, [film("after the limit")], "SCANNER") == [0x0000]


def test_a_study_waits_for_its_association_in_whichever_process(node: LungnodeProcess) -> None:
    state = "SELECT state FROM studies WHERE study_uid = ?"
    closed = "SELECT 1 FROM studies JOIN series ON study_id = studies.id JOIN instances ON series_id = series.id"
    closed += " WHERE sop_uid = ? AND state = 'queued'"
    study = Film(drawn(1, 64), "x", "a study of two").study_uid
    with one_in_each(node) as associations:
        one, two = associations
        assert store_encoded(one, film("first of it", "a study of two")) == 0x0000
        assert store_encoded(two, film("second of it", "a study of two")) == 0x0000
        for association in associations:
            assert [row["state"] for row in node.rows(state, study)] == ["receiving"]
            other = film(f"closes before {association.acceptor.port} {association is one}")
            assert store(node.dicom_port, [other]) == [0x0000]
            later = functools.partial(node.rows, closed, other.sop_instance_uid)
            wait_until(later, 20, "a later study has closed")
            assert [row["state"] for row in node.rows(state, study)] == ["receiving"]
            association.release()
    wait_until(lambda: [row["state"] for row in node.rows(state, study)] == ["queued"], 20, "the study has closed")


def test_one_uid_with_other_bytes_from_both_at_once_is_kept_once(node: LungnodeProcess) -> None:
    """Whoever is first is told success, the other 0x0111, and the file is that of the row."""
    rivals = [(film(f"same {n}"), film(f"same {n}", pixels=2)) for n in range(12)]
    with one_in_each(node) as associations:
        for pair in rivals:
            assert pair[0].sop_instance_uid == pair[1].sop_instance_uid and pair[0].data_set != pair[1].data_set
            answers: dict[int, int | None] = {}

            def send(
                number: int, pair: tuple[Encoded, Encoded] = pair, answers: dict[int, int | None] = answers
            ) -> None:
                answers[number] = store_encoded(associations[number], pair[number])

            threads = [threading.Thread(target=send, args=(number,)) for number in (0, 1)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(60)
            assert sorted(answers.values(), key=str) == [0x0000, 0x0111]
            kept = next(pair[number] for number, status in answers.items() if status == 0x0000)
            assert is_stored(node, kept)


def is_stored(node: LungnodeProcess, instance: Encoded) -> bool:
    """Its row is there, and its file has these bytes."""
    rows = node.rows("SELECT sha256, path FROM instances WHERE sop_uid = ?", instance.sop_instance_uid)
    return [row["sha256"] for row in rows] == [hashlib.sha256(instance.data_set).hexdigest()] and (
        node.data / "archive" / rows[0]["path"]
    ).read_bytes().endswith(instance.data_set)


def test_commitment_is_told_on_the_association_that_asked(node: LungnodeProcess) -> None:
    """Nobody knows where these peers listen: only the process that has the association can tell them."""
    sent = film("committed over there")
    assert store(node.dicom_port, [sent]) == [0x0000]
    modalities = [Modality() for _ in range(3)]
    named = [(sent.sop_class_uid, sent.sop_instance_uid)]
    asking = [threading.Thread(target=one.ask, args=(node.dicom_port, named, 30)) for one in modalities]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join(60)
    assert [[event for event, _ in one.reports] for one in modalities] == [[1]] * 3


def test_kill_9_of_one_receiver_under_load_loses_nothing_acknowledged(node: LungnodeProcess) -> None:
    """Two kills of either receiver while four senders work; each sends again what was not acknowledged."""
    chance, done = random.Random(SEED), threading.Event()
    acknowledged: list[Encoded] = []

    def work(sender: int) -> None:
        number = 0
        while not done.is_set():
            instance = film(f"load {sender} {number}", f"load {sender} {number // 10}", size=256)
            with (
                contextlib.suppress(ConnectionError, OSError, ValueError, RuntimeError),
                associate(node.dicom_port, KIND) as association,
            ):
                while store_encoded(association, instance) == 0x0000:
                    acknowledged.append(instance)
                    number += 1
                    instance = film(f"load {sender} {number}", f"load {sender} {number // 10}", size=256)
                    if done.is_set() or number % 10 == 0:
                        break

    def more(count: int) -> None:
        before = len(acknowledged)
        wait_until(lambda: len(acknowledged) >= before + count, 60, f"{count} more are acknowledged")

    senders = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for sender in senders:
        sender.start()
    try:
        for kill in range(2):
            more(8)
            time.sleep(chance.uniform(0, 0.3))
            chance.choice(receivers(node)).kill()
            wait_until(lambda: node.http("/health/ready")[0] == 503, 20, "its death is noticed")
            more(1)
            is_ready(node)
            assert len(node.events("receiver.died")) == kill + 1
    finally:
        done.set()
        for sender in senders:
            sender.join(70)
    assert len(acknowledged) >= 18
    assert [one.sop_instance_uid for one in acknowledged if not is_stored(node, one)] == []
    assert "is started again" in node.events("receiver.died")[0]["sentence"]
    assert "receivers: 2 of 2 run; 2 died since the start" in node.status()
    assert [tuple(row) for row in node.rows("PRAGMA integrity_check")] == [("ok",)]
    at_rest(node)


def test_a_receiver_that_was_stopped_is_named_and_the_other_goes_on(node: LungnodeProcess) -> None:
    """The kernel says that it runs. That it is killed after a longer silence: tests/queue/test_pulse.py."""
    is_ready(node)
    deaths = len(node.events("receiver.died"))
    stopped = receivers(node)[0]
    stopped.suspend()
    try:
        _, said = wait_until(lambda: _unready(node), 30, "it is missed")
        assert "1 of 2 receivers run" in said and "receivers: 1 of 2 run" in node.status()
        assert store(node.dicom_port, [film("while one is stopped")]) == [0x0000]
    finally:
        stopped.resume()
    is_ready(node)
    assert len(node.events("receiver.died")) == deaths and stopped.is_running()


def _unready(node: LungnodeProcess) -> tuple[int, str] | None:
    status, said = node.http("/health/ready")
    return (status, said) if status == 503 else None


def test_a_stop_lets_senders_of_both_processes_finish(node: LungnodeProcess) -> None:
    """The last test of this node."""
    codes: list[int] = []
    with one_in_each(node) as associations:
        stopping = threading.Thread(target=lambda: codes.append(node.sigterm()))
        stopping.start()
        wait_until(lambda: node.events("node.draining"), 20, "it drains")
        wait_until(lambda: not _takes_connections(node.dicom_port), 20, "nobody new is let in")
        for number, association in enumerate(associations):
            assert store_encoded(association, film(f"while draining {number}")) == 0x0000
            association.release()
        stopping.join(60)
    assert codes == [0] and len(node.rows("SELECT 1 FROM instances WHERE path != ''")) > 0
    assert node.events("receiver.killed") == []


def _takes_connections(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((LOOPBACK, port), timeout=5):
        return True
    return False
