"""``lungnode query``, ``grants`` and ``audit`` over a folder of made rows, without a node and without a model.

Not covered: what an analysis leaves (tests/e2e/test_commands.py), what each filter means (tests/db/test_queries.py).
"""

from __future__ import annotations

import csv
import io
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet
import pytest
from sqlalchemy import text

from node import cli
from node.core.audit import AuditEvent
from node.db import audit
from node.db.session import Database, sqlite_url
from tests.bench import ledger
from tests.peers import Ran
from tests.served import LUNGNODE

Ask = Callable[..., Ran]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("query")
    database = Database(sqlite_url(folder), durable=False)
    ledger.fill(database, 240)
    with database.write() as session:
        for kind in ("start", "receipt", "stop"):
            audit.append(session, AuditEvent(kind, address="192.0.2.7"), ledger.BEGAN)
        audit.chain(session)
    database.close()
    return folder


@pytest.fixture
def asked(data: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> Ask:
    def ask(*arguments: str, where: Path = data) -> Ran:
        command, *rest = arguments
        place = [] if command == "grants" else ["--data", str(where)]
        try:
            code = cli.main([command, *rest, *place])
        except SystemExit as ended:
            code = int(str(ended.code))
        said = capsysbinary.readouterr()
        return Ran(code, said.out.decode("latin-1"), said.err.decode())

    return ask


def test_forms_and_resources(asked: Ask) -> None:
    rows = json.loads(asked("query", "--class", "covid19", "--decision", "yes", "--format", "json").out)
    assert rows and all(row["class"] == "covid19" and row["decision"] for row in rows)
    assert [row["analysed_at"] for row in rows] == sorted(row["analysed_at"] for row in rows)  # oldest first
    table = list(csv.DictReader(io.StringIO(asked("query", "--deliveries", "--state=waiting", "--format", "csv").out)))
    assert [row["id"] for row in table] == ["9", "10"]
    raw = asked("query", "--sort=-probability", "--limit", "3", "--format", "parquet").out.encode("latin-1")
    best = pyarrow.parquet.read_table(io.BytesIO(raw)).to_pylist()
    assert len(best) == 3 and best == sorted(best, key=lambda row: -row["probability"])
    assert "192.0.2.7" in asked("query", "--audit", "--kind", "stop").out
    grouped = json.loads(asked("query", "--aggregate", "system", "--format", "json").out)
    assert [(row["system"], row["count"]) for row in grouped] == [(name, 57) for name in sorted(ledger.SYSTEMS)]
    assert "GRANT SELECT ON v_results TO auditor" in asked("grants", "auditor").out


@pytest.mark.parametrize("wrong, said", [
    (("query", "--decision", "perhaps"), "neither yes nor no"), (("query", "--verdict", "fine"), "none of agree"),
    (("query", "--audit", "--class", "covid19"), "class is no filter here"), (("query", "--sort", "speed"), "none of"),
    (("query", "--aggregate", "moon"), "none of day"), (("query", "--issuer", "A"), "narrows patient_id"),
    (("grants", "a; DROP"), "no plain name"), (("audit", "verify", "--from", "7"), "what lungnode audit head printed"),
    (("audit", "head", "--from", "7"), "goes with verify"),
])  # fmt: skip
def test_a_wrong_question_ends_with_2_and_a_sentence(asked: Ask, wrong: tuple[str, ...], said: str) -> None:
    ran = asked(*wrong)
    assert ran.code == 2 and said in ran.err and ran.out == ""


def test_verify_head_export_and_status(asked: Ask, data: Path, tmp_path: Path) -> None:
    head = asked("audit", "head").out.strip()
    assert head.startswith("3:")
    said = asked("audit", "verify", "--from", head)
    assert (said.code, said.out) == (0, f"0 rows hold, up to {head}; 0 wait to be chained\n")
    rows = [json.loads(line) for line in asked("audit", "export").out.splitlines()]
    assert [row["kind"] for row in rows] == ["start", "receipt", "stop"] and rows[-1]["hash"] == head[2:]
    assert "no collector" in asked("audit", "status").out
    damaged = tmp_path / "lungnode.sqlite"
    damaged.write_bytes((data / "lungnode.sqlite").read_bytes())
    database = Database(sqlite_url(tmp_path))
    with database.write() as session:
        session.execute(text("UPDATE audit_events SET outcome = 'minor' WHERE sequence = 2"))
    database.close()
    found = asked("audit", "verify", where=tmp_path)
    assert found.code == 1 and "Row 2 was changed" in found.err and found.out.startswith("1 rows hold")


def test_help_loads_no_database() -> None:
    code = "import sys, node.cli; node.cli._parser(); print('sqlalchemy' in sys.modules)"
    ran = subprocess.run([LUNGNODE[0], "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"
