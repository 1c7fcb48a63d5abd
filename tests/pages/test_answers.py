"""What the pages answer, without a browser: who sees what, errors in words, nothing that a script could come in by.

Rows are made up and have no images. Not covered: how pages look and what their scripts do (``test_person``), login.
"""

from __future__ import annotations

import base64
import dataclasses
import io
import re
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from sqlalchemy import insert, update

from node.archive import Archive
from node.core import settings
from node.core.destination import Objects
from node.db import study_page, worklist
from node.db.queries import pages as rows
from node.db.queries.resources import AUDIT
from node.db.tables import Instance, LesionRow, Series
from node.pipeline import canvas
from node.web.pages import effective, words
from node.web.pages.images import Images
from tests.bench import ledger
from tests.pages.frame import Pages
from tests.peers import wait_until

HOSTILE = "<script>alert(1)</script>^\"onload='x'"
STUDY = f"/studies/{ledger.uid(1)}"
EVERY = (
    "/studies", STUDY, "/upload", "/models", "/models/cxnet", "/reports", "/destinations", "/settings", "/audit",
)  # fmt: skip
INLINE = re.compile(r"<script(?![^>]*\bsrc=)(?![^>]*application/json)|\sstyle=|\son[a-z]+=|javascript:", re.I)


def told(pages: Pages, kind: str) -> list[str]:
    """Study UIDs of the events of a kind, newest first."""
    place = AUDIT.names.index("study_uid")
    with pages.database.read() as session:
        return [str(row[place]) for row in rows.page(session, AUDIT, {"kind": kind}, "-id").rows]


def test_every_page_answers_within_a_strict_policy(pages: Pages) -> None:
    pages.name(1, HOSTILE)
    for path in EVERY:
        answer = pages.get(path)
        assert answer.status_code == 200, path
        policy = answer.headers["content-security-policy"]
        assert "unsafe" not in policy and "default-src 'none'" in policy
        assert answer.headers["cache-control"] == "no-store"
        assert not INLINE.search(answer.text), (path, INLINE.search(answer.text))
        assert "Research use only, not for diagnosis." in answer.text
    assert pages.get("/").headers["location"] == "/studies"


def test_a_hostile_name_is_words(pages: Pages) -> None:
    pages.name(1, HOSTILE)
    for path in ("/studies", "/studies/rows", STUDY):
        text = pages.get(path).text
        assert "<script>alert" not in text
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text


def test_a_study_of_which_a_part_came_again_after_its_removal(pages: Pages) -> None:
    """What was found stands; slices that it was found in are no longer here."""
    with pages.database.write() as session:
        session.execute(update(Series).where(Series.id == 2).values(modality="CT"))
        session.execute(update(Instance).where(Instance.id == 2).values(rows=8, columns=8, frames=2))
        found = dict.fromkeys(("x_px", "y_px", "x_unit", "y_unit", "area_px", "major_axis_px", "minor_axis_px"), 1.0)
        found |= dict.fromkeys(("angle_deg", "peak_heat", "lung_share"), 0.5)
        named = {"series_uid": "1.2", "system": "cxnet", "class": "covid19", "tracking_uid": "1.3", "calling_aet": "CT"}
        whole = {**found, **named, "analysis_id": 2, "study_id": 2, "analysed_at": ledger.BEGAN, "dbscan_size": 3,
                 "inside_lung": True, "number": 1}  # fmt: skip
        foci = [{**whole, "sop_uid": ledger.uid(1, 2), "frame": 2}, {**whole, "sop_uid": "1.2.9", "frame": None}]
        session.execute(insert(LesionRow.__table__), foci)  # type: ignore[arg-type]
    answer = pages.get(STUDY)
    assert answer.status_code == 200
    assert re.findall(r'COVID-19</td><td class="number">(\w+)</td><td class="number">1<', answer.text) == ["2", "gone"]


@pytest.mark.parametrize(
    ("role", "sees", "not_for_them"),
    [
        ("reader", {"/studies", "/models", "/reports"}, {"/upload", "/destinations", "/settings", "/audit"}),
        ("auditor", {"/audit", "/models", "/reports", "/settings", "/destinations"}, {"/studies", STUDY, "/upload"}),
        ("operator", {"/studies", "/upload", "/destinations", "/settings"}, {"/audit"}),
    ],
)
def test_roles_see_their_pages_alone(pages: Pages, role: str, sees: set[str], not_for_them: set[str]) -> None:
    pages.name(1, "Hidden^Name")
    pages.roles(role)
    for path in sees:
        answer = pages.get(path)
        assert answer.status_code == 200, path
        offered = set(re.findall(r'<li><a href="(/\w+)"', answer.text))
        assert not offered & not_for_them and sees & offered
    for path in not_for_them:
        answer = pages.get(path)
        assert answer.status_code == 403, path
        assert "<h1>Forbidden</h1>" in answer.text and "Hidden" not in answer.text


def test_what_only_looks_cannot_act(pages: Pages) -> None:
    pages.roles("reader")
    assert "Analyse again" not in pages.get(STUDY).text
    assert pages.post(f"{STUDY}/again").status_code == 403
    pages.roles("auditor")
    assert "Pause" not in pages.get("/destinations").text
    assert pages.post("/destinations", action="pause", of="PACS@192.0.2.9:104").status_code == 403


def cursor(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode()


EARLY = '["0001-01-01T00:00:00+14:00", 1]'  # there is no such moment in UTC
MISTAKES = (
    ("/nothing", 404, "There is no such page here."),
    ("/studies/1.2.3", 404, "There is no such study here."),
    ("/studies/..%2Fetc", 404, "There is no such page here."),
    ("/static/%00", 404, "There is no such page here."),
    ("/studies/not-a-uid", 404, "There is no such study here."),
    ("/studies?state=lost", 400, "There is no such state of a study."),
    ("/studies?day=yesterday", 400, "A day is written as 2026-01-31."),
    ("/studies?day=2026-1-1", 400, "A day is written as 2026-01-31."),
    ("/studies?after=AAAA", 400, "This page of the list does not exist"),
    (f"/studies?after={cursor(EARLY)}", 400, "This page of the list does not exist"),
    (f"/studies?after={cursor('[' * 40_000)}", 400, "This page of the list does not exist"),
    (f"/audit?cursor={cursor('[' * 40_000)}", 400, "it is not one that a page in this order gave"),
    ("/models/none", 404, "There is no such model here."),
    ("/reports?days=5", 400, "There are reports of 7, 30, 90 days."),
    ("/audit?since=soon", 400, "is not a time like"),
    (f"/studies/{ledger.uid(1)}/layers/3/1.2/1", 404, "There is no such analysis of this study."),
    (f"/studies/{ledger.uid(1)}/layers/{'9' * 20}/1.2/1", 404, "There is no such page here."),
    (f"/studies/{ledger.uid(1)}/images/1.2/1.3/{'9' * 5000}/values", 404, "There is no such object in this study."),
    (f"/studies/{ledger.uid(1)}/files/1.2/1.3", 404, "There is no such object in this study."),
)


def test_errors_are_pages_in_words(pages: Pages) -> None:
    for path, status, sentence in MISTAKES:
        answer = pages.get(path)
        assert answer.status_code == status, path
        assert sentence in answer.text and "<h1>" in answer.text
        program = pages.client.get(path, headers={"Accept": "application/json"})
        assert program.status_code == status and sentence in program.json()["detail"]


def test_a_fault_of_ours_is_told_without_its_text(
    pages: Pages, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("Hidden^Name")

    monkeypatch.setattr(worklist, "page", broken)
    answer = pages.get("/studies")
    assert answer.status_code == 500 and "Hidden" not in answer.text and "page.failed" in answer.text
    assert [record.message for record in caplog.records if record.name.startswith("node.web")] == ["page.failed"]


def test_pages_do_not_wait_for_pictures(pages: Pages, monkeypatch: pytest.MonkeyPatch) -> None:
    going_on, begun = threading.Event(), list[int]()

    def slowly(*_: object) -> bytes:
        begun.append(1)
        assert going_on.wait(60)
        return b"a picture"

    monkeypatch.setattr(Images, "_frame", lambda *_: (Path(), 0))
    monkeypatch.setattr(canvas, "picture", slowly)
    most, path = settings.load().dicomweb.most_renderings, f"{STUDY}/images/1.2/1.3/1/picture/small"
    with ThreadPoolExecutor(60) as pool:
        asked = [pool.submit(httpx.get, f"{pages.client.base_url}{path}", timeout=60) for _ in range(60)]
        try:
            wait_until(lambda: len(begun) >= most, 30, "pictures are being made")
            assert pages.get("/studies/rows").status_code == 200
            made = len(begun)
        finally:
            going_on.set()
        said = [one.result().status_code for one in asked]
    assert made == most and set(said) <= {200, 503} and said.count(200) >= most


def test_results_come_as_one_archive_or_a_sentence(
    pages: Pages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = {"1.2.3": b"one", "1.2.4": b"another"}
    files = [("summary", uid, Archive(tmp_path / "archive").put_bytes(uid, of_it)) for uid, of_it in content.items()]
    monkeypatch.setattr(study_page, "files_of_results", lambda *_: files)
    with zipfile.ZipFile(io.BytesIO(pages.get(f"{STUDY}/results.zip").content)) as whole:
        assert {name: whole.read(name) for name in whole.namelist()} == {
            f"summary/{uid}.dcm": of_it for uid, of_it in content.items()
        }
    monkeypatch.setattr(Archive, "has_room", lambda *_: False)
    answer = pages.get(f"{STUDY}/results.zip")
    assert answer.status_code == 503 and "no room" in answer.text and answer.headers["Retry-After"]
    assert not list((tmp_path / "archive" / "tmp").iterdir()), "nothing is left of what was put together"
    (tmp_path / "archive" / files[0][2]).unlink()
    answer = pages.get(f"{STUDY}/results.zip")
    assert answer.status_code == 404 and "gone from the archive" in answer.text


def test_a_patient_is_looked_for_by_a_form_and_never_in_a_url(pages: Pages) -> None:
    pages.name(1, "Sought^Name")
    found = pages.post("/studies", person="sought")
    assert found.status_code == 200 and "Sought, Name" in found.text
    assert not re.search(r'(href|action|data-live)="[^"]*(?i:sought)', found.text)
    assert "data-live" not in found.text
    assert pages.post("/studies", person="nobody at all").text.count("<tr>") == 0
    assert pages.post("/studies", person="x" * 65).status_code == 400


def test_rows_that_did_not_change_are_not_sent_again(pages: Pages) -> None:
    first = pages.get("/studies/rows")
    tag = first.headers["etag"]
    again = pages.client.get("/studies/rows", headers={"If-None-Match": tag})
    assert (again.status_code, again.text) == (304, "")
    pages.name(1, "Now^Known")
    assert pages.client.get("/studies/rows", headers={"If-None-Match": tag}).status_code == 200


def test_views_of_a_patient_are_in_the_trail(pages: Pages) -> None:
    for _ in range(2):
        pages.get("/studies")
        pages.get("/studies/rows")
        for path in ("", "/progress", "/state"):
            pages.get(STUDY + path)
    assert told(pages, "view") == [ledger.uid(1)]
    assert len(told(pages, "query")) == 1
    pages.post("/studies", person="P-1")
    assert len(told(pages, "query")) == 2


def test_what_an_operator_did_is_in_the_trail_and_done(pages: Pages) -> None:
    to = "PACS@192.0.2.9:104"
    assert pages.post("/destinations", action="pause", of=to).status_code == 303
    assert "paused since" in pages.get("/destinations").text.lower()
    assert pages.post("/destinations", action="resume", of=to).status_code == 303
    assert "paused since" not in pages.get("/destinations").text.lower()
    assert pages.post("/destinations", action="explode", of=to).status_code == 400
    assert pages.post("/destinations", action="pause", of="OTHER@192.0.2.9:104").status_code == 400
    assert pages.post(f"{STUDY}/again").status_code == 303
    assert "An operator asked for another analysis." in pages.get(STUDY).text
    assert pages.post(f"{STUDY}/again").status_code == 409  # it is on its way
    assert len(told(pages, "command")) == 4


def test_a_verdict_is_kept_and_names_nobody(pages: Pages) -> None:
    pages.name(1, "Speaking^Name")
    given = {"analysis": "2", "verdict": "disagree"}
    assert pages.post(f"{STUDY}/verdict", **given, comment="an old scar").status_code == 303
    assert "an old scar" in pages.get(STUDY).text
    assert pages.post(f"{STUDY}/verdict", **given, comment="Speaking has a scar").status_code == 400
    assert pages.post(f"{STUDY}/verdict", analysis="1", verdict="agree").status_code == 409
    assert told(pages, "verdict") == [ledger.uid(1)]


def test_no_secret_is_drawn() -> None:
    assert effective.shown("authorization", "Bearer secret") == effective.HIDDEN
    assert effective.shown("authorization", "env:PACS_AUTHORIZATION") == "env:PACS_AUTHORIZATION"
    assert effective.shown("url", "postgresql://node:secret@db.example/node") == "postgresql://node:***@db.example/node"
    usual = settings.load()
    peer = dataclasses.replace(usual.objects, authorization="Basic c2VjcmV0")
    assert isinstance(peer, Objects)
    found = effective.shown("destinations", {"https://pacs.example/dicom-web": dataclasses.asdict(peer)})
    assert "c2VjcmV0" not in found and effective.HIDDEN in found


def test_names_and_numbers_as_people_read_them() -> None:
    assert words.person("Müller^Anna^Maria=ミュラー") == "Müller, Anna Maria"
    assert words.person("=山田^太郎") == "山田, 太郎"
    assert (words.person("^^"), words.person("Solo")) == ("", "Solo")
    assert (words.date("20260131"), words.date("2026")) == ("2026-01-31", "2026")
    assert (words.unit("10*3/uL"), words.unit("{pixels}"), words.unit("1")) == ("10³/µL", "pixels", "")
    assert words.measure("median_mae_crp") == "Mean error of always saying the median: crp"
