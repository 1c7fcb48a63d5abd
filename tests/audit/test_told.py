"""Which changes of rows and which HTTP requests are told, how often, and that nothing is shown that cannot be told.

Not covered: the running node (tests/e2e/test_audit.py).
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Self

import pytest
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route

from node.composition.auditing import changes
from node.core import settings
from node.core.audit import AuditEvent
from node.core.errors import BadDataSet
from node.core.study import Origin
from node.db import audit
from node.pipeline.deliver import Deliver, Outcome
from node.pipeline.intake import Announced
from node.web.server import WebServer
from node.web.told import Told
from tests.films import Film, drawn
from tests.peers import LOOPBACK
from tests.pipeline.test_deliver import TAKEN, Peer, turn
from tests.pipeline.waiting import Room
from tests.web.test_api import NOTHING

PACS = "PACS@127.0.0.1:104"


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path)


def told(room: Room) -> list[tuple[str, str, str, str]]:
    """(kind, outcome, AE title, study), oldest first."""
    return [
        (str(row["kind"]), str(row["outcome"]), str(row["aet"]), str(row["study_uid"]))
        for row in room.rows("SELECT * FROM audit_events ORDER BY id")
    ]


def test_a_receipt_is_one_row_for_each_study_and_association(room: Room) -> None:
    first, second = Film(drawn(1, 64), "one", "a"), Film(drawn(2, 64), "two", "b")
    room.receive(first)
    for number in range(3):
        room.receive(Film(drawn(3 + number, 64), f"more {number}", "a"))
    room.receive(second)
    room.receive(first, "another association")  # known already: nothing is stored
    room.receive(Film(drawn(9, 64), "last", "a"), "another association")
    studies = [first.study_uid, second.study_uid, first.study_uid]
    assert told(room) == [("receipt", "success", "MODALITY", study) for study in studies]
    assert room.rows("SELECT count(*) AS n FROM instances") == [{"n": 6}]


def test_a_refusal_is_one_row_for_each_association_and_status(room: Room) -> None:
    for association, status in (("a", 0xC000), ("a", 0xC000), ("a", 0xA700), ("b", 0xC000)):
        announced, origin = Announced("1.2", "1.2", "1.2.3"), Origin(association, "MODALITY", "LUNGNODE", "127.0.0.1")
        room.intake.refuse(announced, origin, status, BadDataSet("It ends too early."))
    assert told(room) == [("refusal", "minor", "MODALITY", "")] * 3
    assert room.rows("SELECT count(*) AS n FROM refusals") == [{"n": 4}]


def test_an_analysis_and_each_delivery_that_came_to_an_end(room: Room) -> None:
    outputs = room.analysed([PACS])
    study = str(room.rows("SELECT study_uid FROM studies")[0]["study_uid"])
    away, wanted = Outcome(None, "Zebra did not answer", False), settings.load().delivery
    turn(Deliver(room.database, room.archive, wanted, Peer(away), room.clock, lambda: 1.0))
    before = [("receipt", "success", "MODALITY", study), ("analysis", "success", "", study)]
    assert told(room) == before  # tried again: no end yet
    room.clock.pass_by(100)
    turn(Deliver(room.database, room.archive, wanted, Peer(TAKEN), room.clock, lambda: 1.0))
    assert told(room) == before + [("delivery", "success", "PACS", study)] * len(outputs)
    details = [json.loads(str(row["details"])) for row in room.rows("SELECT details FROM audit_events WHERE id > 2")]
    assert {one["sop_instance_uid"] for one in details} == set(outputs) and "Zebra" not in json.dumps(details)
    with room.database.write() as session:
        audit.chain(session)
        assert audit.verify(session).problem == ""


class Listener:
    def __init__(self) -> None:
        self.heard: list[AuditEvent] = []
        self.works = True
        self.seconds = 1000.0

    def __call__(self, event: AuditEvent) -> None:
        if not self.works:
            raise OSError("full")
        self.heard.append(event)


class Web:
    """The node's web server with pages of the test."""

    def __init__(self, listener: Listener) -> None:
        middleware = Middleware(Told, tell=listener, dicomweb="/dicom-web", seconds=lambda: listener.seconds)
        self.server = WebServer(NOTHING, LOOPBACK, 0, pages(), [middleware])

    def __enter__(self) -> Self:
        self.server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.stop()

    def get(self, path: str, method: str = "GET") -> tuple[int, str]:
        request = urllib.request.Request(f"http://{LOOPBACK}:{self.server.port}{path}", method=method)
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()


def pages() -> list[Route]:
    def answer(_: object) -> PlainTextResponse:
        return PlainTextResponse("shown")

    def missing(_: object) -> PlainTextResponse:
        return PlainTextResponse("not here", 404)

    def streamed(_: object) -> StreamingResponse:
        return StreamingResponse(iter([b"shown"] * 3))

    return [
        Route("/dicom-web/studies/1.2.9/metadata", missing),
        Route("/dicom-web/studies/{study}/rendered", streamed),
        Route("/{rest:path}", answer, methods=["GET", "POST"]),
    ]


def test_requests_that_show_something_are_told() -> None:
    listener = Listener()
    with Web(listener) as web:
        for path in ("/health/live", "/viewer/index.html", "/api/v1/openapi.json", "/dicom-web/studies/1.2.9/metadata"):
            web.get(path)
        web.get("/dicom-web/studies", "POST")  # an upload: told by receipt
        web.get("/api/v1/analyses/1/verdict", "POST")  # told with the verdict
        assert listener.heard == []
        web.get("/api/v1/results?patient_id=Zebra")
        web.get("/dicom-web/studies?PatientName=Zebra&limit=3")
        web.get("/dicom-web/studies/1.2.3/series/1.2/instances")
    assert [(one.kind, one.study_uid) for one in listener.heard] == [("api", ""), ("query", ""), ("query", "1.2.3")]
    assert listener.heard[1].details["keys"] == ["PatientName", "limit"]
    assert "Zebra" not in str(listener.heard)


def test_a_study_that_is_looked_at_is_one_row_a_minute() -> None:
    listener = Listener()
    with Web(listener) as web:
        for seconds in (0, 30, 59, 61, 62):
            listener.seconds = 1000.0 + seconds
            web.get("/dicom-web/studies/1.2.3/series/1.2/instances/1.3/frames/1")
            web.get("/dicom-web/studies/1.2.4/metadata")
    assert [one.study_uid for one in listener.heard] == ["1.2.3", "1.2.4"] * 2
    assert {one.kind for one in listener.heard} == {"view"}


@pytest.mark.parametrize("path", ["/api/v1/results", "/dicom-web/studies", "/dicom-web/studies/1.2.3/rendered"])
def test_what_cannot_be_told_is_not_shown(path: str) -> None:
    listener = Listener()
    listener.works = False
    with Web(listener) as web:
        status, text = web.get(path)
    assert status == 503 and "shown" not in text and "audit trail" in json.loads(text)["detail"]


def test_settings_that_differ_are_told_with_both_values() -> None:
    before = {"node": {"aet": "A", "workers": 1}, "analysis": {"selection": "/a"}, "gone": {"key": 1}}
    after = {"node": {"aet": "B", "workers": 1}, "analysis": {"selection": "/b"}, "new": {"list": (1, 2)}}
    assert changes(before, after) == {"node.aet": ["A", "B"], "gone.key": [1, None], "new.list": [None, [1, 2]]}
    assert changes(None, after) == {}
    effective = settings.as_tree(settings.load())
    assert changes(json.loads(json.dumps(effective)), effective) == {}
