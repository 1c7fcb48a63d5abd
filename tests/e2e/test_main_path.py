"""A film goes in by C-STORE and comes back to the PACS as a report and heat maps.

Not covered here: how good the models are (their cards say), transfer syntaxes one by one (tests/pipeline), crashes
(tests/faults), other destinations (test_destinations).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom import Dataset
from pydicom.uid import ImplicitVRLittleEndian, JPEG2000Lossless
from pynetdicom import AE

from tests.e2e.conftest import assert_no_marker
from tests.e2e.reading import SC, SR, code, concept, groups, items, of_class, probabilities, saved
from tests.films import CR, Film, drawn, encoded, grey, jpeg_film, renamed, uid, wrap, write
from tests.peers import LOOPBACK, Orthanc, dciodvfy, dcmsend, dsr2html, dsrdump, storescu
from tests.sending import Encoded, store
from tests.served import LungnodeProcess

DRAWN = ["drawn", "drawn, sent by dcmsend in JPEG 2000"]
REAL = ["covid19", "normal", "pneumonia", "xrv MONOCHROME2", "xrv MONOCHROME1", "pneumonia as CR"]


@dataclass(frozen=True)
class Sent:
    """One film that went in, and what came out of Orthanc."""

    source: Dataset
    results: list[Dataset]

    @property
    def study_uid(self) -> str:
        return str(self.source.StudyInstanceUID)

    @property
    def report(self) -> Dataset:
        (report,) = of_class(self.results, SR)
        return report

    @property
    def maps(self) -> list[Dataset]:
        return of_class(self.results, SC)


def _send_by_pynetdicom(port: int, ds: Dataset) -> None:
    ae = AE("PYNETDICOM")
    ae.add_requested_context(ds.SOPClassUID, ds.file_meta.TransferSyntaxUID)
    association = ae.associate(LOOPBACK, port)
    assert association.is_established
    try:
        assert association.send_c_store(ds).Status == 0x0000
    finally:
        association.release()


@pytest.fixture(scope="module")
def all_sent(node: LungnodeProcess, orthanc: Orthanc, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Sent]:
    folder = tmp_path_factory.mktemp("films")
    sources = {"drawn": wrap(Film(drawn(11), "main drawn"))}
    _send_by_pynetdicom(node.dicom_port, sources["drawn"])
    compressed = wrap(Film(drawn(12), "main compressed", transfer_syntax=JPEG2000Lossless))
    ran = dcmsend(node.dicom_port, [write(compressed, folder)])
    assert ran.code == 0, ran.text
    sources["drawn, sent by dcmsend in JPEG 2000"] = compressed
    return _answers(node, orthanc, sources)


@pytest.fixture(scope="module")
def real_sent(
    node: LungnodeProcess,
    orthanc: Orthanc,
    data_folder: Path,
    sample_films: dict[str, Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Sent]:
    """Three films by DCMTK's storescu in one association, the rest by pynetdicom."""
    folder = tmp_path_factory.mktemp("real")
    sources = {label: wrap(Film(grey(path), f"main {label}")) for label, path in sample_films.items()}
    for ds in sources.values():
        write(ds, folder)
    ran = storescu(node.dicom_port, [folder])
    assert ran.code == 0, ran.text
    positive = renamed(next((data_folder / "dicom").glob("xrv-1.2.*.dcm")), "xrv MONOCHROME2")
    sources["xrv MONOCHROME2"] = positive
    sources["xrv MONOCHROME1"] = renamed(data_folder / "dicom" / "xrv-Fake_MONOHR1.dcm", "xrv MONOCHROME1")
    path = sample_films["pneumonia"]
    as_cr = Film(grey(path), "main pneumonia as CR", sop_class=CR, photometric="MONOCHROME1")
    sources["pneumonia as CR"] = wrap(as_cr)
    sources["pneumonia as CR"].file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    sources["JPEG kept"] = jpeg_film(path, Film(grey(path), "main JPEG kept"))
    for name in ("xrv MONOCHROME2", "xrv MONOCHROME1", "pneumonia as CR", "JPEG kept"):
        ds = sources[name]
        assert store(node.dicom_port, [encoded(ds)]) == [0x0000], name
    return _answers(node, orthanc, sources)


def _answers(node: LungnodeProcess, orthanc: Orthanc, sources: dict[str, Dataset]) -> dict[str, Sent]:
    node.wait_settled([str(ds.StudyInstanceUID) for ds in sources.values()], 240)
    return {name: Sent(ds, orthanc.datasets(str(ds.StudyInstanceUID))) for name, ds in sources.items()}


class Told:
    """What ``lungnode query`` says of each study, asked for all of them at once: a command takes seconds to start."""

    def __init__(self, node: LungnodeProcess, *flags: str) -> None:
        self._node, self._flags = node, flags
        self._found: dict[str, list[dict[str, Any]]] = {}

    def of(self, study_uid: str) -> list[dict[str, Any]]:
        if study_uid not in self._found:
            self._found = {study_uid: []}
            for record in self._node.query(*self._flags):
                self._found.setdefault(record["study_uid"], []).append(record)
        return self._found[study_uid]


@pytest.fixture(scope="module")
def findings(node: LungnodeProcess) -> Told:
    return Told(node)


@pytest.fixture(scope="module")
def lesions(node: LungnodeProcess) -> Told:
    return Told(node, "--lesions")


@pytest.fixture(params=DRAWN + REAL)
def sent(request: pytest.FixtureRequest) -> Sent:
    fixture = "all_sent" if request.param in DRAWN else "real_sent"
    found: Sent = request.getfixturevalue(fixture)[request.param]
    return found


def test_the_pacs_holds_one_report_and_exactly_the_outputs(node: LungnodeProcess, sent: Sent) -> None:
    rows = node.rows(
        "SELECT kind, sop_uid FROM outputs JOIN analyses ON analyses.id = analysis_id"
        " JOIN studies ON studies.id = study_id WHERE study_uid = ?"
        " AND outputs.id IN (SELECT output_id FROM deliveries)",  # the page is kept
        sent.study_uid,
    )
    assert sorted(row["sop_uid"] for row in rows) == sorted(str(ds.SOPInstanceUID) for ds in sent.results)
    assert len(of_class(sent.results, SR)) == 1
    assert len(sent.maps) == sum(row["kind"] == "sc" for row in rows) >= 1


def test_results_belong_to_the_same_study_and_patient(sent: Sent) -> None:
    for ds in sent.results:
        for keyword in (
            "StudyInstanceUID", "PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex",
            "AccessionNumber", "StudyID", "StudyDate", "StudyTime",
        ):  # fmt: skip
            assert ds.get(keyword, "") == sent.source.get(keyword, ""), keyword
        assert ds.SeriesInstanceUID != sent.source.SeriesInstanceUID


def test_the_report_says_what_the_database_says(findings: Told, sent: Sent) -> None:
    records = findings.of(sent.study_uid)
    assert {record["sop_instance_uid"] for record in records} == {str(sent.source.SOPInstanceUID)}
    assert {record["system"] for record in records} == {"cxnet", "cnncf-xr", "patch-vote", "two-step", "ensemble"}
    told = {(finding, value) for _, finding, value in probabilities(sent.report)}
    for record in records:
        wanted = record["code"].split(":", 1)[1], record["probability"]
        assert any(finding == wanted[0] and value == pytest.approx(wanted[1], abs=2e-4) for finding, value in told), (
            f"{record['system']} {record['class']} {wanted} is not among {told}"
        )
    assert len(probabilities(sent.report)) == len(records)


def test_the_report_names_its_algorithms_and_says_it_is_no_diagnosis(findings: Told, sent: Sent) -> None:
    everything = " ".join(str(item.get(name, "")) for item in items(sent.report) for name in ("TextValue", "UID"))
    for record in findings.of(sent.study_uid):
        assert record["weights_sha256"][:12] in everything
    assert "research use only" in everything.lower()
    assert sent.report.VerificationFlag == "UNVERIFIED"
    assert all(item.ContinuityOfContent == "SEPARATE" for item in items(sent.report) if "ContinuityOfContent" in item)


def test_lesion_centres_stand_in_the_report(lesions: Told, sent: Sent) -> None:
    points = [
        (float(item.GraphicData[0]), float(item.GraphicData[1]))
        for group in groups(sent.report)
        for item in items(group)
        if item.ValueType == "SCOORD" and item.GraphicType == "POINT"
    ]
    for lesion in lesions.of(sent.study_uid):
        assert 0 <= lesion["x_unit"] <= 1
        assert 0 <= lesion["y_unit"] <= 1
        near = [np.hypot(x - lesion["x_px"], y - lesion["y_px"]) for x, y in points]
        assert min(near, default=99.0) < 1.1, lesion  # SCOORD counts from the corner of the first pixel


def test_results_refer_to_the_film(sent: Sent) -> None:
    film = sent.source.SOPInstanceUID
    evidence = [
        reference.ReferencedSOPInstanceUID
        for study in sent.report.CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for reference in series.ReferencedSOPSequence
    ]
    assert film in evidence
    for ds in sent.maps:
        assert [source.ReferencedSOPInstanceUID for source in ds.SourceImageSequence] == [film]


def test_heat_maps_show_something_and_name_nobody(sent: Sent) -> None:
    for ds in sent.maps:
        pixels = ds.pixel_array
        assert pixels.ndim == 3
        assert pixels.shape[2] == 3
        assert pixels.std() > 10
        colour = np.abs(pixels.astype(int).max(axis=2) - pixels.astype(int).min(axis=2))
        assert (colour > 30).mean() > 0.001, "a heat map without colour"
        assert (
            "not for diagnosis"
            in str(ds.get("SeriesDescription", "") + str(ds.get("DerivationDescription", ""))).lower()
        )
        assert ds.get("BurnedInAnnotation", "NO") == "NO" or "BurnedInAnnotation" not in sent.source


def test_validators_find_no_error(sent: Sent, tmp_path: Path) -> None:
    for ds in sent.results:
        path = saved(ds, tmp_path)
        assert dciodvfy(path) == []
        if ds.SOPClassUID == SR:
            assert dsrdump(path).code == 0, dsrdump(path).text
            page = dsr2html(path)
            assert page.code == 0
            assert "probability" in page.out.lower()


def test_orthanc_gives_back_the_bytes_that_were_built(node: LungnodeProcess, sent: Sent, tmp_path: Path) -> None:
    for ds in sent.results:
        (row,) = node.rows("SELECT path, sha256 FROM outputs WHERE sop_uid = ?", str(ds.SOPInstanceUID))
        (built,) = [path for path in node.data.rglob("*") if path.is_file() and str(path).endswith(row["path"])]
        assert hashlib.sha256(built.read_bytes()).hexdigest() == row["sha256"]
        assert pydicom.dcmread(built) == ds


def test_both_photometric_interpretations_give_the_same_findings(
    node: LungnodeProcess, real_sent: dict[str, Sent]
) -> None:
    """A film stored as its negative, with MONOCHROME1 saying so."""
    _alike(_findings(node, real_sent["pneumonia as CR"]), _findings(node, real_sent["pneumonia"]))


def test_the_xrv_films_give_the_same_findings(node: LungnodeProcess, real_sent: dict[str, Sent]) -> None:
    """Their stored values are identical; one of them says MONOCHROME1 and is not."""
    _alike(_findings(node, real_sent["xrv MONOCHROME1"]), _findings(node, real_sent["xrv MONOCHROME2"]))


def _alike(one: dict[tuple[str, str], float], other: dict[tuple[str, str], float]) -> None:
    """The patches of the vote, and with it the mean, are drawn by the film's identifier; all else is the same."""
    drawn_by_uid = ("patch-vote", "ensemble")
    assert one == pytest.approx(other, abs=0.1)
    exact = [{key: p for key, p in found.items() if key[0] not in drawn_by_uid} for found in (one, other)]
    assert exact[0] == pytest.approx(exact[1])


def test_a_jpeg_film_gives_the_findings_of_its_decoded_pixels(
    node: LungnodeProcess, real_sent: dict[str, Sent]
) -> None:
    kept, decoded = _findings(node, real_sent["JPEG kept"]), _findings(node, real_sent["pneumonia"])
    assert kept == pytest.approx(decoded, abs=0.02)


def _findings(node: LungnodeProcess, sent: Sent) -> dict[tuple[str, str], float]:
    records = node.query("--study", sent.study_uid)
    assert records
    return {(record["system"], record["class"]): record["probability"] for record in records}


def test_a_resend_gives_no_new_result(node: LungnodeProcess, orthanc: Orthanc, all_sent: dict[str, Sent]) -> None:
    sent = all_sent["drawn"]
    before = _counts(node, sent.study_uid)
    assert store(node.dicom_port, [encoded(sent.source)]) == [0x0000]
    node.wait_settled([sent.study_uid])
    assert _counts(node, sent.study_uid) == before
    assert orthanc.count(sent.study_uid) == len(sent.results)


def test_other_bytes_under_a_known_uid_are_refused(node: LungnodeProcess, all_sent: dict[str, Sent]) -> None:
    other = encoded(wrap(Film(drawn(13), "main drawn")))
    (status,) = store(node.dicom_port, [other])
    assert status is not None
    assert status != 0x0000
    (row,) = node.rows("SELECT status, reason FROM refusals WHERE sop_uid = ?", other.sop_instance_uid)
    assert row["status"] == status
    assert row["reason"]


def test_results_routed_back_are_stored_and_not_analysed(
    node: LungnodeProcess, orthanc: Orthanc, all_sent: dict[str, Sent]
) -> None:
    sent = all_sent["drawn, sent by dcmsend in JPEG 2000"]
    before = _counts(node, sent.study_uid)
    orthanc.send("node", orthanc.instances(sent.study_uid))
    node.wait_settled([sent.study_uid])
    for ds in sent.results:
        (row,) = node.rows("SELECT is_own_result FROM instances WHERE sop_uid = ?", str(ds.SOPInstanceUID))
        assert row["is_own_result"] == 1
    assert _counts(node, sent.study_uid) == before
    assert orthanc.count(sent.study_uid) == len(sent.results)


def test_a_study_of_nothing_but_our_results_is_only_stored(node: LungnodeProcess, all_sent: dict[str, Sent]) -> None:
    """As when another node of ours shares the PACS."""
    strangers = []
    for ds in all_sent["drawn"].results:
        copy = pydicom.Dataset(ds)
        copy.file_meta = ds.file_meta
        copy.StudyInstanceUID = uid("study", "only our results")
        copy.SOPInstanceUID = uid("instance", f"only our results {ds.SOPInstanceUID}")
        strangers.append(encoded(copy))
    assert set(store(node.dicom_port, strangers)) == {0x0000}
    study = uid("study", "only our results")
    node.wait_settled([study])
    (row,) = node.rows("SELECT state FROM studies WHERE study_uid = ?", study)
    assert row["state"] == "stored"
    assert node.rows("SELECT 1 FROM jobs JOIN studies ON studies.id = subject_id AND kind = 'analyse'"
                     " WHERE study_uid = ?", study) == []  # fmt: skip


def test_a_late_film_supersedes_the_first_result(node: LungnodeProcess, orthanc: Orthanc) -> None:
    films = [Film(drawn(seed), f"late {seed}", "late", view=view) for seed, view in ((21, "PA"), (22, "AP"))]
    instances: list[Encoded] = [encoded(wrap(film)) for film in films]
    study = films[0].study_uid
    for number, instance in enumerate(instances, 1):
        assert store(node.dicom_port, [instance]) == [0x0000]
        node.wait_settled([study])
        analyses = node.rows(
            "SELECT superseded, instances_used FROM analyses JOIN studies ON studies.id = study_id"
            " WHERE study_uid = ? ORDER BY analyses.id",
            study,
        )
        assert [row["superseded"] for row in analyses] == [1] * (number - 1) + [0]
        assert analyses[-1]["instances_used"] == number
    now = {record["sop_instance_uid"] for record in node.query("--study", study)}
    assert now == {instance.sop_instance_uid for instance in instances}
    reports = of_class(orthanc.datasets(study), SR)
    assert len(reports) == 2
    assert len({str(report.SOPInstanceUID) for report in reports}) == 2


def test_no_identifying_value_is_logged(node: LungnodeProcess, all_sent: dict[str, Sent]) -> None:
    assert node.events(), "the log holds no events"
    assert_no_marker(node.logged(), "the logs")
    assert_no_marker(node.http("/metrics")[1], "the metrics")
    assert_no_marker(node.status() + "".join(node.status(sent.study_uid) for sent in all_sent.values()), "the status")


def _counts(node: LungnodeProcess, study: str) -> list[int]:
    """Analyses, outputs, deliveries and attempts of a study."""
    (row,) = node.rows(
        "SELECT count(DISTINCT analyses.id), count(DISTINCT outputs.id), count(deliveries.id), sum(attempts)"
        " FROM studies JOIN analyses ON study_id = studies.id LEFT JOIN outputs ON analysis_id = analyses.id"
        " LEFT JOIN deliveries ON output_id = outputs.id WHERE study_uid = ?",
        study,
    )
    return list(row)


def test_the_report_states_each_class_by_a_code_and_a_word(sent: Sent) -> None:
    findings = [
        item for group in groups(sent.report) for item in items(group) if concept(item) == "121071"  # Finding, DCM
    ]  # fmt: skip
    assert findings
    for item in findings:
        assert code(item.ConceptCodeSequence[0])
        assert item.ConceptCodeSequence[0].CodeMeaning
