"""C-FIND of a node: DCMTK's findscu, Orthanc and pynetdicom ask; levels, keys, statuses, limits, cancel.

Not covered: each rule of matching (tests/pipeline/test_query_keys.py); results among the answers, which the end-to-end
tests have (tests/e2e/test_pull.py); a million instances.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset
from pydicom.uid import ComputedRadiographyImageStorage

from node.core.study import InstanceHeader, Origin
from node.db import intake as rows
from node.db.catalogue import StudyRecord
from node.pipeline import catalogue
from tests.dimse.asking import PATIENT_ROOT, STUDY_ROOT, asking, find, findscu, identifier
from tests.dimse.station import Station, film, station
from tests.films import MARKER, uid
from tests.peers import Orthanc, wait_until
from tests.sending import store

ANNA = dataclasses.replace(
    MARKER, patient_id="P-ANNA", patient_name="Müller^Anna", accession_number="A1", birth_date="19500102"
)
TAROU = dataclasses.replace(
    MARKER, patient_id="P-TAROU", patient_name="Yamada^Tarou=山田^太郎", accession_number="A2", sex="M"
)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Station]:
    """Anna has two studies, the first of two series; Tarou has one, of CR."""
    with station(tmp_path_factory.mktemp("find"), max_matches=50) as running:
        films = [
            film("one", study="first", identity=ANNA),
            film("two", study="first", identity=ANNA, size=32, description="Chest lateral"),
            film("three", study="second", identity=ANNA),
            film("four", study="third", identity=TAROU, sop_class=ComputedRadiographyImageStorage),
        ]
        assert store(running.port, films) == [0] * 4
        yield running


def studies(found: list[Dataset]) -> set[str]:
    return {str(ds.StudyInstanceUID) for ds in found}


FIRST, SECOND, THIRD = uid("study", "first"), uid("study", "second"), uid("study", "third")


@pytest.mark.parametrize(
    "keys, expected",
    [
        ({}, {FIRST, SECOND, THIRD}),
        ({"PatientName": "muller*"}, {FIRST, SECOND}),
        ({"PatientName": "山田^太郎"}, {THIRD}),
        ({"PatientID": "P-*", "AccessionNumber": "A2"}, {THIRD}),
        ({"StudyInstanceUID": [SECOND, THIRD, "1.2.3"]}, {SECOND, THIRD}),
        ({"StudyDate": "20200101-20200131", "StudyTime": "10-11"}, {FIRST, SECOND, THIRD}),
        ({"StudyDate": "-20191231"}, set()),
        ({"ModalitiesInStudy": "CR"}, {THIRD}),
        ({"PatientBirthDate": "19500102"}, {FIRST, SECOND}),
        ({"PatientSex": "M"}, {THIRD}),
        ({"ReferringPhysicianName": "okapimarker^*"}, {FIRST, SECOND, THIRD}),
        ({"StudyID": "STUDYIDMARKER", "StudyDescription": "descr*"}, set()),
    ],
)
def test_studies_by_key(node: Station, keys: dict[str, object], expected: set[str]) -> None:
    for root in (STUDY_ROOT, PATIENT_ROOT):
        if root == PATIENT_ROOT and keys.get("PatientID", "*") != "P-TAROU":
            continue  # below the patient, Patient Root wants one of them: see the next test
        found, statuses = find(node.port, "STUDY", root, **{"StudyInstanceUID": "", **keys})
        assert studies(found) == expected
        assert statuses == [0xFF00] * len(expected) + [0x0000]


def test_patient_root_goes_down_level_by_level(node: Station) -> None:
    wanted = {"PatientID": "", "PatientName": "", "NumberOfPatientRelatedStudies": "", "PatientBirthDate": ""}
    patients, _ = find(node.port, "PATIENT", PATIENT_ROOT, **wanted, NumberOfPatientRelatedInstances="")
    anna = next(ds for ds in patients if ds.PatientID == "P-ANNA")
    assert len(patients) == 2 and anna.PatientName == "Müller^Anna" and anna.PatientBirthDate == "19500102"
    assert (anna.NumberOfPatientRelatedStudies, anna.NumberOfPatientRelatedInstances) == (2, 3)
    found, _ = find(node.port, "STUDY", PATIENT_ROOT, PatientID="P-ANNA", StudyInstanceUID="")
    assert studies(found) == {FIRST, SECOND}
    assert find(node.port, "STUDY", PATIENT_ROOT, PatientID="P-NOBODY", StudyInstanceUID="") == ([], [0x0000])


def test_series_and_images_with_their_numbers(node: Station) -> None:
    wanted = {"StudyInstanceUID": FIRST, "SeriesInstanceUID": "", "NumberOfSeriesRelatedInstances": ""}
    found, _ = find(node.port, "SERIES", **wanted, Modality="", SeriesNumber=None, SeriesDescription="Chest lat*")
    (series,) = found
    assert (series.Modality, series.SeriesNumber, series.SeriesDescription) == ("DX", 1, "Chest lateral")
    assert series.NumberOfSeriesRelatedInstances == 1 and series.StudyInstanceUID == FIRST
    keys = {"StudyInstanceUID": FIRST, "SeriesInstanceUID": series.SeriesInstanceUID, "SOPInstanceUID": ""}
    ((image,), statuses) = find(node.port, "IMAGE", **keys, InstanceNumber=1, Rows=None, SOPClassUID="")
    assert image.SOPInstanceUID == uid("instance", "two") and image.Rows == 32 and image.InstanceNumber == 1
    assert statuses == [0xFF00, 0x0000]
    assert find(node.port, "IMAGE", **keys, InstanceNumber=2) == ([], [0x0000])


def test_a_study_says_what_it_holds(node: Station) -> None:
    keys = {"ModalitiesInStudy": "", "NumberOfStudyRelatedSeries": "", "NumberOfStudyRelatedInstances": ""}
    ((found,), _) = find(node.port, "STUDY", StudyInstanceUID=FIRST, SOPClassesInStudy="", **keys)
    assert (found.ModalitiesInStudy, found.NumberOfStudyRelatedSeries, found.NumberOfStudyRelatedInstances) == (
        "DX", 2, 2,
    )  # fmt: skip
    assert (found.RetrieveAETitle, found.InstanceAvailability) == ("LUNGNODE", "ONLINE")
    assert found.SpecificCharacterSet == "ISO_IR 192" and "PatientName" not in found


def test_keys_that_are_not_known_are_left_out_and_said(node: Station) -> None:
    sequence = Dataset()
    sequence.ScheduledStationAETitle = "X"
    keys = {"InstitutionName": "NOWHERE", "RequestAttributesSequence": [sequence], "SeriesInstanceUID": ""}
    found, statuses = find(node.port, "STUDY", StudyInstanceUID=FIRST, **keys)
    assert statuses == [0xFF01, 0x0000]
    assert not {"InstitutionName", "RequestAttributesSequence", "SeriesInstanceUID"} & set(found[0].dir())


@pytest.mark.parametrize(
    "level, root, keys",
    [
        ("PATIENT", STUDY_ROOT, {"PatientID": ""}),
        ("WARD", STUDY_ROOT, {}),
        ("STUDY", PATIENT_ROOT, {"StudyInstanceUID": ""}),
        ("STUDY", PATIENT_ROOT, {"PatientID": "P-*", "StudyInstanceUID": ""}),
        ("SERIES", STUDY_ROOT, {"SeriesInstanceUID": ""}),
        ("SERIES", STUDY_ROOT, {"StudyInstanceUID": [FIRST, SECOND], "SeriesInstanceUID": ""}),
        ("IMAGE", STUDY_ROOT, {"StudyInstanceUID": FIRST, "SOPInstanceUID": ""}),
    ],
)
def test_an_identifier_without_the_keys_above_is_refused(
    node: Station, level: str, root: str, keys: dict[str, object]
) -> None:
    assert find(node.port, level, root, **keys) == ([], [0xA900])  # PS3.4 Table C.4-1


def test_more_than_the_limit_ends_with_out_of_resources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit lies between pages of candidates."""
    monkeypatch.setattr(catalogue, "PAGE", 4)
    with station(tmp_path, max_matches=10) as node:
        _many(node, 11)
        assert find(node.port, "STUDY", StudyInstanceUID="")[1] == [0xFF00] * 10 + [0xA700]
        found, statuses = find(node.port, "STUDY", StudyInstanceUID="", AccessionNumber="N[0-4]")
        assert (found, statuses) == ([], [0x0000])
        found, statuses = find(node.port, "STUDY", StudyInstanceUID="", PatientID="P?")
        assert len(studies(found)) == 10 and statuses[-1] == 0x0000  # P0 to P9, each once, over all pages
        assert find(node.port, "PATIENT", PATIENT_ROOT, PatientID="P?")[1] == [0xFF00] * 10 + [0x0000]


def _many(node: Station, count: int) -> None:
    """Rows alone: a query needs no file that it has read before, or that is away."""
    origin = Origin("a", "SENDER", "LUNGNODE", "127.0.0.1")
    with node.database.write() as session:
        for number in range(count):
            header = InstanceHeader(
                f"1.9.{number}.1", "1.2.840.10008.5.1.4.1.1.2", f"1.9.{number}", f"1.9.{number}.0",
                "1.2.840.10008.1.2.1", f"P{number}", "", f"N{number}", "20200101", "CT", "", "", "",
                1, 8, 8, None, False,
            )  # fmt: skip
            rows.add_instance(session.connection(), header, "0" * 64, 1, f"nowhere/{number}", origin, datetime.now(UTC))


def test_a_query_is_cancelled(tmp_path: Path) -> None:
    with station(tmp_path) as node:
        _many(node, 600)
        with asking(node.port, STUDY_ROOT) as association:
            answers = association.send_c_find(identifier("STUDY", StudyInstanceUID=""), STUDY_ROOT, msg_id=7)
            statuses = [int(next(answers)[0].Status)]
            association.send_c_cancel(7, query_model=STUDY_ROOT)
            statuses += [int(answer.Status) for answer, _ in answers]
        assert statuses[0] == 0xFF00 and statuses[-1] == 0xFE00 and len(statuses) < 600


@pytest.mark.parametrize("leaves", ["cancels", "aborts"])
def test_a_search_that_finds_nothing_ends_with_who_asked(
    leaves: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pages, read = list[int](), catalogue.rows.studies

    def slowly(*arguments: Any) -> list[StudyRecord]:
        pages.append(1)
        time.sleep(0.02)
        return read(*arguments)

    monkeypatch.setattr(catalogue, "PAGE", 1)
    monkeypatch.setattr(catalogue.rows, "studies", slowly)
    caplog.set_level("INFO")
    with station(tmp_path) as node:
        _many(node, 600)
        with asking(node.port, STUDY_ROOT) as association:
            answers = association.send_c_find(identifier("STUDY", PatientID="*nobody*"), STUDY_ROOT, msg_id=7)
            if leaves == "cancels":
                association.send_c_cancel(7, query_model=STUDY_ROOT)
                assert [int(answer.Status) for answer, _ in answers] == [0xFE00]
            else:
                association.abort()
        wait_until(lambda: "query.cancelled" in caplog.messages, 10, "the search ended")
    assert len(pages) < 600


def test_findscu_and_orthanc_get_the_same_answers(node: Station, orthanc: Orthanc, tmp_path: Path) -> None:
    keys = {"PatientName": "", "StudyDate": "20200102", "StudyInstanceUID": "", "ModalitiesInStudy": ""}
    found = findscu(node.port, tmp_path / "found", "-S", QueryRetrieveLevel="STUDY", **keys)
    assert {(str(ds.PatientName), str(ds.StudyInstanceUID)) for ds in found} == {
        ("Müller^Anna", FIRST), ("Müller^Anna", SECOND), ("Yamada^Tarou=山田^太郎", THIRD),
    }  # fmt: skip
    orthanc.know("find", "LUNGNODE", node.port)
    asked = {"Level": "Study", "Query": {"PatientID": "P-ANNA", "StudyInstanceUID": "", "PatientName": ""}}
    query = json.loads(orthanc.request("POST", "/modalities/find/query", asked))["ID"]
    answers = orthanc.get(f"/queries/{query}/answers?expand&simplify")
    assert {(one["PatientName"], one["StudyInstanceUID"]) for one in answers} == {
        ("Müller^Anna", FIRST), ("Müller^Anna", SECOND),
    }  # fmt: skip


def test_what_comes_is_found_at_once(node: Station) -> None:
    late = film("late", study="late", identity=dataclasses.replace(ANNA, patient_id="P-LATE"))
    assert find(node.port, "STUDY", PatientID="P-LATE")[0] == []
    assert store(node.port, [late]) == [0]
    ((found,), _) = find(node.port, "STUDY", PatientID="P-LATE", PatientName="")
    assert found.PatientName == "Müller^Anna"
