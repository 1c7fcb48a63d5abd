"""Query and retrieve through the running node: Orthanc asks it and fetches from it, ``lungnode pull`` fetches from
Orthanc by C-GET and C-MOVE, and results are among what others find.

Not covered: peers that offer no C-FIND; priors by rule (test_keeping); TLS (tests/dimse/test_tls.py).
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset, dcmread
from pynetdicom import AE, evt
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
)

from node.board import Board
from tests.dimse.asking import find, getscu
from tests.faults.struck import ANALYSIS, MODELS
from tests.films import DX, MARKER, Film, drawn, encoded, uid, wrap
from tests.peers import LOOPBACK, Orthanc, Ran, Storescp
from tests.sending import Encoded, store, store_encoded
from tests.served import LungnodeProcess, lungnode

IDENTITY = dataclasses.replace(MARKER, patient_id="PULLED", accession_number="PULLACC", patient_name="Größe^Ähre")


def films(study: str, count: int = 2) -> list[Encoded]:
    """Of feet: the node says at once that it does not analyse them."""
    of = {"study": study, "identity": IDENTITY, "body_part": "FOOT", "description": "Foot"}
    return [encoded(wrap(Film(drawn(1, 64), f"{study} {n}", **of))) for n in range(count)]  # type: ignore[arg-type]


SETTINGS = """
[node]
aet = "PULLING"

[completeness]
quiet_seconds_film = 0.3

[query]
move_destinations = ["{orthanc}"]
"""


@pytest.fixture(scope="module")
def served(orthanc: Orthanc) -> Iterator[LungnodeProcess]:
    """A node that sends results, whatever they are, to Orthanc, which knows it and answers queries of it for that."""
    address = orthanc.address
    settings = SETTINGS.format(orthanc=address) + ANALYSIS
    with LungnodeProcess(settings=settings, send_to=[address], environment=MODELS) as running:
        orthanc.know("pulling", "PULLING", running.dicom_port)
        orthanc.know("stranger", "LUNGNODE", running.dicom_port)  # it answers queries of no stranger
        yield running


def test_orthanc_asks_the_node_and_has_it_send(served: LungnodeProcess, orthanc: Orthanc) -> None:
    assert store(served.dicom_port, films("asked")) == [0, 0]
    asked = {"Level": "Study", "Query": {"PatientName": "GRASSE*", "AccessionNumber": "PULLACC"}}
    assert orthanc.get(f"/queries/{_query(orthanc, asked)}/answers") == []
    asked["Query"] = {
        "PatientName": "grosse^a*",
        "AccessionNumber": "PULLACC",
        "StudyInstanceUID": uid("study", "asked"),
    }
    query = _query(orthanc, asked)
    assert orthanc.get(f"/queries/{query}/answers") == ["0"]
    orthanc.request("POST", f"/queries/{query}/retrieve", {"TargetAet": orthanc.aet, "Synchronous": True})
    assert {ds.SOPInstanceUID for ds in orthanc.datasets(uid("study", "asked"))} >= {
        one.sop_instance_uid for one in films("asked")
    }


def _query(orthanc: Orthanc, asked: dict[str, Any]) -> str:
    return str(json.loads(orthanc.request("POST", "/modalities/pulling/query", asked))["ID"])


@pytest.mark.parametrize("method", ["get", "move"])
def test_a_study_is_pulled_from_orthanc(served: LungnodeProcess, orthanc: Orthanc, method: str) -> None:
    wanted = films(f"pulled by {method}", 3)
    assert store(orthanc.dicom_port, wanted) == [0] * 3
    study = uid("study", f"pulled by {method}")
    for _ in range(2 if method == "get" else 1):
        ran = lungnode("pull", "--from", orthanc.address, "--data", served.data, "--method", method, study)
        assert ran.code == 0, ran.text
        with_report = f"{study}: 4 of 4 are here"  # the node's own, which may be at Orthanc by the second time
        assert f"{study}: 3 of 3 are here" in ran.out or with_report in ran.out
    rows = served.rows(
        "SELECT sop_uid, origin_aet FROM instances JOIN series ON series.id = series_id JOIN studies"
        " ON studies.id = study_id WHERE study_uid = ? AND NOT is_own_result", study,
    )  # fmt: skip
    assert sorted(row["sop_uid"] for row in rows) == sorted(one.sop_instance_uid for one in wanted)
    assert {row["origin_aet"] for row in rows} == {orthanc.aet}


def test_studies_are_pulled_by_key_into_a_new_folder(served: LungnodeProcess, orthanc: Orthanc, tmp_path: Path) -> None:
    identity = dataclasses.replace(IDENTITY, patient_id="BYKEY", accession_number="BYKEYACC")
    studies = ["key one", "key two"]
    for study in studies:
        assert store(
            orthanc.dicom_port, [encoded(wrap(Film(drawn(1, 64), study, identity=identity, body_part="FOOT")))]
        ) == [0]
    data = tmp_path / "data"

    def pulled(*keys: str) -> tuple[int, set[str], str]:
        ran = lungnode("pull", "--from", orthanc.address, "--data", data, *keys)
        return ran.code, {line.split(":")[0] for line in ran.out.splitlines()}, ran.err

    assert pulled("--patient-id", "BYKEY", "--since", "2020-01-03")[:2] == (1, set())
    assert pulled("--accession", "BYKEYACC", "--since", "2020-01-02")[:2] == (0, {uid("study", one) for one in studies})
    code, _, said = pulled("1.2.3.4")
    assert code == 1 and "holds no such study" in said
    code, _, said = pulled()
    assert code == 2 and "STUDY_UID" in said


def test_what_does_not_come_is_named_with_its_reason(tmp_path: Path) -> None:
    """The peer lists three objects, sends one whole, one broken, and says that it could not send the third."""
    good, broken, kept = films("partly", 3)
    broken = dataclasses.replace(broken, data_set=broken.data_set[:-500])
    seen: list[frozenset[str]] = []
    board = Board(tmp_path / "run" / "board")
    with scripted(good, broken, kept, lambda: seen.append(board.open_studies())) as address:
        ran = lungnode("pull", "--from", address, "--data", tmp_path, uid("study", "partly"))
        assert seen == [{uid("study", "partly")}] and not board.open_studies(), "it is open while it is fetched"
        assert ran.code == 1 and f"{uid('study', 'partly')}: 1 of 3 are here" in ran.out
        lines = {line.split(": ")[1]: line for line in ran.err.splitlines() if line.count(": ") >= 2}
        assert "data set" in lines[broken.sop_instance_uid].lower()
        assert "could not send it" in lines[kept.sop_instance_uid] and good.sop_instance_uid not in lines
        ran = lungnode("pull", "--from", address, "--data", tmp_path, "--method", "move", uid("study", "partly"))
        assert ran.code == 1 and "0xA801" in ran.err


def test_what_a_peer_moves_to_another_node_of_this_ae_title_is_said(orthanc: Orthanc, tmp_path: Path) -> None:
    """A PACS knows one address for each AE title, and says of both nodes that all was sent."""
    with Storescp(aet="TWICE") as other:
        orthanc.know("other-node", other.aet, other.port)
        assert store(orthanc.dicom_port, films("moved elsewhere")) == [0, 0]

        def pulled(*words: str) -> Ran:
            return lungnode("pull", "--from", orthanc.address, "--data", tmp_path, *words, LUNGNODE_NODE_AET="TWICE")

        assert pulled("--patient-id", "NOBODY").code == 1  # a database is made
        ran = pulled("--method", "move", uid("study", "moved elsewhere"))
        assert ran.code == 1 and "0 of 2 are here" in ran.out and len(other.files()) == 2
        assert ran.err.count("that of another node with this AE title") == 2


def test_a_peer_that_is_away_or_unknown_is_said(tmp_path: Path) -> None:
    ran = lungnode("pull", "--from", f"AWAY@{LOOPBACK}:1", "--data", tmp_path, "1.2.3")
    assert ran.code == 1 and "did not answer" in ran.err
    ran = lungnode("pull", "--from", "nonsense", "--data", tmp_path, "1.2.3")
    assert ran.code == 2 and "AET@HOST:PORT" in ran.err


@contextmanager
def scripted(good: Encoded, broken: Encoded, kept: Encoded, came: Callable[[], object]) -> Iterator[str]:
    """A PACS with a study of three objects; by C-GET the first two come, after which it calls ``came``; C-MOVE goes to
    nobody it knows."""

    def look(event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        level = event.identifier.QueryRetrieveLevel
        for one in (good, broken, kept) if level == "IMAGE" else (good,):
            ds = Dataset()
            ds.QueryRetrieveLevel, ds.StudyInstanceUID = level, uid("study", "partly")
            ds.SeriesInstanceUID = uid("series", "partly")
            if level == "IMAGE":
                ds.SOPInstanceUID, ds.SOPClassUID = one.sop_instance_uid, one.sop_class_uid
            yield 0xFF00, ds

    def give(event: evt.Event) -> Iterator[Any]:
        store_encoded(event.assoc, good)
        store_encoded(event.assoc, broken)
        came()
        yield 1
        failed = Dataset()
        failed.FailedSOPInstanceUIDList = [kept.sop_instance_uid]
        yield 0xB000, failed

    def move(event: evt.Event) -> Iterator[Any]:
        yield None, None

    ae = AE("SCRIPTED")
    for model in (
        StudyRootQueryRetrieveInformationModelFind,
        StudyRootQueryRetrieveInformationModelGet,
        StudyRootQueryRetrieveInformationModelMove,
    ):
        ae.add_supported_context(model)
    ae.add_supported_context(DX, good.transfer_syntax_uid, scu_role=True, scp_role=True)
    handlers: list[Any] = [(evt.EVT_C_FIND, look), (evt.EVT_C_GET, give), (evt.EVT_C_MOVE, move)]
    server = ae.start_server((LOOPBACK, 0), block=False, evt_handlers=handlers)
    try:
        yield f"SCRIPTED@{LOOPBACK}:{server.socket.getsockname()[1]}"
    finally:
        server.shutdown()


def test_results_are_found_and_fetched_like_any_object(
    served: LungnodeProcess, orthanc: Orthanc, tmp_path: Path
) -> None:
    """What Orthanc was sent of an analysed study is what a C-FIND lists and a C-GET brings, byte for byte."""
    source = encoded(wrap(Film(drawn(3, 256), "results pulled")))
    study = uid("study", "results pulled")
    assert store(served.dicom_port, [source]) == [0]
    served.wait_settled([study])
    delivered = {str(ds.SOPInstanceUID): ds for ds in orthanc.datasets(study)}
    keys = {"ModalitiesInStudy": "", "NumberOfStudyRelatedInstances": "", "NumberOfStudyRelatedSeries": ""}
    ((found,), _) = find(served.dicom_port, "STUDY", StudyInstanceUID=study, **keys)
    assert found.NumberOfStudyRelatedInstances == len(delivered) + 1 and "SR" in found.ModalitiesInStudy
    series, _ = find(served.dicom_port, "SERIES", StudyInstanceUID=study, SeriesInstanceUID="", Modality="SR")
    assert {str(ds.SeriesInstanceUID) for ds in series} == {
        str(ds.SeriesInstanceUID) for ds in delivered.values() if ds.Modality == "SR"
    }
    ran = getscu(served.dicom_port, tmp_path / "got", QueryRetrieveLevel="STUDY", StudyInstanceUID=study)
    assert ran.code == 0, ran.text
    got = {str(ds.SOPInstanceUID): ds for ds in map(dcmread, (tmp_path / "got").iterdir())}
    assert got.keys() == {*delivered, source.sop_instance_uid}
    assert all(got[one] == ds for one, ds in delivered.items())
