"""Broken, lying and huge data sets: each is answered, none stops the node, and the next good film is served at once.

An answer is a failure status with a stored reason, or success and then a result (findings, or a refusal's sentence).
Not covered: malformed PDUs and associations (tests/dimse).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.bad_films import Bad, broken, three_hundred_megabytes
from tests.e2e.conftest import QUICK, assert_no_marker
from tests.e2e.reading import SR, of_class
from tests.films import Film, drawn, encoded, wrap
from tests.peers import Orthanc
from tests.sending import store
from tests.served import LungnodeProcess

ALL = {bad.name: bad for bad in broken()}
REFUSED = {  # nothing could be stored under such a data set: these never get 0x0000
    "truncated in the header", "noise", "one byte", "no Study Instance UID", "no Series Instance UID",
    "no SOP Instance UID", "another SOP Instance UID than the command says", "a Study UID that is a path",
}  # fmt: skip
UNDERSTOOD = {  # nothing is wrong with the picture: these must be taken
    "an empty Patient ID", "an unknown character set", "bytes that are not UTF-8", "a character set that nobody needs",
}  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    statuses: list[int | None]
    good_served: bool  # a good film was sent right after, and its report came


@pytest.fixture(scope="module")
def node(orthanc: Orthanc) -> Iterator[LungnodeProcess]:
    """With one system alone: that each is answered is tested here, not what all of them find."""
    settings = QUICK + '\n[analysis]\nsystems = ["cxnet"]\nindicators = []\n'
    with LungnodeProcess(settings=settings, send_to=[orthanc.address]) as running:
        yield running


@pytest.fixture(scope="module")
def outcomes(node: LungnodeProcess, orthanc: Orthanc) -> dict[str, Outcome]:
    """Everything bad one after another; after every seventh a good film must come through, quickly."""
    found: dict[str, Outcome] = {}
    for number, bad in enumerate(ALL.values()):
        statuses = store(node.dicom_port, bad.instances)
        served = False
        if number % 7 == 6:
            good = wrap(Film(drawn(100 + number, 256), f"good after {bad.name}"))
            assert store(node.dicom_port, [encoded(good)]) == [0x0000]
            node.wait_settled([str(good.StudyInstanceUID)], 120)
            served = True
            assert of_class(orthanc.datasets(str(good.StudyInstanceUID)), SR)
        found[bad.name] = Outcome(statuses, served)
    return found


@pytest.fixture(params=list(ALL))
def bad(request: pytest.FixtureRequest) -> Bad:
    return ALL[request.param]


def test_every_instance_is_answered(node: LungnodeProcess, outcomes: dict[str, Outcome], bad: Bad) -> None:
    statuses = outcomes[bad.name].statuses
    assert None not in statuses, "no response, or the association broke"
    if bad.name in REFUSED:
        assert 0x0000 not in statuses
    if bad.name in UNDERSTOOD:
        assert statuses == [0x0000]
    for instance, status in zip(bad.instances, statuses, strict=True):
        rows = node.rows("SELECT reason, status FROM refusals WHERE sop_uid = ?", instance.sop_instance_uid)
        assert [row["status"] for row in rows] == ([] if status == 0x0000 else [status])
        assert all(row["reason"].strip().endswith(".") or len(row["reason"]) > 10 for row in rows)


def test_what_was_accepted_gets_a_result(
    node: LungnodeProcess, orthanc: Orthanc, outcomes: dict[str, Outcome], bad: Bad
) -> None:
    if 0x0000 not in outcomes[bad.name].statuses:
        return  # its status was the answer
    studies = node.rows(
        "SELECT DISTINCT study_uid FROM instances JOIN series ON series.id = series_id"
        " JOIN studies ON studies.id = study_id WHERE sop_uid = ?",
        bad.instances[0].sop_instance_uid,
    )
    (study,) = [row["study_uid"] for row in studies]
    node.wait_settled([study])
    (row,) = node.rows("SELECT state FROM studies WHERE study_uid = ?", study)
    assert row["state"] == "analysed", node.status(study)
    reports = of_class(orthanc.datasets(study), SR)
    assert len(reports) == 1


def test_the_good_films_between_were_served_at_once(outcomes: dict[str, Outcome]) -> None:
    """Each was waited for, with its report, before the next bad one was sent."""
    assert sum(outcome.good_served for outcome in outcomes.values()) >= 3


def test_nothing_crashed_and_nothing_is_stuck(node: LungnodeProcess, outcomes: dict[str, Outcome]) -> None:
    open_studies = "SELECT study_uid, state FROM studies WHERE state NOT IN ('analysed', 'stored')"
    deadline = time.monotonic() + 120
    while node.rows(open_studies) and time.monotonic() < deadline:
        time.sleep(0.3)
    assert [tuple(row) for row in node.rows(open_studies)] == []
    assert [line["traceback"] for line in node.events() if "traceback" in line] == []
    assert node.http("/health/ready")[0] == 200


def test_no_identifying_value_is_logged(node: LungnodeProcess, outcomes: dict[str, Outcome]) -> None:
    assert_no_marker(node.logged(), "the logs")
    reasons = "\n".join(row["reason"] for row in node.rows("SELECT reason FROM refusals"))
    assert_no_marker(reasons, "the reasons of refusals")


def test_two_patients_in_one_study_are_not_mixed(
    node: LungnodeProcess, orthanc: Orthanc, outcomes: dict[str, Outcome]
) -> None:
    """Either the second is refused, or the study is: no finding may be filed under the wrong patient."""
    bad = ALL["two patients in one study"]
    statuses = outcomes[bad.name].statuses
    assert statuses[0] == 0x0000
    patients = {str(ds.PatientID) for ds in orthanc.datasets(bad.study_uid)}
    assert len(patients) <= 1
    if statuses[1] == 0x0000:
        assert node.query("--study", bad.study_uid) == []


@pytest.fixture(scope="module")
def small_node(orthanc: Orthanc) -> Iterator[LungnodeProcess]:
    settings = QUICK + "\n[receive]\nmax_instance_bytes = 1000000\n"
    with LungnodeProcess("--workers", "0", settings=settings) as running:
        yield running


def test_a_data_set_over_the_limit_is_refused(small_node: LungnodeProcess) -> None:
    big = encoded(wrap(Film(drawn(5, 1024), "over the limit")))
    fit = encoded(wrap(Film(drawn(5, 256), "under the limit")))
    statuses = store(small_node.dicom_port, [big, fit])
    assert statuses[1] == 0x0000
    assert statuses[0] not in (None, 0x0000)


def test_three_hundred_megabytes(node: LungnodeProcess, orthanc: Orthanc) -> None:
    bad = three_hundred_megabytes()
    good = wrap(Film(drawn(6, 256), "good after 300 MB"))
    (status,) = store(node.dicom_port, bad.instances)
    assert status is not None
    assert store(node.dicom_port, [encoded(good)]) == [0x0000]
    node.wait_settled([str(good.StudyInstanceUID)], 200)
    if status == 0x0000:
        node.wait_settled([bad.study_uid], 200)
        assert of_class(orthanc.datasets(bad.study_uid), SR)
    assert node.http("/health/ready")[0] == 200
