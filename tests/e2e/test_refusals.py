"""Sound images that are no frontal chest film, or none that can be judged: a stored and delivered sentence, no finding.

Not covered: the rules themselves, one by one (tests/pipeline).
"""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom import Dataset

from tests.bad_films import Unsuited, unsuited
from tests.e2e.conftest import assert_no_marker
from tests.e2e.reading import SR, of_class, probabilities, saved, texts
from tests.films import MARKER
from tests.peers import Orthanc, dciodvfy, dsrdump
from tests.sending import store
from tests.served import LungnodeProcess

ALL = {case.name: case for case in unsuited()}


@pytest.fixture(scope="module")
def answered(node: LungnodeProcess, orthanc: Orthanc) -> dict[str, list[Dataset]]:
    cases = list(ALL.values())
    assert store(node.dicom_port, [case.instance for case in cases]) == [0x0000] * len(cases)
    node.wait_settled([case.study_uid for case in cases], 180)
    return {case.name: orthanc.datasets(case.study_uid) for case in cases}


@pytest.fixture(params=sorted(ALL))
def case(request: pytest.FixtureRequest) -> Unsuited:
    return ALL[request.param]


def test_the_refusal_is_stored_with_its_reason(
    node: LungnodeProcess, answered: dict[str, list[Dataset]], case: Unsuited
) -> None:
    (row,) = node.rows(
        "SELECT state, outcome, reason FROM analyses JOIN studies ON studies.id = study_id WHERE study_uid = ?",
        case.study_uid,
    )
    assert (row["state"], row["outcome"]) == ("analysed", "refused")
    assert _tells(row["reason"], case), row["reason"]
    assert node.query("--study", case.study_uid) == []
    assert _tells(node.status(case.study_uid), case)


def test_the_refusal_is_delivered_as_a_report(
    answered: dict[str, list[Dataset]], case: Unsuited, tmp_path: Path
) -> None:
    (report,) = of_class(answered[case.name], SR)
    assert answered[case.name] == [report], "a refusal has no heat map"
    assert report.PatientID == MARKER.patient_id
    assert _tells(texts(report), case), texts(report)
    assert probabilities(report) == set()
    assert "absent" not in str(report).lower(), "not analysed is not the absence of a finding"
    path = saved(report, tmp_path)
    assert dciodvfy(path) == []
    assert dsrdump(path).code == 0


def test_no_identifying_value_is_logged(node: LungnodeProcess, answered: dict[str, list[Dataset]]) -> None:
    assert_no_marker(node.logged(), "the logs")


def _tells(text: str, case: Unsuited) -> bool:
    return any(word in text.lower() for word in case.words)
