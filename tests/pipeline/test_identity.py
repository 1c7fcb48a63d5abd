"""One rule for who is the same patient, among headers and between a header and what a destination answers."""

from __future__ import annotations

import pytest
from pydicom import Dataset

from node.pipeline.identity import Patient, contradiction, difference


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


def known(**changes: str) -> Patient:
    """What a destination that knows the patient of ``patient()`` would answer."""
    values = {"patient_id": "P1", "issuer": "", "name": "Doe^Jane", "birth_date": "19700101"}
    return Patient(**(values | changes))


@pytest.mark.parametrize(
    "name, theirs",
    [
        ("Doe^Jane", known()),
        ("Doe^Jane", known(name="DOE^JANE^^^", birth_date="")),
        ("Doe^Jane", known(name="")),
        ("Doe^Jane", known(issuer="HOSPITAL")),  # ours says nothing of it
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", known(name="Yamada^Tarou")),
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", known(name="Yamada^Tarou=^=^")),  # so answers Orthanc
        ("Wang^XiaoDong=王^小東", known(name="Wang^XiaoDong=??^??")),
        ("Novák^Řehoř", known(name="Novák^eho")),  # Orthanc in Latin-1
        ("Novák^Řehoř", known(name="NOVAK^REHOR")),
        ("Łukasz^Jan", known(name="?ukasz^Jan")),
    ],
)
def test_a_destination_may_mean_the_same_patient(name: str, theirs: Patient) -> None:
    assert difference(patient(PatientName=name), theirs) == ""


@pytest.mark.parametrize(
    "changes, theirs, keyword",
    [
        ({}, known(patient_id="P2"), "PatientID"),
        ({}, known(patient_id=""), "PatientID"),
        ({"PatientID": ""}, known(), "PatientID"),
        ({"IssuerOfPatientID": "HERE"}, known(issuer="ELSEWHERE"), "IssuerOfPatientID"),
        ({}, known(name="Roe^Jane"), "PatientName"),
        ({}, known(name="Doe^Jan"), "PatientName"),
        ({}, known(name="Doe^Janet"), "PatientName"),
        ({"PatientName": "Wang^XiaoDong=王^小東"}, known(name="Wang^XiaoDong=王^小明"), "PatientName"),
        ({"PatientName": "Novák^Řehoř"}, known(name="Novák^Jan"), "PatientName"),
        ({}, known(birth_date="19700102"), "PatientBirthDate"),
    ],
)
def test_a_destination_means_another_patient(changes: dict[str, str], theirs: Patient, keyword: str) -> None:
    assert difference(patient(**changes), theirs) == keyword
