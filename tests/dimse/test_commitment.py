"""Storage commitment of what was received: what is answered, on which association, and until the peer took it.

Scripted peers over sockets. Not covered: Orthanc as requester and as committer (tests/e2e/test_commitment.py), our own
requests to destinations (tests/pipeline/test_commitment.py).
"""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset
from pydicom.uid import generate_uid
from pynetdicom import AE, evt
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
)

from node.composition.peers import Peers
from node.core import settings
from node.dimse.access import Access
from node.dimse.commitment import CommitmentService, read_report
from node.dimse.listening import open_doors
from node.dimse.scp import Receiver
from node.pipeline.commitment import Commitments
from tests.films import CR, SC, Film, drawn, encoded, wrap
from tests.peers import LOOPBACK, free_port, wait_until
from tests.pipeline.waiting import Room
from tests.sending import store


class Modality:
    """Asks for commitment and takes reports, on its own port and on associations it keeps. ``answers``: the statuses of
    its next answers, in the end success."""

    def __init__(self, *answers: int) -> None:
        self.answers, self.reports = list(answers), []  # type: list[int], list[tuple[int, Dataset]]
        self.offered = 0
        self.port = free_port()

    @property
    def name(self) -> str:
        return f"MODALITY@{LOOPBACK}:{self.port}"

    def taken(self, event: evt.Event) -> tuple[int, None]:
        self.offered += 1
        status = self.answers.pop(0) if self.answers else 0x0000
        if status == 0x0000:
            request: Any = event.request
            self.reports.append((request.EventTypeID, event.event_information))
        return status, None

    @contextmanager
    def listening(self) -> Iterator[None]:
        ae = AE("MODALITY")
        ae.add_supported_context(StorageCommitmentPushModel, scu_role=True, scp_role=True)
        handlers: Any = [(evt.EVT_N_EVENT_REPORT, self.taken)]
        server = ae.start_server((LOOPBACK, self.port), block=False, evt_handlers=handlers)
        try:
            yield
        finally:
            server.shutdown()

    def ask(self, port: int, instances: list[tuple[str, str]], keep: float = 0, action: int = 1) -> tuple[int, str]:
        """(status, Transaction UID). keep: seconds for which the association stays."""
        ae, transaction = AE("MODALITY"), str(generate_uid())
        ae.add_requested_context(StorageCommitmentPushModel)
        handlers: Any = [(evt.EVT_N_EVENT_REPORT, self.taken)]
        association = ae.associate(LOOPBACK, port, ae_title="LUNGNODE", evt_handlers=handlers)
        assert association.is_established
        ds = Dataset()
        ds.TransactionUID, ds.ReferencedSOPSequence = transaction, []
        for sop_class, instance in instances:
            item = Dataset()
            item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, instance
            ds.ReferencedSOPSequence.append(item)
        answer, _ = association.send_n_action(
            ds, action, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
        )
        deadline = time.monotonic() + keep
        while time.monotonic() < deadline and not self.reports:
            time.sleep(0.05)
        association.release()
        return int(answer.Status), transaction


@dataclasses.dataclass
class Node:
    room: Room
    service: CommitmentService
    receiver: Receiver

    @property
    def port(self) -> int:
        return self.receiver.ports["dicom"]

    def turn(self, seconds: float = 2) -> None:
        self.room.clock.pass_by(seconds)
        self.service.pump()

    def waiting(self) -> list[dict[str, object]]:
        return self.room.rows("SELECT attempts, problem FROM commitment_requests WHERE reported_at IS NULL")


@contextmanager
def node(folder: Path, *told: str, serve: bool = True, default_port: int = 0) -> Iterator[Node]:
    """A receiver that knows where ``told`` listen."""
    room = Room(folder)
    usual = settings.load(flags={("node", "dicom_host"): LOOPBACK, ("node", "dicom_port"): 0})
    wanted = dataclasses.replace(usual.commitment, peers=told, serve=serve, default_port=default_port)
    delivery = dataclasses.replace(usual.delivery, acse_timeout_seconds=3.0, dimse_timeout_seconds=3.0)
    effective = dataclasses.replace(usual, commitment=wanted, delivery=delivery)
    commitments = Commitments(room.database, room.archive, room.clock, (5.0, 60.0))
    service = Peers(effective).commitment(commitments)
    access = Access.of(room.board, effective)
    receiver = Receiver(effective.node, effective.receive, room.intake, access, [service])
    receiver.start(open_doors(LOOPBACK, 0, None))
    try:
        yield Node(room, service, receiver)
    finally:
        receiver.stop(0)


def film(number: int) -> tuple[tuple[str, str], Any]:
    """What a request names, and what travels."""
    ds = wrap(Film(drawn(number, 64), f"committed {number}", sop_class=CR))
    return (str(ds.SOPClassUID), str(ds.SOPInstanceUID)), encoded(ds)


def test_what_is_durable_is_committed_and_what_is_not_has_its_reason(tmp_path: Path) -> None:
    modality = Modality()
    films = [film(number) for number in range(4)]
    with node(tmp_path, modality.name) as running, modality.listening():
        assert store(running.port, [sent for _, sent in films[:3]]) == [0x0000] * 3
        (whole, _), (changed, _), (other, _), (missing, _) = films
        (row,) = running.room.rows("SELECT path FROM instances WHERE sop_uid = :uid", uid=changed[1])
        path = running.room.archive.path(str(row["path"]))
        path.write_bytes(path.read_bytes()[:-1] + b"\x7f")
        status, transaction = modality.ask(running.port, [whole, changed, (SC, other[1]), missing])
        assert status == 0x0000
        running.turn()
    ((event, report),) = modality.reports
    told, committed, failed = read_report(report)
    assert (event, told, committed) == (2, transaction, [whole[1]])
    assert failed == {changed[1]: 0x0110, other[1]: 0x0119, missing[1]: 0x0112}


def test_all_there_is_event_one_and_is_told_once(tmp_path: Path) -> None:
    modality = Modality()
    named, sent = film(1)
    with node(tmp_path, modality.name) as running, modality.listening():
        assert store(running.port, [sent]) == [0x0000]
        modality.ask(running.port, [named])
        for _ in range(3):
            running.turn(1000)
    assert [event for event, _ in modality.reports] == [1]
    assert "FailedSOPSequence" not in modality.reports[0][1]


def test_a_peer_that_keeps_its_association_is_told_on_it(tmp_path: Path) -> None:
    """Nobody knows where it listens, and it does not."""
    modality = Modality()
    named, sent = film(1)
    with node(tmp_path) as running:
        assert store(running.port, [sent]) == [0x0000]
        running.room.clock.pass_by(-2)  # asked two seconds ago
        asking = threading.Thread(target=modality.ask, args=(running.port, [named], 20))
        asking.start()
        wait_until(running.waiting, 10, "the request is kept")
        running.turn(4)
        asking.join(30)
    assert [event for event, _ in modality.reports] == [1]


def test_it_is_told_again_until_it_took_the_report(tmp_path: Path) -> None:
    """Down, then answering a failure, then well; a restart in between."""
    modality = Modality(0x0110)
    named, sent = film(1)
    with node(tmp_path, modality.name) as running:
        assert store(running.port, [sent]) == [0x0000]
        modality.ask(running.port, [named])
        running.turn()
        ((attempts, problem),) = [tuple(row.values()) for row in running.waiting()]
        assert attempts == 1 and "did not answer" in str(problem)
        with modality.listening():
            running.turn(4)
            assert modality.offered == 0, "too early"
            running.turn(2)
            assert modality.offered == 1 and "0x0110" in str(running.waiting()[0]["problem"])
            running.turn(61)
        assert running.waiting() == [] and [event for event, _ in modality.reports] == [1]


def test_one_that_is_named_nowhere_is_told_where_it_asked_from(tmp_path: Path) -> None:
    modality = Modality()
    with node(tmp_path, default_port=modality.port) as running, modality.listening():
        modality.ask(running.port, [film(1)[0]])
        running.turn()
    assert [event for event, _ in modality.reports] == [2]


@pytest.mark.parametrize(
    "serve, action, names, status", [(False, 1, 1, 0x0124), (True, 2, 1, 0x0123), (True, 1, 0, 0x0115)]
)
def test_what_is_no_request_is_refused(tmp_path: Path, serve: bool, action: int, names: int, status: int) -> None:
    modality = Modality()
    with node(tmp_path, modality.name, serve=serve) as running:
        assert modality.ask(running.port, [film(1)[0]] * names, action=action)[0] == status
        assert running.waiting() == []
