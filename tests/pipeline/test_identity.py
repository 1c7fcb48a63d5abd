"""One rule for who is the same patient."""

from __future__ import annotations

import pytest
from pydicom import Dataset

from node.pipeline.identity import contradiction


def patient(**changes: str) -> Dataset:
    ds = Dataset()
    values = {"PatientID": "P1", "IssuerOfPatientID": "", "PatientName": "Doe^Jane", "PatientBirthDate": "19700101"}
    for keyword, value in (values | changes).items():
        setattr(ds, keyword, value)
    return ds


@pytest.mark.parametrize(
    "other", [{}, {"PatientName": ""}, {"PatientName": "DOE^JANE^^"}, {"PatientBirthDate": ""}, {"PatientID": "P1 "}]
)
def test_these_may_be_one_patient(other: dict[str, str]) -> None:
    assert contradiction([patient(), patient(**other)]) == ""


@pytest.mark.parametrize(
    "other, keyword",
    [
        ({"PatientID": "P2"}, "PatientID"),
        ({"PatientID": ""}, "PatientID"),
        ({"PatientID": "p1"}, "PatientID"),
        ({"IssuerOfPatientID": "ELSEWHERE"}, "IssuerOfPatientID"),
        ({"PatientName": "Roe^Jane"}, "PatientName"),
        ({"PatientBirthDate": "19700102"}, "PatientBirthDate"),
    ],
)
def test_these_may_not(other: dict[str, str], keyword: str) -> None:
    assert contradiction([patient(), patient(**other)]) == keyword


def test_a_missing_name_does_not_join_two_others() -> None:
    assert contradiction([patient(PatientName=""), patient(), patient(PatientName="Roe^Jane")]) == "PatientName"
    assert contradiction([]) == "" and contradiction([Dataset(), Dataset()]) == ""
