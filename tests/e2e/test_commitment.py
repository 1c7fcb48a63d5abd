"""Storage commitment with Orthanc: it asks us, and it commits what we delivered.

Our receiver and our delivery in this process, without analysis. Not covered: a whole node with a destination that must
commit (test_destinations), peers that fail to commit (tests/pipeline/test_commitment.py).
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from node.composition.peers import Peers
from node.core import settings
from node.dimse.access import Access
from node.dimse.commitment import CommitmentService
from node.dimse.listening import open_doors
from node.dimse.scp import Receiver
from node.pipeline.commitment import Commitments
from node.pipeline.deliver import Deliver
from tests.films import CR, Film, drawn, encoded, wrap
from tests.peers import LOOPBACK, Orthanc, wait_until
from tests.pipeline.test_deliver import turn
from tests.pipeline.waiting import Room
from tests.sending import store

AET = "LUNGCOMMIT"


@dataclasses.dataclass
class Node:
    room: Room
    service: CommitmentService
    duty: Deliver
    port: int


@pytest.fixture
def node(orthanc: Orthanc, tmp_path: Path) -> Iterator[Node]:
    room = Room(tmp_path)
    room.clock.now = datetime.now(UTC)
    flags = {("node", "dicom_host"): LOOPBACK, ("node", "dicom_port"): 0, ("node", "aet"): AET}
    usual = settings.load(flags={**flags, ("delivery", "destinations"): [orthanc.address]})
    effective = dataclasses.replace(usual, objects=dataclasses.replace(usual.objects, commit=True))
    peers = Peers(effective)
    commitments = Commitments(room.database, room.archive, room.clock, (1.0,))
    service = peers.commitment(commitments)
    access = Access.of(room.board, effective)
    receiver = Receiver(effective.node, effective.receive, room.intake, access, [service])
    receiver.start(open_doors(LOOPBACK, 0, None))
    duty = Deliver(
        room.database, room.archive, effective.delivery, peers.send, room.clock, lambda: 1.0,
        peer=peers.find, probe=peers.probe, committing=peers.committing(commitments, room.database, room.clock),
    )  # fmt: skip
    orthanc.know("commit", AET, receiver.ports["dicom"])
    yield Node(room, service, duty, receiver.ports["dicom"])
    receiver.stop(0)


def test_orthanc_commits_what_we_delivered(node: Node, orthanc: Orthanc) -> None:
    film = Film(drawn(4, 96), "committed by orthanc")
    outputs = node.room.analysed([orthanc.address], film)
    turn(node.duty)
    assert {row["state"] for row in node.room.rows("SELECT state FROM deliveries")} == {"committing"}
    turn(node.duty)

    def committed() -> bool:
        rows = node.room.rows("SELECT state, committed_at FROM deliveries")
        return all(row["state"] == "delivered" and row["committed_at"] for row in rows)

    wait_until(committed, 20, "Orthanc has reported")
    assert orthanc.count(film.study_uid) == len(outputs)
    assert {row["state"] for row in node.room.rows("SELECT state FROM jobs WHERE kind = 'deliver'")} == {"done"}


def test_orthanc_asks_us_and_is_told(node: Node, orthanc: Orthanc) -> None:
    ds = wrap(Film(drawn(5, 64), "asked by orthanc", sop_class=CR))
    assert store(node.port, [encoded(ds)]) == [0x0000]
    here, missing = str(ds.SOPInstanceUID), f"{ds.SOPInstanceUID}.1"[-64:]
    named = [{"SOPClassUID": CR, "SOPInstanceUID": uid} for uid in (here, missing)]
    asked = json.loads(orthanc.request("POST", "/modalities/commit/storage-commitment", {"DicomInstances": named}))

    def told() -> dict[str, Any] | None:
        node.room.clock.pass_by(2)
        node.service.pump()
        found: dict[str, Any] = json.loads(orthanc.request("GET", asked["Path"]))
        return found if found["Status"] != "Pending" else None

    report = wait_until(told, 20, "Orthanc was told")
    assert report["Status"] == "Failure"
    assert [item["SOPInstanceUID"] for item in report["Success"]] == [here]
    assert [(item["SOPInstanceUID"], item["FailureReason"]) for item in report["Failures"]] == [(missing, 0x0112)]
