"""Fill the database of a node that does not run with stored studies, as intake, analysis and delivery leave them.

Rows only: the files need not exist for what is measured. CT studies of two series, and film studies of two films; each
analysed, with one report that was delivered. UIDs come in no order: neighbours in time are none in an index.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

from pydicom.uid import (
    PYDICOM_ROOT_UID,
    Comprehensive3DSRStorage,
    ComputedRadiographyImageStorage,
    CTImageStorage,
    ExplicitVRLittleEndian,
)
from sqlalchemy import Connection, Table, insert

from node.core.study import StudyState
from node.db import schema
from node.db.key_tables import SeriesKeys, StudyKeys
from node.db.session import Database, sqlite_url
from node.db.tables import Analysis, Base, Delivery, Instance, JobRow, Output, Patient, Series, Study

SLICES, FILMS_OF_STUDY = 190, 2  # of one series
CT_STUDIES_IN = 10  # every tenth study is a CT: 40 instances a study on average
STUDIES_OF_PATIENT = 3
BATCH = 500  # studies
BEGAN = datetime(2024, 1, 2, 10, tzinfo=UTC)
HOST = "127.0.0.1"


@dataclass(frozen=True)
class Made:
    """One study among many; everything of it follows from its number."""

    number: int

    @property
    def is_ct(self) -> bool:
        return self.number % CT_STUDIES_IN == 0

    @property
    def sizes(self) -> tuple[int, ...]:
        """Instances of each series."""
        return (SLICES, SLICES) if self.is_ct else (FILMS_OF_STUDY,)

    @property
    def first_series(self) -> int:
        """Its key: one series for each study before, and one more for each CT among them."""
        return 1 + self.number + -(-self.number // CT_STUDIES_IN)

    @property
    def patient(self) -> int:
        return 1 + self.number // STUDIES_OF_PATIENT

    @property
    def uid(self) -> str:
        return uid("study", self.number)

    @property
    def patient_id(self) -> str:
        return f"PID{self.patient:08d}"

    @property
    def accession_number(self) -> str:
        return f"ACC{self.number:09d}"

    @property
    def at(self) -> datetime:
        return BEGAN + timedelta(minutes=20 * self.number)  # 72 a day

    @property
    def date(self) -> str:
        return f"{self.at:%Y%m%d}"


def uid(*what: object) -> str:
    """64 characters, the same for the same words."""
    digest = hashlib.sha256(repr(what).encode()).digest()
    return f"{PYDICOM_ROOT_UID}1{int.from_bytes(digest[:15]):037d}"[:64]


def fill(data: Path, instances: int) -> list[Made]:
    """At least so many instances in the database of this data folder; what was made, oldest first."""
    data.mkdir(parents=True, exist_ok=True)
    database = Database(sqlite_url(data))
    schema.migrate(database.engine)
    made: list[Made] = []
    total = 0
    while total < instances:
        batch = [Made(number) for number in range(len(made), len(made) + BATCH)]
        with database.write() as session:
            _insert_batch(session.connection(), batch)
        total += sum(sum(one.sizes) for one in batch)
        made += batch
    with database.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()
    return made


def _insert_batch(connection: Connection, batch: list[Made]) -> None:
    series = [(one, number) for one in batch for number in range(len(one.sizes))]
    patients = {one.patient: one for one in batch if one.number % STUDIES_OF_PATIENT == 0}
    rows: list[tuple[type[Base], Iterator[dict[str, Any]]]] = [
        (Patient, ({"id": key, "patient_id": one.patient_id, "issuer": ""} for key, one in patients.items())),
        (Study, map(_study, batch)),
        (Series, (_series(*one) for one in series)),
        (Instance, (row for one in _shuffled(series) for row in _instances(*one))),
        (StudyKeys, map(_study_keys, batch)),
        (SeriesKeys, (_series_keys(*one) for one in series)),
        (SeriesKeys, map(_result_keys, batch)),
        (JobRow, (row for one in batch for row in _jobs(one))),
        (Analysis, map(_analysis, batch)),
        (Output, map(_output, batch)),
        (Delivery, map(_delivery, batch)),
    ]
    for table, values in rows:
        if of_table := list(values):
            connection.execute(insert(cast(Table, table.__table__)), of_table)


def _shuffled(series: list[tuple[Made, int]]) -> list[tuple[Made, int]]:
    """Studies arrive side by side."""
    return random.Random(series[0][0].number).sample(series, len(series))


def _key(one: Made) -> int:
    return one.number + 1


def _study(one: Made) -> dict[str, Any]:
    times = dict.fromkeys(("first_received_at", "last_received_at", "opened_at"), one.at)
    return {
        "id": _key(one), "study_uid": one.uid, "patient_id": one.patient, "accession_number": one.accession_number,
        "study_date": one.date, "modalities": "CT" if one.is_ct else "CR", "state": StudyState.ANALYSED, **times,
    }  # fmt: skip


def _series(one: Made, number: int) -> dict[str, Any]:
    return {
        "id": one.first_series + number, "series_uid": uid("series", one.number, number), "study_id": _key(one),
        "modality": "CT" if one.is_ct else "CR", "description": "Chest", "body_part": "CHEST",
    }  # fmt: skip


def _instances(one: Made, number: int) -> Iterator[dict[str, Any]]:
    sop_class = CTImageStorage if one.is_ct else ComputedRadiographyImageStorage
    side, stored = (512, 526_000) if one.is_ct else (2048, 8_390_000)
    for place in range(one.sizes[number]):
        sop_uid = uid("instance", one.number, number, place)
        digest = hashlib.sha256(sop_uid.encode()).hexdigest()
        yield {
            "sop_uid": sop_uid, "sop_class_uid": sop_class, "transfer_syntax_uid": ExplicitVRLittleEndian,
            "series_id": one.first_series + number, "sha256": digest, "bytes": stored,
            "path": f"received/{digest[:2]}/{digest}.dcm",
            "instance_number": place + 1, "view_position": "" if one.is_ct else "PA", "rows": side, "columns": side,
            "frames": None, "origin_association": f"{one.number:012x}", "origin_aet": "BENCH", "origin_address": HOST,
            "received_at": one.at,
        }  # fmt: skip


def _study_keys(one: Made) -> dict[str, Any]:
    return {
        "study_id": _key(one), "patient_name": f"Name{one.patient:06d}^Bench", "birth_date": "19600101", "sex": "O",
        "study_time": f"{one.at:%H%M%S}", "study_number": str(one.number), "description": "Chest",
    }  # fmt: skip


def _series_keys(one: Made, number: int) -> dict[str, Any]:
    return {
        "study_id": _key(one), "series_uid": uid("series", one.number, number), "is_result": False,
        "modality": "CT" if one.is_ct else "CR", "number": number + 1, "description": "Chest", "body_part": "CHEST",
        "series_date": one.date, "series_time": f"{one.at:%H%M%S}",
    }  # fmt: skip


def _result_keys(one: Made) -> dict[str, Any]:
    return {
        "study_id": _key(one), "series_uid": uid("reports", one.number), "is_result": True, "modality": "SR",
        "number": 9101, "description": "Report", "series_date": one.date, "series_time": f"{one.at:%H%M%S}",
    }  # fmt: skip


def _jobs(one: Made) -> Iterator[dict[str, Any]]:
    times = dict.fromkeys(("next_at", "created_at", "finished_at"), one.at)
    key = f"{one.uid} {hashlib.sha256(one.uid.encode()).hexdigest()}"
    for kind in ("analyse", "deliver"):
        yield {"kind": kind, "key": key, "subject_id": _key(one), "state": "done", **times}


def _analysis(one: Made) -> dict[str, Any]:
    digest = hashlib.sha256(one.uid.encode()).hexdigest()
    return {
        "id": _key(one), "study_id": _key(one), "job_key": f"{one.uid} {digest}", "instance_set_digest": digest,
        "config_digest": digest, "outcome": "analysed", "instances_used": sum(one.sizes), "instances_left_out": 0,
        "started_at": one.at, "analysed_at": one.at,
    }  # fmt: skip


def _output(one: Made) -> dict[str, Any]:
    sop_uid = uid("report", one.number)
    digest = hashlib.sha256(sop_uid.encode()).hexdigest()
    return {
        "id": _key(one), "analysis_id": _key(one), "kind": "report", "sop_uid": sop_uid,
        "sop_class_uid": Comprehensive3DSRStorage, "series_uid": uid("reports", one.number), "sha256": digest,
        "path": f"results/{digest[:2]}/{digest}.dcm",
    }  # fmt: skip


def _delivery(one: Made) -> dict[str, Any]:
    return {
        "output_id": _key(one), "destination": f"PACS@{HOST}:104", "state": "delivered", "attempts": 1,
        "last_attempt_at": one.at, "last_status": 0, "delivered_at": one.at,
    }  # fmt: skip
