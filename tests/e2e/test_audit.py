"""The audit trail of a running node: what is written, that it survives kill -9 and a change is found, that it is sent.

Not covered: analyses and deliveries (tests/audit/test_told.py, without a model), the chain (tests/audit/test_chain.py).
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from pathlib import Path
from typing import Any

from pydicom import Dataset
from pynetdicom import AE

from node.db import audit
from node.db.audit import Head, Verdict
from node.db.session import Database, sqlite_url
from tests.audit.collectors import TlsCollector
from tests.audit.test_collector import sequences
from tests.dimse.certificates import Authority
from tests.e2e.conftest import assert_no_marker
from tests.films import DX, MARKER, Film, drawn, encoded, wrap
from tests.peers import LOOPBACK, wait_until
from tests.sending import store
from tests.served import LungnodeProcess, lungnode

FIND = "1.2.840.10008.5.1.4.1.2.2.1"


def trail(node: LungnodeProcess, kept: Head | None = None) -> tuple[Verdict, list[dict[str, Any]]]:
    database = Database(sqlite_url(node.data))
    with database.read() as session:
        found = audit.verify(session, kept), audit.rows(session)
    database.close()
    return found


def asks(node: LungnodeProcess) -> None:
    """A C-FIND by a name."""
    ae = AE("AUDITOR")
    ae.add_requested_context(FIND)
    association = ae.associate(LOOPBACK, node.dicom_port)
    assert association.is_established
    asked = Dataset()
    asked.QueryRetrieveLevel, asked.PatientName, asked.StudyInstanceUID = "STUDY", MARKER.patient_name, ""
    assert [status.Status for status, _ in association.send_c_find(asked, FIND)][-1] == 0x0000
    association.release()


def test_what_happens_is_told_chained_and_sent(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    films = [Film(drawn(61 + number, 128), f"audit {number}", "audited", sop_class=DX) for number in range(3)]
    study = films[0].study_uid
    with TlsCollector(authority.sign("collector")) as collector:
        wanted = f'[audit]\ncollector = "{collector.url}"\nauthorities = "{authority.file}"\npatient_ids = false\n'
        with LungnodeProcess("--workers", "0", settings=wanted) as node:
            assert store(node.dicom_port, [encoded(wrap(film)) for film in films]) == [0, 0, 0]
            assert store(node.dicom_port, [encoded(wrap(films[0]))]) == [0]  # again: nothing new
            asks(node)
            assert node.http(f"/api/v1/analyses?patient_id={MARKER.patient_id}&limit=5")[0] == 200
            for frame in range(3):
                node.http(f"/dicom-web/studies/{study}/series/1.2/instances/1.{frame}/metadata")
                assert node.http(f"/dicom-web/studies/{study}/metadata")[0] == 200
            assert node.http(f"/dicom-web/studies?PatientName={MARKER.patient_name}")[0] == 200
            wait_until(lambda: node.rows("SELECT 1 FROM audit_sent WHERE sequence >= 6"), 20, "messages are taken")
            kept = trail(node)[0].head
            node.kill9_everything()
            assert trail(node, kept)[0].problem == ""
            node.config.write_text(wanted + "[query]\nmax_matches = 7\n")
            node.start()
            assert lungnode("retention", "hold", study, "--data", node.data).code == 0
            assert node.sigterm() == 0
            (verdict, rows), log = trail(node, kept), node.logged()
            assert (verdict.problem, verdict.unchained) == ("", 0)
            assert [(row["kind"], row["study_uid"] == study) for row in rows] == [
                ("start", False), ("receipt", True), ("query", False), ("api", False), ("view", True),
                ("query", False), ("start", False), ("settings", False), ("command", True), ("stop", False),
            ]  # fmt: skip
            assert (rows[2]["aet"], rows[2]["address"]) == ("AUDITOR", LOOPBACK)
            assert json.loads(rows[3]["details"])["asked"] == {"patient_id": "given", "limit": "given"}
            assert json.loads(rows[7]["details"]) == {"query.max_matches": [5000, 7]}
            assert json.loads(rows[2]["details"])["keys"] == ["PatientName"]
            assert sequences(collector.messages) == [row["sequence"] for row in rows]
            assert_no_marker(json.dumps(rows) + log, "the trail and the log")
            assert_no_marker(b"".join(collector.messages).decode(), "the messages")
            _change(node)


def _change(node: LungnodeProcess) -> None:
    """A change by hand is found and named, by verify alone."""
    with contextlib.closing(sqlite3.connect(node.data / "lungnode.sqlite")) as connection:
        connection.execute("UPDATE audit_events SET address = '192.0.2.99' WHERE sequence = 3")
        connection.commit()
    said = lungnode("audit", "verify", "--data", node.data)
    assert said.code == 1 and "Row 3 was changed after it was chained." in said.err
    assert "Traceback" not in said.text
