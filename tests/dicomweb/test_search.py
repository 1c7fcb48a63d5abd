"""QIDO-RS: paths, keys, pages, warnings, forms of the answer.

Not covered: each rule of matching, which is that of C-FIND (tests/pipeline/test_query_keys.py); results among the
answers (tests/e2e/test_dicomweb.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree

import pytest
from dicomweb_client import DICOMwebClient
from pydicom import Dataset
from pydicom.datadict import tag_for_keyword

from node.pipeline.query_keys import Level, known_at
from node.web.dicomweb.search import REQUIRED, RETURNED
from node.web.dicomweb.xml_model import NAMESPACE
from tests.dicomweb.site import Site, site
from tests.dimse.station import film
from tests.films import uid

SYNTAXES, LOSSY, CR, REQUEST, CT = (
    uid("study", f"web {name}") for name in ("syntaxes", "lossy", "cr", "request", "ct")
)  # fmt: skip
ENHANCED = uid("study", "web enhanced")
TAROU = {CR, REQUEST, CT, ENHANCED}
ALL = TAROU | {SYNTAXES, LOSSY}


def found(web: Site, path: str) -> list[dict[str, Any]]:
    answered = web.get(path)
    assert answered.status in (200, 204), answered.text
    return answered.json() if answered.status == 200 else []


def values(models: Sequence[dict[str, Any]], keyword: str) -> list[Any]:
    key = f"{tag_for_keyword(keyword):08X}"
    return [model[key].get("Value", [None])[0] for model in models]


@pytest.mark.parametrize(
    "query, expected",
    [
        ("", ALL),
        ("PatientName=muller*", {SYNTAXES}),
        (f"PatientName={quote('山田^太郎')}", TAROU),
        ("00100020=P-TAROU", TAROU),
        ("PatientID=P-*&AccessionNumber=A1", {SYNTAXES}),
        (f"StudyInstanceUID={CR},{LOSSY},1.2.3", {CR, LOSSY}),
        (f"StudyInstanceUID={CR}%5C{LOSSY}", {CR, LOSSY}),
        ("StudyDate=20200101-20200131&StudyTime=10-11", ALL),
        ("StudyDate=-20191231", set()),
        ("ModalitiesInStudy=CR", {CR}),
        ("ModalitiesInStudy=CR,CT", {CR, CT, ENHANCED}),
        ("StudyID=STUDY?DMARKER", ALL),
        ("ReferringPhysicianName=okapi*", ALL),
        ("PatientBirthDate=19500102", {SYNTAXES}),
    ],
)
def test_studies_by_key(web: Site, query: str, expected: set[str]) -> None:
    assert set(values(found(web, f"/studies?{query}"), "StudyInstanceUID")) == expected


@pytest.mark.parametrize(
    "path, expected",
    [
        (f"/studies/{SYNTAXES}/series", 7),
        ("/series?Modality=CR", 1),
        (f"/series?StudyInstanceUID={CR},{LOSSY}", 2),
        ("/series?SeriesNumber=2", 2),
        ("/series?RequestAttributesSequence.ScheduledProcedureStepID=STEP7", 1),
        ("/series?00400275.00401001=PROC7", 1),
        ("/series?00400275.00401001=PROC8", 0),
        ("/series?PerformedProcedureStepStartDate=20200102&PerformedProcedureStepStartTime=1015", 1),
        (f"/studies/{SYNTAXES}/instances", 7),
        (f"/studies/{CT}/instances?InstanceNumber=3", 1),
        (f"/studies/{CT}/series/{uid('series', 'web ct')}/instances", 6),
        ("/instances?SOPClassUID=1.2.840.10008.5.1.4.1.1.2", 6),
        (f"/instances?SOPInstanceUID={uid('instance', 'web ct 3')}", 1),
        ("/instances", 17),
        ("/studies/1.2.3/series", 0),
    ],
)
def test_series_and_instances_by_path_and_key(web: Site, path: str, expected: int) -> None:
    assert len(found(web, path)) == expected


def test_every_required_key_is_matched_and_every_returned_one_is_known() -> None:
    for level in REQUIRED:
        keys = known_at(level)
        assert all(keys[keyword].matched for keyword in REQUIRED[level])
        assert all(keyword in keys for keyword in RETURNED[level])
    assert set(REQUIRED) == set(Level) - {Level.PATIENT}


def test_what_an_answer_says(web: Site) -> None:
    (study,) = found(web, f"/studies?StudyInstanceUID={CT}")
    ds = Dataset.from_json(study)
    assert (ds.NumberOfStudyRelatedInstances, ds.NumberOfStudyRelatedSeries, ds.ModalitiesInStudy) == (6, 1, "CT")
    assert ds.RetrieveURL == f"{web.url}/studies/{CT}" and ds.InstanceAvailability == "ONLINE"
    assert study["00100010"]["Value"] == [{"Alphabetic": "Yamada^Tarou", "Ideographic": "山田^太郎"}]
    (series,) = found(web, f"/studies/{REQUEST}/series")
    assert series["00400275"]["Value"][0]["00400009"]["Value"] == ["STEP7"]
    (one,) = found(web, f"/studies/{CT}/instances?InstanceNumber=3")
    assert (one["00280010"]["Value"], one["00280011"]["Value"]) == ([40], [48])
    assert one["00081190"]["Value"][0].endswith(f"/instances/{one['00080018']['Value'][0]}")
    assert "00100020" not in one, "whose it is stands with the study"


def test_includefield(web: Site) -> None:
    (plain,) = found(web, f"/studies/{CT}/series")
    assert "00081030" not in plain and "00100010" not in plain
    (more,) = found(web, f"/studies/{CT}/series?includefield=StudyDescription,00100010&includefield=ProtocolName")
    assert more["00081030"]["Value"] and more["00100010"]["Value"] and more["00181030"] == {"vr": "LO"}
    (every,) = found(web, f"/studies/{CT}/series?includefield=all")
    assert set(every) > set(more) and "00200011" in every
    assert len(found(web, "/studies?includefield=00091001&limit=1")) == 1, "what is not known is left out"


def test_pages_are_the_whole(web: Site) -> None:
    whole = values(found(web, "/instances"), "SOPInstanceUID")
    pages = [values(found(web, f"/instances?limit=5&offset={at}"), "SOPInstanceUID") for at in (0, 5, 10, 15, 20)]
    assert [len(page) for page in pages] == [5, 5, 5, 2, 0] and [uid for page in pages for uid in page] == whole
    assert web.get("/instances?limit=5").headers.get("warning") is None, "that is all that was asked for"
    assert web.get("/studies?limit=0").status == 204


def test_more_than_the_limit_of_the_node_is_said(tmp_path: Path) -> None:
    with site(tmp_path / "small", {("query", "max_matches"): 2}) as small:
        small.keep(*(film(f"page {number}") for number in range(3)))
        for query in ("", "?limit=3"):
            answered = small.get(f"/studies{query}")
            assert answered.status == 206 and len(answered.json()) == 2
            assert "additional results" in answered.headers["warning"]
        assert small.get("/studies?limit=2").status == 200
        assert small.get("/studies?offset=2").status == 200


def test_what_is_not_supported_is_said(web: Site) -> None:
    answered = web.get("/studies?fuzzymatching=true&PatientName=muller*")
    assert answered.status == 200 and "fuzzymatching parameter is not supported" in answered.headers["warning"]
    assert web.get("/studies?fuzzymatching=false").headers.get("warning") is None
    answered = web.get("/studies?BodyPartThickness=3")
    assert len(answered.json()) == len(ALL) and "BodyPartThickness is not matched" in answered.headers["warning"]


def test_xml_says_the_same(web: Site) -> None:
    answered = web.get("/studies", 'multipart/related; type="application/dicom+xml"')
    assert answered.status == 200 and 'type="application/dicom+xml"' in answered.headers["content-type"]
    found_uids = set()
    for headers, content in answered.parts():
        assert headers["content-type"] == "application/dicom+xml"
        root = ElementTree.fromstring(content)
        assert root.tag == f"{{{NAMESPACE}}}NativeDicomModel"
        found_uids.add(root.findtext(f".//*[@keyword='StudyInstanceUID']/{{{NAMESPACE}}}Value"))
    assert found_uids == ALL


@pytest.mark.parametrize(
    "path, status",
    [
        ("/studies?PatientsName=x", 400),
        ("/studies?limit=-1", 400),
        ("/studies?offset=x", 400),
        ("/studies?StudyDate=20200101&StudyDate=20200102", 400),
        ("/studies?" + "&".join(f"limit={n}" for n in range(300)), 400),
        ("/studies/..%2f..%2fetc/series", 404),
        ("/studies/1.2.x/series", 400),
        ("/patients", 404),
    ],
)
def test_what_cannot_be_understood_is_refused(web: Site, path: str, status: int) -> None:
    answered = web.get(path)
    assert answered.status == status and len(answered.text) > 5


def test_a_form_that_is_not_offered_is_refused(web: Site) -> None:
    assert web.get("/studies", "text/html").status == 406
    assert web.get("/studies", "text/html, application/json;q=0.5").headers["content-type"] == "application/json"
    assert web.get("/studies?accept=application/dicom%2Bjson", "text/html").status == 200


def test_dicomweb_client_searches(web: Site) -> None:
    client = DICOMwebClient(web.url)
    assert len(client.search_for_studies(search_filters={"PatientID": "P-TAROU"})) == 4
    assert len(client.search_for_studies(limit=2, offset=1, fields=["StudyDescription"])) == 2
    assert len(client.search_for_series(CT)) == 1 and len(client.search_for_instances(CT)) == 6
    assert len(client.search_for_instances(search_filters={"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"})) == 6
    assert client.search_for_studies(search_filters={"PatientID": "nobody"}) == []
