"""Who a peer says a study belongs to: Orthanc by C-FIND and by QIDO-RS, and peers that answer badly.

Not covered: QIDO-RS over TLS and behind a login; what delivery makes of the answers (tests/pipeline/test_gate.py).
"""

from __future__ import annotations

import dataclasses
import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from pydicom import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    PatientRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelFind,
)

from node.dimse.associating import Peer
from node.dimse.query import MOST_ANSWERS, find_studies
from node.pipeline.identity import Known, Patient
from node.web import qido
from tests.films import MARKER, Film, drawn, encoded, wrap
from tests.peers import LOOPBACK, Orthanc, free_port
from tests.sending import store

US = dataclasses.replace(MARKER, patient_id="QUERIED", patient_name="Müller^Anna")
ANNA = Patient("QUERIED", MARKER.issuer, "Müller^Anna", MARKER.birth_date)


def peer_at(port: int, aet: str = "ORTHANC") -> Peer:
    return Peer(LOOPBACK, port, aet, "LUNGNODE", acse_timeout=5, dimse_timeout=5)


def test_orthanc_says_whose_a_study_is_and_notices_an_edit(orthanc: Orthanc) -> None:
    film = Film(drawn(1, 64), "queried", identity=US)
    assert store(orthanc.dicom_port, [encoded(wrap(film))]) == [0x0000]
    orthanc.know("query", "LUNGNODE", free_port())
    base = f"http://{LOOPBACK}:{orthanc.http_port}/dicom-web/"

    def answers() -> list[dict[str, Known]]:
        asked = [film.study_uid, "1.2.3"]
        return [find_studies(peer_at(orthanc.dicom_port), asked), qido.find_studies(base, asked, 5)]

    assert answers() == [{film.study_uid: Known((ANNA,)), "1.2.3": Known()}] * 2
    (study,) = orthanc._find("Study", StudyInstanceUID=film.study_uid)
    edit = {"Replace": {"PatientID": "EDITED"}, "Force": True, "KeepSource": False}
    kept = {"Keep": ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"]}
    orthanc.request("POST", f"/patients/{study['ParentPatient']}/modify", edit | kept)
    edited = Known((dataclasses.replace(ANNA, patient_id="EDITED"),))
    assert answers() == [{film.study_uid: edited, "1.2.3": Known()}] * 2


@contextmanager
def scripted(*script: tuple[int, Dataset | None], model: str = "") -> Iterator[int]:
    """A peer that answers every C-FIND by the same statuses and identifiers; its port."""

    def answer(event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        yield from script

    ae = AE("SCRIPTED")
    ae.add_supported_context(model or StudyRootQueryRetrieveInformationModelFind)
    server = ae.start_server((LOOPBACK, 0), block=False, evt_handlers=[(evt.EVT_C_FIND, answer)])
    try:
        yield server.socket.getsockname()[1]
    finally:
        server.shutdown()


def found(study_uid: str = "1.2.3", **changes: str) -> Dataset:
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.QueryRetrieveLevel, ds.StudyInstanceUID, ds.PatientID, ds.PatientName = "STUDY", study_uid, "P1", "Doe^Jane"
    for keyword, value in changes.items():
        setattr(ds, keyword, value)
    return ds


@pytest.mark.parametrize("status", [0xA700, 0xA900, 0xC001, 0xFE00, 0x0122])
def test_a_failure_is_no_answer_whatever_came_before_it(status: int) -> None:
    for before in ((), ((0xFF00, found()),)):
        with scripted(*before, (status, None)) as port:
            (known,) = find_studies(peer_at(port), ["1.2.3"]).values()
        assert known == Known(problem=f"C-FIND status 0x{status:04X}")


def test_only_the_study_that_was_asked_for_counts() -> None:
    with scripted((0xFF00, found("9.9.9")), (0xFF01, found()), (0xFF00, found(PatientID="P2"))) as port:
        known = find_studies(peer_at(port), ["1.2.3"])["1.2.3"]
    assert [patient.patient_id for patient in known.patients] == ["P1", "P2"] and not known.problem


def test_other_studies_alone_are_no_answer() -> None:
    """A peer that ignores the key and lists some of what it has says nothing of the study."""
    with scripted((0xFF00, found("9.9.9")), (0x0000, None)) as port:
        assert find_studies(peer_at(port), ["1.2.3"])["1.2.3"].problem == "it answers with other studies alone"
    with scripted((0x0000, None)) as port:
        assert find_studies(peer_at(port), ["1.2.3"])["1.2.3"] == Known()
    with web(200, json.dumps([found("9.9.9").to_json_dict()]).encode()) as base:
        assert qido.find_studies(base, ["1.2.3"], 5)["1.2.3"].problem == "it answers with other studies alone"


def test_a_peer_that_lists_everything_is_stopped() -> None:
    with scripted(*[(0xFF00, found("9.9.9"))] * (MOST_ANSWERS + 5)) as port:
        known = find_studies(peer_at(port), ["1.2.3", "1.2.4"])
    assert known["1.2.3"].problem == "its answers to C-FIND cannot be understood" and known["1.2.4"].problem


def test_no_association_and_no_study_root_are_problems() -> None:
    assert "did not answer" in find_studies(peer_at(free_port()), ["1.2.3"])["1.2.3"].problem
    with scripted(model=PatientRootQueryRetrieveInformationModelFind) as port:
        assert find_studies(peer_at(port), ["1.2.3"])["1.2.3"].problem == "it takes no Study Root C-FIND"


@contextmanager
def web(status: int, content: bytes) -> Iterator[str]:
    """An HTTP server with one answer for everything; its base URL."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer((LOOPBACK, 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://{LOOPBACK}:{server.server_address[1]}/dicom-web"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(
    "status, content, problem",
    [
        (503, b"[]", "QIDO-RS status 503"),
        (404, b"", "QIDO-RS status 404"),
        (200, b"<html>", "its answer to QIDO-RS cannot be understood"),
        (200, b'{"studies": []}', "its answer to QIDO-RS cannot be understood"),
        (200, b'[{"00100020": {"vr": "LO", "Value": 3', "its answer to QIDO-RS cannot be understood"),
        (200, b"[" + b" " * 2**20 + b"]", "its answer to QIDO-RS cannot be understood"),
    ],
)
def test_a_web_server_that_answers_badly_has_not_answered(status: int, content: bytes, problem: str) -> None:
    with web(status, content) as base:
        assert qido.find_studies(base, ["1.2.3"], 5) == {"1.2.3": Known(problem=problem)}
    assert qido.find_studies(base, ["1.2.3"], 5)["1.2.3"].problem == "its QIDO-RS service does not answer"


def test_a_web_server_may_list_more_than_was_asked_for() -> None:
    content = json.dumps([found("9.9.9").to_json_dict(), found().to_json_dict()]).encode()
    with web(200, content) as base:
        assert qido.find_studies(base, ["1.2.3"], 5) == {"1.2.3": Known((Patient("P1", "", "Doe^Jane", ""),))}
    with web(204, b"") as base:
        assert qido.find_studies(base, ["1.2.3"], 5) == {"1.2.3": Known()}
