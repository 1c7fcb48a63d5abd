"""What must hold after any fault, each promise one function that fails with what breaks it.

Read from the outside: the files of the data folder, the rows of its database, and what the destinations hold. A file of
the archive is compared by its end, since the meta group before the data set is ours.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from tests.faults.modality import CountingPacs
from tests.films import uid
from tests.peers import Orthanc
from tests.sending import Encoded
from tests.served import LungnodeProcess

OWED = (
    "SELECT outputs.sop_uid, outputs.sha256, deliveries.state FROM deliveries JOIN outputs ON outputs.id = output_id"
    " WHERE destination = ?"
)


def kept(node: LungnodeProcess, acknowledged: Mapping[str, Encoded]) -> None:
    """Every acknowledged instance has one row and a file with its very bytes."""
    rows = {row["sop_uid"]: row for row in node.rows("SELECT sop_uid, sha256, bytes, path FROM instances")}
    lost = set(acknowledged) - set(rows)
    assert not lost, f"acknowledged and without a row: {sorted(lost)}"
    for sop_uid, instance in acknowledged.items():
        row = rows[sop_uid]
        assert row["bytes"] == len(instance.data_set)
        assert row["sha256"] == hashlib.sha256(instance.data_set).hexdigest()
        file = node.data / "archive" / row["path"]
        assert file.is_file(), f"acknowledged and without a file: {sop_uid}"
        assert file.read_bytes().endswith(instance.data_set), f"acknowledged and changed: {sop_uid}"


def ended(node: LungnodeProcess, names: Iterable[str]) -> None:
    """Every study has exactly one analysis that stands, and no job is left over."""
    for name in names:
        rows = node.rows(
            "SELECT state, superseded FROM studies LEFT JOIN analyses ON study_id = studies.id WHERE study_uid = ?"
            " AND NOT coalesce(superseded, 0)",
            uid("study", name),
        )
        assert [tuple(row) for row in rows] == [("analysed", 0)], f"{name}: {[tuple(row) for row in rows]}"
    assert {row["state"] for row in node.rows("SELECT state FROM jobs")} <= {"done"}


def delivered_once(node: LungnodeProcess, pacs: CountingPacs, orthanc: Orthanc | None = None) -> None:
    """Each destination holds each result that it is owed once, with one content, and nothing else."""
    for destination in (pacs, orthanc):
        states = {row["state"] for row in node.rows(OWED, destination.address)} if destination else set()
        assert states <= {"delivered", "superseded"}, f"{destination}: {states}"
    owed = _delivered(node, pacs.address)
    assert set(pacs.offered) >= owed.keys(), "a result that counts as delivered never came"
    assert set(pacs.offered) <= {row["sop_uid"] for row in node.rows(OWED, pacs.address)}, "nobody owed it this"
    archive = {row["sop_uid"]: row["path"] for row in node.rows("SELECT sop_uid, path FROM outputs")}
    for sop_uid, contents in pacs.held.items():
        (content,) = contents  # however often it came
        assert (node.data / "archive" / archive[sop_uid]).read_bytes().endswith(content), sop_uid
    if orthanc is not None:
        _orthanc_holds(orthanc, _delivered(node, orthanc.address))


def _delivered(node: LungnodeProcess, address: str) -> dict[str, str]:
    return {row["sop_uid"]: row["sha256"] for row in node.rows(OWED, address) if row["state"] == "delivered"}


def _orthanc_holds(orthanc: Orthanc, owed: Mapping[str, str]) -> None:
    held = [found["MainDicomTags"]["SOPInstanceUID"] for found in orthanc.get("/instances?expand")]
    assert len(held) == len(set(held))
    missing = owed.keys() - set(held)
    assert not missing, f"Orthanc lacks {sorted(missing)}"


def sound(node: LungnodeProcess) -> None:
    """SQLite finds nothing wrong with the database, and no row points nowhere."""
    assert [tuple(row) for row in node.rows("PRAGMA integrity_check")] == [("ok",)]
    assert node.rows("PRAGMA foreign_key_check") == []


def orphans(node: LungnodeProcess) -> set[Path]:
    """Files of the archive that no row knows."""
    archive = node.data / "archive"
    known = {archive / row["path"] for row in node.rows("SELECT path FROM instances UNION SELECT path FROM outputs")}
    return {path for path in archive.rglob("*") if path.is_file()} - known


def nothing_left_over(node: LungnodeProcess) -> None:
    """At rest and after a start, the archive holds what rows know and nothing else."""
    left = orphans(node)
    assert not left, f"{len(left)} files that no row knows: {sorted(left)[:5]}"


def settled(node: LungnodeProcess, names: Collection[str], seconds: float) -> None:
    node.wait_settled([uid("study", name) for name in names], seconds)
