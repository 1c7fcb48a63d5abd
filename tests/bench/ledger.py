"""Rows of a node that has analysed for years, made in bulk: patients, studies, analyses, findings, deliveries.

Each analysis is of one film by four systems with three classes each, twelve findings, as the shipped settings make it,
and two objects for one destination. Times are two minutes apart; one sender of fifty is rare; every thousandth analysis
is superseded and every 5,000th has something that is still owed. Nothing but rows: no file and no image exists.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Table, insert, text

from node.db import schema
from node.db.session import Database
from node.db.tables import Analysis, Base, Delivery, Finding, Instance, Output, Patient, Series, Study

BEGAN = datetime(2020, 1, 1, tzinfo=UTC)
SYSTEMS, CLASSES = ("cxnet", "cnncf-xr", "patch-vote", "two-step"), ("normal", "pneumonia", "covid19")
EACH = len(SYSTEMS) * len(CLASSES)
BATCH = 20_000
Rows = dict[type[Base], list[dict[str, Any]]]


def fill(database: Database, findings: int, seed: int = 1) -> None:
    """An empty database with so many findings, and what they stand on."""
    schema.migrate(database.engine)
    chance = random.Random(seed)
    pending: Rows = {}
    with database.engine.execution_options(lungnode_write=True).connect() as connection:
        for number in range(findings // EACH):
            for table, row in _analysis(number, chance):
                pending.setdefault(table, []).append(row)
            if len(pending[Finding]) >= BATCH:
                _write(connection, pending)
        _write(connection, pending)
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if database.engine.dialect.name == "postgresql":  # its own duty would do so within a minute
            connection.execute(text("VACUUM ANALYZE"))


def _write(connection: Any, pending: Rows) -> None:
    for kind in (Patient, Study, Series, Instance, Analysis, Finding, Output, Delivery):
        if rows := pending.pop(kind, []):
            table: Table = kind.__table__  # type: ignore[assignment]
            connection.execute(insert(table), rows)
    connection.commit()


def uid(number: int, part: int = 0) -> str:
    return f"1.2.826.0.1.3680043.2.1143.20.{number}.{part}"


def _analysis(number: int, chance: random.Random) -> Iterator[tuple[type[Base], dict[str, Any]]]:
    key, at = number + 1, BEGAN + timedelta(minutes=2 * number)
    aet = "RARE" if number % 5000 == 17 else f"CR_ROOM_{number % 49}"
    modality = "CT" if number % 20 == 0 else "DX"
    if number % 3 == 0:
        yield Patient, {"id": number // 3 + 1, "patient_id": f"P-{number // 3}", "issuer": "HOSPITAL"}
    times = {"first_received_at": at, "last_received_at": at, "opened_at": at}
    yield Study, {
        "id": key, "study_uid": uid(number), "patient_id": number // 3 + 1, "accession_number": f"A-{number}",
        "study_date": f"{at:%Y%m%d}", "modalities": modality, "state": "analysed", "open_associations": 0, **times,
    }  # fmt: skip
    yield Series, {
        "id": key, "series_uid": uid(number, 1), "study_id": key, "modality": modality, "description": "",
        "body_part": "CHEST",
    }  # fmt: skip
    image = {"series_uid": uid(number, 1), "sop_uid": uid(number, 2)}
    yield Instance, {
        "id": key, "sop_uid": uid(number, 2), "sop_class_uid": "1.2.840.10008.5.1.4.1.1.1.1", "series_id": key,
        "transfer_syntax_uid": "1.2.840.10008.1.2.1", "sha256": "0" * 64, "bytes": 1, "path": "", "view_position": "PA",
        "is_own_result": False, "origin_association": "a", "origin_aet": aet, "origin_address": "192.0.2.1",
        "received_at": at,
    }  # fmt: skip
    yield Analysis, {
        "id": key, "study_id": key, "job_key": str(number), "instance_set_digest": "0" * 64, "config_digest": "0" * 64,
        "outcome": "analysed", "reason": "", "superseded": number % 1000 == 3, "instances_used": 1,
        "instances_left_out": 0, "started_at": at, "analysed_at": at, "stage_seconds": "{}",
    }  # fmt: skip
    placed = {"analysis_id": key, "study_id": key, "analysed_at": at, "calling_aet": aet, "modality": modality}
    version = "1.0.0" if number % 100 < 70 else "1.1.0"
    for place in range(EACH):
        system, word = SYSTEMS[place // len(CLASSES)], CLASSES[place % len(CLASSES)]
        probability = chance.random()
        yield Finding, {
            **placed, **image, "id": number * EACH + place + 1, "system": system, "class": word,
            "model_version": version, "weights_sha256": "0" * 64, "code_value": "840539006", "code_scheme": "SCT",
            "code_meaning": word, "probability": probability, "threshold": 0.5, "decision": probability >= 0.5,
        }  # fmt: skip
    for part in range(2):
        output = number * 2 + part + 1
        yield Output, {
            "id": output, "analysis_id": key, "kind": ("sr", "sc")[part], "sop_uid": uid(number, 10 + part),
            "sop_class_uid": "1.2.840.10008.5.1.4.1.1.88.34", "series_uid": uid(number, 9), "sha256": "0" * 64,
            "path": "",
        }  # fmt: skip
        waits = number % 5000 == 4
        yield Delivery, {
            "id": output, "output_id": output, "destination": "PACS@192.0.2.9:104", "attempts": 1, "comment": "",
            "state": "waiting" if waits else "delivered", "owed_at": at, "last_attempt_at": at, "last_status": 0,
            "delivered_at": None if waits else at,
        }  # fmt: skip
