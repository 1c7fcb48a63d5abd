"""STOW-RS: what is stored, what is refused and why, and senders that lie, break off or fall silent.

Not covered: a request of gigabytes (tests/e2e/test_dicomweb.py); kills while an upload runs, which end as those of a
C-STORE do (tests/faults): the same intake writes both.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from dicomweb_client import DICOMwebClient
from pydicom import Dataset, dcmread
from pydicom.encaps import get_frame

from node.core.errors import BadDataSet, Conflict, InternalError, NotAccepted, OutOfResources
from node.pipeline.header import MismatchError
from node.web.dicomweb.reasons import SyntaxNotAccepted
from node.web.dicomweb.store import answered
from node.web.dicomweb.upload import Outcome
from tests.dicomweb.conftest import SYNTAXES, film_in
from tests.dicomweb.site import PREFIX, Answered, Site, as_file, message, site
from tests.films import MARKER, Film, drawn, uid, wrap
from tests.peers import LOOPBACK, wait_until

JSON = "application/dicom+json"


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Site]:
    with site(tmp_path, {("dicomweb", "silent_seconds"): 1.5, ("dicomweb", "most_upload_bytes"): 4 << 20}) as running:
        yield running


@pytest.fixture(scope="module")
def refusing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """For messages of which nothing is ever kept."""
    with site(tmp_path_factory.mktemp("refusing")) as running:
        yield running


def film(seed: str, study: str = "stow", size: int = 64) -> Dataset:
    return wrap(Film(drawn(1, size), seed, study=study))


def stored(web: Site) -> set[str]:
    return {str(row["sop_uid"]) for row in web.rows("SELECT sop_uid FROM instances")}


def reasons(answered: Answered) -> dict[str, int]:
    failed = answered.json().get("00081198", {}).get("Value", [])
    return {one["00081155"]["Value"][0]: one["00081197"]["Value"][0] for one in failed}


def nothing_is_left(web: Site) -> bool:
    """No temporary file, nobody on the board."""
    return not list((web.archive.root / "tmp").iterdir()) and not web.board.open_studies()


def test_what_is_stored_is_what_was_sent(web: Site) -> None:
    sent = [film_in(name) for name in SYNTAXES]
    answered = web.post([as_file(ds) for ds in sent])
    assert answered.status == 200
    model = answered.json()
    study = sent[0].StudyInstanceUID
    assert model["00081190"]["Value"] == [f"{web.url}/studies/{study}"] and "00081198" not in model
    named = {one["00081155"]["Value"][0]: one["00081190"]["Value"][0] for one in model["00081199"]["Value"]}
    assert set(named) == stored(web) == {str(ds.SOPInstanceUID) for ds in sent}
    for ds in sent:
        path = named[str(ds.SOPInstanceUID)].removeprefix(web.url)
        back = dcmread(BytesIO(web.get(path, "application/dicom; transfer-syntax=*").body))
        assert back == ds or np.array_equal(back.pixel_array, ds.pixel_array)
    assert nothing_is_left(web)


def test_the_same_again_is_a_success_and_other_bytes_are_not(web: Site) -> None:
    first = film("again")
    assert web.post([as_file(first)]).status == web.post([as_file(first)]).status == 200
    first.StudyDescription = "another"
    answered = web.post([as_file(first), as_file(film("new"))])
    assert answered.status == 202 and reasons(answered) == {str(first.SOPInstanceUID): 0x0111}
    assert stored(web) == {str(first.SOPInstanceUID), uid("instance", "new")}


def test_a_study_takes_its_own_alone(web: Site) -> None:
    own, other = film("own"), film("other", study="another")
    answered = web.post([as_file(own), as_file(other)], path=f"/studies/{own.StudyInstanceUID}")
    assert answered.status == 202 and reasons(answered) == {str(other.SOPInstanceUID): 0xA900}
    assert stored(web) == {str(own.SOPInstanceUID)}
    assert web.post([as_file(other)], path=f"/studies/{own.StudyInstanceUID}").status == 409
    assert web.post([as_file(other)], path="/studies/not-a-uid").status == 400


def test_parts_that_are_no_instances_have_reasons_of_their_own(web: Site) -> None:
    good, mismatch = as_file(film("good")), film("mismatch")
    mismatch.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    unknown = film("unknown")
    unknown.SOPClassUID = unknown.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.88.99999"
    cut = as_file(film("cut"))[:-100]
    mismatch.preamble, file = bytes(128), BytesIO()
    mismatch.save_as(file, enforce_file_format=False)
    answered = web.post([b"no dicom", good, file.getvalue(), as_file(unknown), cut, b"", b"\0" * 128 + b"DICM"])
    assert answered.status == 202 and stored(web) == {uid("instance", "good")}
    assert reasons(answered) == {
        "1.2.3.4": 0xA900, str(unknown.SOPInstanceUID): 0x0122, uid("instance", "cut"): 0xC000
    }  # fmt: skip
    assert [one["00081197"]["Value"] for one in answered.json()["0008119A"]["Value"]] == [[0xC000]] * 3
    assert len(web.rows("SELECT * FROM refusals")) == 6 and nothing_is_left(web)


@pytest.mark.parametrize(
    "error, reason, status",
    [
        (SyntaxNotAccepted("x"), 0xC122, 409),
        (MismatchError("x"), 0xA900, 409),
        (BadDataSet("x"), 0xC000, 409),
        (Conflict("x"), 0x0111, 409),
        (NotAccepted("x"), 0x0122, 409),
        (OutOfResources("x"), 0xA700, 503),
        (InternalError("x"), 0x0110, 409),
    ],
)
def test_each_error_has_its_reason(error: Any, reason: int, status: int) -> None:
    model, code = answered([Outcome("1.2", "1.3", error=error)], "http://x")
    assert model["00081198"]["Value"][0]["00081197"]["Value"] == [reason] and code == status
    assert answered([Outcome("1.2", "1.3", error=error), Outcome("1.2", "1.4", "1.5", "1.6")], "http://x")[1] == 202


def test_a_node_that_is_full_says_come_later(tmp_path: Path) -> None:
    with site(tmp_path, {("receive", "min_free_bytes"): 1 << 60}) as full:
        answered = full.post([as_file(film("full"))])
        assert answered.status == 503 and answered.headers["retry-after"]
        assert reasons(answered) == {uid("instance", "full"): 0xA700}


def test_senders_come_from_where_dicom_peers_may(tmp_path: Path) -> None:
    with site(tmp_path, {("limits", "calling_addresses"): ["10.9.8.0/24"]}) as far:
        answered = far.post([as_file(film("far"))])
        assert answered.status == 403 and answered.text == "This address may not store here.\n"
        assert far.get("/studies").status == 204 and not stored(far)


def test_json_with_bulk_data(web: Site) -> None:
    ds, other = film("json", size=96), film("json two")
    ds.add_new(0x00091001, "OB", b"inline")
    ds.add_new(0x00090010, "LO", "TEST")
    parts = [(JSON, "", json.dumps([_model(ds, "one"), _model(other, "two")]).encode())]
    parts += [("application/octet-stream", "two", other.PixelData), ("application/octet-stream", "one", ds.PixelData)]
    body, kind = message(parts, JSON)
    answered = web.ask("POST", "/studies", {"Content-Type": kind}, body)
    assert answered.status == 200, answered.text
    back = web.get(f"/studies/{ds.StudyInstanceUID}", "").parts()
    found = {str(one.SOPInstanceUID): one for one in (dcmread(BytesIO(content)) for _, content in back)}
    for sent in (ds, other):
        got = found[str(sent.SOPInstanceUID)]
        assert np.array_equal(got.pixel_array, sent.pixel_array)
        assert got.PatientName == sent.PatientName and got.ViewCodeSequence == sent.ViewCodeSequence
    assert nothing_is_left(web)


def test_json_with_a_compressed_frame(web: Site) -> None:
    plain, packed = film_in("explicit"), film_in("jls")
    frame = get_frame(packed.PixelData, 0, number_of_frames=1)
    parts = [(JSON, "", json.dumps([_model(packed, "pixels")]).encode()), ("image/jls", "pixels", frame)]
    body, kind = message(parts, JSON)
    assert web.ask("POST", "/studies", {"Content-Type": kind}, body).status == 200
    accept = 'multipart/related; type="application/dicom"; transfer-syntax=*'
    ((_, content),) = web.get(f"/studies/{packed.StudyInstanceUID}", accept).parts()
    back = dcmread(BytesIO(content))
    assert back.file_meta.TransferSyntaxUID == SYNTAXES["jls"]
    assert np.array_equal(back.pixel_array, plain.pixel_array)


def _model(ds: Dataset, name: str) -> dict[str, Any]:
    model: dict[str, Any] = ds.to_json_dict()
    model["7FE00010"] = {"vr": "OW", "BulkDataURI": name}
    return model


@pytest.mark.parametrize(
    "parts, status",
    [
        ([(JSON, "", b"{")], 400),
        ([(JSON, "", b"3")], 400),
        ([(JSON, "", b"[" * 100000)], 400),
        ([(JSON, "", b'[{"00080018": 5}]')], 409),
        ([(JSON, "", b'[{"7FE00010": {"vr": "OW", "BulkDataURI": "nowhere"}}]')], 409),
        ([(JSON, "", b"[5]")], 409),
        ([("application/octet-stream", "", b"x")], 400),
        ([("application/octet-stream", "a", b"x"), ("application/octet-stream", "a", b"y")], 400),
        ([], 400),
    ],
)
def test_json_that_is_none(refusing: Site, parts: list[tuple[str, str, bytes]], status: int) -> None:
    body, kind = message(parts, JSON)
    answered = refusing.ask("POST", "/studies", {"Content-Type": kind}, body)
    assert answered.status == status and nothing_is_left(refusing) and not stored(refusing)


@pytest.mark.parametrize(
    "kind, status",
    [
        ("", 415),
        ("application/dicom", 415),
        ("multipart/form-data; boundary=x", 415),
        ('multipart/related; type="application/dicom+xml"; boundary=x', 415),
        ('multipart/related; type="application/zip"; boundary=x', 415),
        ('multipart/related; type="application/dicom"', 400),
        ('multipart/related; type="application/dicom"; boundary="a\\"b"', 400),
        ('multipart/related; type="application/dicom"; boundary=' + "x" * 200, 400),
    ],
)
def test_messages_that_are_not_taken(refusing: Site, kind: str, status: int) -> None:
    answered = refusing.ask("POST", "/studies", {"Content-Type": kind} if kind else {}, b"--x--\r\n")
    assert answered.status == status and answered.text.endswith(".\n")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--wrong\r\n\r\nx\r\n--wrong--\r\n",
        b"--x\r\nContent-Type: application/dicom\r\n\r\nhalf",
        b"--x\r\n" + b"a" * 100_000,
        b"--xyz\r\n\r\n\r\n--x--",
        b"--x\r\nno colon here\r\n\r\nx\r\n--x--\r\n",
        b"--x--\r\n",
        b"\r\n" * 50_000,
    ],
)
def test_multipart_that_is_broken(refusing: Site, body: bytes) -> None:
    kind = 'multipart/related; type="application/dicom"; boundary=x'
    answered = refusing.ask("POST", "/studies", {"Content-Type": kind}, body)
    assert answered.status == 400 and answered.text.endswith(".\n") and nothing_is_left(refusing)


def test_what_is_too_large_is_refused_before_and_while_it_comes(web: Site) -> None:
    body, kind = message([("application/dicom", "", as_file(film("large", size=1600)))], "application/dicom")
    assert len(body) > 4 << 20
    assert web.ask("POST", "/studies", {"Content-Type": kind}, body).status == 413
    chunked = iter([body[at : at + 65536] for at in range(0, len(body), 65536)])
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the answer came while we still sent
        assert web.ask("POST", "/studies", {"Content-Type": kind}, chunked).status == 413
    assert not stored(web) and nothing_is_left(web)


def _raw(web: Site, body: bytes, declared: int, kind: str) -> socket.socket:
    connection = socket.create_connection((LOOPBACK, web.port), timeout=20)
    head = [f"POST {PREFIX}/studies HTTP/1.1", f"Host: {LOOPBACK}", f"Content-Type: {kind}"]
    connection.sendall("\r\n".join([*head, f"Content-Length: {declared}", "", ""]).encode() + body)
    return connection


def test_a_client_that_goes_away_leaves_nothing_half(web: Site) -> None:
    whole, half = as_file(film("whole")), as_file(film("half", size=400))
    body, kind = message([("application/dicom", "", whole), ("application/dicom", "", half)], "application/dicom")
    connection = _raw(web, body[: len(body) - 200_000], len(body), kind)
    connection.close()
    wait_until(lambda: nothing_is_left(web), 10, "nothing is left of the upload")
    assert stored(web) <= {uid("instance", "whole")}
    assert web.post([whole, half]).status == 200 and len(stored(web)) == 2


def test_a_silent_client_is_told_to_go(web: Site) -> None:
    body, kind = message([("application/dicom", "", as_file(film("silent")))], "application/dicom")
    connection = _raw(web, body[:2000], len(body), kind)
    assert connection.recv(1000).startswith(b"HTTP/1.1 408")
    connection.close()
    wait_until(lambda: nothing_is_left(web), 10, "nothing is left of the upload")


def test_slow_clients_hold_nobody_up(web: Site) -> None:
    body, kind = message([("application/dicom", "", as_file(film("slow")))], "application/dicom")
    slow = [_raw(web, body[:100], len(body), kind) for _ in range(10)]
    assert web.post([as_file(film("quick"))]).status == 200
    assert web.get("/studies").status == 200
    for connection in slow:
        connection.close()
    wait_until(lambda: nothing_is_left(web), 10, "nothing is left of the uploads")


def test_many_at_once(web: Site) -> None:
    films = [
        [as_file(film(f"many {client} {number}", study=f"many {client}")) for number in range(6)] for client in range(4)
    ]
    found: list[Answered] = []
    threads = [threading.Thread(target=lambda own=own: found.append(web.post(own))) for own in films]  # type: ignore[misc]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [one.status for one in found] == [200] * 4 and len(stored(web)) == 24


def test_a_study_waits_for_the_end_of_its_upload(web: Site) -> None:
    first, second = as_file(film("first")), as_file(film("second"))
    body, kind = message([("application/dicom", "", first), ("application/dicom", "", second)], "application/dicom")
    connection = _raw(web, body[: len(first) + 1000], len(body), kind)
    for at in range(len(first) + 1000, len(body) - 10, 2000):
        connection.sendall(body[at : at + 2000][: len(body) - 10 - at])
        time.sleep(0.01)
    connection.sendall(body[len(body) - 10 :])
    assert connection.recv(100).startswith(b"HTTP/1.1 200")
    connection.close()
    assert nothing_is_left(web)


def test_xml_answers(web: Site) -> None:
    body, kind = message([("application/dicom", "", as_file(film("xml")))], "application/dicom")
    answered = web.ask("POST", "/studies", {"Content-Type": kind, "Accept": "application/dicom+xml"}, body)
    assert answered.status == 200 and uid("instance", "xml").encode() in answered.body
    ElementTree.fromstring(answered.body)


def test_dicomweb_client_stores(web: Site) -> None:
    client = DICOMwebClient(web.url)
    sent = [film(f"client {number}") for number in range(3)]
    answer = client.store_instances(sent)
    assert len(answer.ReferencedSOPSequence) == 3 and stored(web) == {str(ds.SOPInstanceUID) for ds in sent}
    assert len(client.retrieve_study(sent[0].StudyInstanceUID)) == 3


def test_logs_of_the_node_hold_no_identity(web: Site, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("DEBUG"):
        web.post([as_file(film("logs")), b"junk"])
        web.get(f"/studies?PatientName={MARKER.patient_name.replace('^', '%5E')}&PatientID={MARKER.patient_id}")
    own = [record for record in caplog.records if record.name.startswith("node")]
    said = " ".join(f"{record.getMessage()} {getattr(record, 'fields', '')}" for record in own)
    assert not [word for word in MARKER.words() if word.lower() in said.lower()]
