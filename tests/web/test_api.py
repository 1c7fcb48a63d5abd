"""The HTTP API over a real server: forms, paging, verdicts, what is refused; OpenAPI holds for every answer.

Not covered: what each filter means (tests/db/test_queries.py), who may ask (it stands before these routes).
"""

from __future__ import annotations

import base64
import csv
import io
import json
import logging
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema
import pyarrow.parquet
import pytest
from sqlalchemy import insert, text, update

from node.core import log, tabular
from node.core.audit import AuditEvent
from node.db import audit
from node.db.key_tables import StudyKeys
from node.db.queries.resources import RESOURCES
from node.db.session import Database, sqlite_url
from node.db.tables import LesionRow, Patient
from node.web.api import openapi
from node.web.api.routes import Api
from node.web.server import Vitals, WebServer
from tests.admitted import everybody_here, token
from tests.bench import ledger
from tests.peers import LOOPBACK

NOTHING = Vitals(list, dict)
FORMULA = "=HYPERLINK(1)"


@dataclass(frozen=True)
class Said:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Node:
    def __init__(self, folder: Path) -> None:
        self.database = Database(sqlite_url(folder), durable=False)
        ledger.fill(self.database, 480)
        with self.database.write() as session:
            session.execute(update(Patient).where(Patient.id == 1).values(patient_id=FORMULA, issuer="\x1b[31m+1"))
            session.add(StudyKeys(study_id=1, patient_name="Zebra^Quagga", birth_date="18770317"))
            session.execute(insert(LesionRow), _lesion())
            audit.append(session, AuditEvent("start"), ledger.BEGAN)
        clock = datetime(2026, 1, 1, tzinfo=UTC)
        routes, before = Api(self.database, lambda: clock).routes(), everybody_here(self.database)
        self.web = WebServer(NOTHING, LOOPBACK, 0, routes, before)
        self.web.start()

    def get(self, path: str, accept: str = "*/*", body: object = None, **query: str) -> Said:
        url = f"http://{LOOPBACK}:{self.web.port}{path}" + (f"?{urllib.parse.urlencode(query)}" if query else "")
        headers = {"Accept": accept} | ({"Content-Type": "application/json"} if body is not None else {})
        data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        try:
            with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=20) as answer:
                return Said(answer.status, dict(answer.headers), answer.read())
        except urllib.error.HTTPError as error:
            return Said(error.code, dict(error.headers), error.read())


def _lesion() -> dict[str, Any]:
    with_numbers = {column.name: 0.5 for column in LesionRow.__table__.columns if str(column.type) == "FLOAT"}
    return {
        **with_numbers, "x_mm": None, "y_mm": None, "analysis_id": 1, "study_id": 1, "analysed_at": ledger.BEGAN,
        "calling_aet": "CR_ROOM_0", "series_uid": ledger.uid(0, 1), "sop_uid": ledger.uid(0, 2), "system": "cxnet",
        "class_name": "covid19", "number": 1, "tracking_uid": "1.2.3", "dbscan_size": 9, "inside_lung": True,
        "frame": None,
    }  # fmt: skip


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    made = Node(tmp_path_factory.mktemp("api"))
    yield made
    made.web.stop()
    made.database.close()


@pytest.mark.parametrize("name", [*RESOURCES, "aggregate"])
def test_every_form_says_the_same_and_as_openapi_has_it(node: Node, name: str) -> None:
    said = node.get(f"/api/v1/{name}")
    assert (said.status, said.headers["content-type"]) == (200, "application/json")
    rows = said.json()["rows"]
    assert rows
    document = openapi.document()
    schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
    for row in rows:
        jsonschema.Draft202012Validator(schema).validate(row)
    table = list(csv.DictReader(io.StringIO(node.get(f"/api/v1/{name}", "text/csv").body.decode())))
    assert len(table) == len(rows) and list(table[0]) == list(rows[0])
    parquet = pyarrow.parquet.read_table(io.BytesIO(node.get(f"/api/v1/{name}", format="parquet").body)).to_pylist()
    assert [{key: tabular.plain(value) for key, value in row.items()} for row in parquet] == rows


def test_the_next_link_leads_through_all_of_it_by_url_and_by_body(node: Node) -> None:
    path, by_url = "/api/v1/results?class=covid19&limit=17", []
    while path:
        said = node.get(path)
        by_url += said.json()["rows"]
        link = said.headers.get("link", "")
        path = said.json()["next"]
        assert link == (f'<{path}>; rel="next"' if path else "")
    wanted: dict[str, Any] = {"class": "covid19", "limit": 50, "patient_id": "P-3"}
    by_body = node.get("/api/v1/results", body=wanted).json()["rows"]
    assert len(by_url) == 480 / 3 - 4  # an analysis is superseded
    assert by_body == [row for row in by_url if row["patient_id"] == "P-3"] and by_body


def test_a_cell_that_a_spreadsheet_would_run_is_only_text(node: Node) -> None:
    said = node.get("/api/v1/analyses", "text/csv", study=ledger.uid(0))
    (row,) = csv.DictReader(io.StringIO(said.body.decode()))
    assert row["patient_id"] == f"'{FORMULA}" and row["issuer"] == "\ufffd[31m+1"
    for cell in ("=1", "+1", "-1", "@x", " =1", "\t=1", "\r=1", "\n@x"):
        line = tabular.as_csv(["a"], [[cell]]).splitlines()[1]
        assert line.strip('"')[0] in "'\ufffd"


WRONG = {
    "/api/v1/results?since=yesterday": (400, "since: 'yesterday' is not a time like"),
    "/api/v1/results?speed=1": (400, "speed is no filter here; there are since, until"),
    "/api/v1/results?min_probability=2": (400, "min_probability: '2' is not a probability from 0 to 1"),
    "/api/v1/results?class=a&class=b": (400, "class: it is given twice"),
    "/api/v1/results?limit=0": (400, "limit: '0' is not a number from 1 to 10000"),
    "/api/v1/results?sort=speed": (400, "sort: 'speed' is none of -analysed_at, analysed_at"),
    "/api/v1/results?cursor=x": (400, "cursor: it is not one"),
    "/api/v1/results?cursor=WyItYW5hbHlzZWRfYXQiLCAwLjUsIDFd": (400, "cursor: it is not one"),
    "/api/v1/results?format=xml": (400, "format: 'xml' is none of json, csv, parquet"),
    "/api/v1/aggregate?by=moon": (400, "by: 'moon' is none of day, system"),
    "/api/v1/results?issuer=A": (400, "issuer: it narrows patient_id"),
    "/api/v1/analyses/99/verdicts": (404, "There is no analysis 99."),
    "/api/v1/analyses/99999999999999999999/verdicts": (404, "There is no analysis"),
    f"/api/v1/analyses/{'9' * 5000}/verdicts": (404, "There is no analysis 999"),
    f"/api/v1/results?cursor={base64.urlsafe_b64encode(b'[' * 40_000).decode()}": (400, "cursor: it is not one"),
}


@pytest.mark.parametrize("path", WRONG)
def test_what_is_refused_is_named_in_a_sentence(node: Node, path: str) -> None:
    status, sentence = WRONG[path]
    said = node.get(path)
    assert said.headers["content-type"] == "application/problem+json"
    assert said.status == said.json()["status"] == status and sentence in said.json()["detail"]


def test_bodies_that_are_no_question_are_refused(node: Node) -> None:
    for body in (b"", b"[]", b"{", b'{"class": []}', b'{"class": "\\ud800"}', b'{"class": "a\\u0000"}', b"[" * 60_000):
        assert node.get("/api/v1/results", body=body).status == 400
    assert node.get("/api/v1/results", body=b" " * 70_000).status == 413
    assert node.get("/api/v1/results?class=a", body={}).status == 400
    assert node.get("/api/v1/results", accept="image/png").status == 406


def test_without_pyarrow_parquet_is_refused_with_what_to_do(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tabular, "has_parquet", lambda: False)
    for said in (node.get("/api/v1/results", format="parquet"), node.get("/api/v1/results", openapi.PARQUET)):
        assert said.status == 406 and "lungnode[parquet]" in said.json()["detail"]


def test_a_reader_s_newest_word_stands_and_can_be_asked_for(node: Node) -> None:
    for verdict in ("agree", "disagree"):
        given = {"reader": "reader-7", "verdict": verdict, "comment": "an old scar"}
        assert node.get("/api/v1/analyses/2/verdict", body=given).status == 201
    node.get("/api/v1/analyses/2/verdict", body={"reader": "reader-8", "verdict": "unsure"})
    said = node.get("/api/v1/analyses/2/verdicts").json()["rows"]
    assert [(one["reader"], one["verdict"], one["comment"]) for one in said] == [
        ("reader-7", "disagree", "an old scar"), ("reader-8", "unsure", ""),
    ]  # fmt: skip
    found = node.get("/api/v1/analyses", verdict="disagree").json()["rows"]
    assert [row["id"] for row in found] == [2] and node.get("/api/v1/analyses", verdict="agree").json()["rows"] == []


def test_who_logged_in_speaks_for_themselves(node: Node) -> None:
    secret = token(node.database, "judge")
    for given, status in (({"verdict": "agree"}, 201), ({"verdict": "agree", "reader": "reader-7"}, 403)):
        asked = urllib.request.Request(
            f"http://{LOOPBACK}:{node.web.port}/api/v1/analyses/3/verdict",
            json.dumps(given).encode(),
            {"Content-Type": "application/json", "Authorization": f"Bearer {secret}"},
        )
        try:
            with urllib.request.urlopen(asked, timeout=20) as answer:
                found = answer.status
        except urllib.error.HTTPError as error:
            found = error.code
        assert found == status
    (said,) = node.get("/api/v1/analyses/3/verdicts").json()["rows"]
    assert said["reader"].startswith("user-")


def test_a_verdict_that_cannot_be_kept_is_refused(node: Node) -> None:
    good = {"reader": "reader-7", "verdict": "agree"}
    for wrong in (
        {"reader": "Dr. Who"}, {"verdict": "maybe"}, {"comment": "x" * 501}, {"speed": 1}, {"reader": ""},
        {"comment": "as ZEBRA had before"}, {"comment": "born 18770317"}, {"comment": "see A-0"}, {"reader": "quagga"},
    ):  # fmt: skip
        assert node.get("/api/v1/analyses/1/verdict", body=good | wrong).status == 400, wrong
    assert node.get("/api/v1/analyses/99/verdict", body=good).status == 404
    assert node.get("/api/v1/analyses/1/verdicts").json()["rows"] == []


def test_openapi_names_every_filter_and_its_examples_are_answered(node: Node) -> None:
    document = node.get("/api/v1/openapi.json").json()
    assert document == json.loads(json.dumps(openapi.document())) and document["openapi"] == "3.1.0"
    for name, resource in RESOURCES.items():
        parameters = document["paths"][f"/api/v1/{name}"]["get"]["parameters"]
        assert {one["name"] for one in parameters} == {*resource.filters, "sort", "limit", "cursor", "format"}
        for one in parameters:
            jsonschema.Draft202012Validator.check_schema(one["schema"])
            if "example" in one and one["name"] != "issuer":
                assert node.get(f"/api/v1/{name}", **{one["name"]: str(one["example"])}).status == 200, one
    for schema in document["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)


def test_a_database_that_does_not_answer_is_503_and_nothing_identifying_is_logged(tmp_path: Path) -> None:
    lines = io.StringIO()
    log.start("debug", lines)
    node = Node(tmp_path)
    try:
        node.get("/api/v1/results", patient_id="MARKER-1", accession="MARKER-2")
        with node.database.write() as session:
            session.execute(text("ALTER TABLE study_keys RENAME TO lost"))
        body = {"reader": "reader-7", "verdict": "agree", "comment": "MARKER-1"}
        said = node.get("/api/v1/analyses/1/verdict", body=body)
        assert said.status == 503 and "try again" in said.json()["detail"]
    finally:
        node.web.stop()
        logging.getLogger().handlers.clear()
    assert "api.not_answered" in lines.getvalue() and "MARKER" not in lines.getvalue()
