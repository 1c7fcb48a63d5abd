"""Matching of PS3.4 section C.2.2.2, value by value. Not covered: what a node holds (tests/dimse/test_find.py)."""

from __future__ import annotations

import re
import time
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.datadict import dictionary_VR

from node.pipeline import query_keys
from node.pipeline.query_keys import KEYS, LEVELS, UNIQUE, Key, Level, Value, days, known_at, matches

BY_KEYWORD = known_at(Level.IMAGE)
DATES = st.dates(date(1000, 1, 1))


def fits(keyword: str, wanted: str, value: Value) -> bool:
    return matches(BY_KEYWORD[keyword], wanted, value)


@pytest.mark.parametrize(
    "keyword, wanted, value, fit",
    [
        ("PatientID", "", "anything", True),  # universal
        ("PatientID", "*", "", True),
        ("PatientID", "AB1", "AB1", True),
        ("PatientID", "AB1", " AB1 ", True),  # padding is nothing
        ("PatientID", "ab1", "AB1", False),  # case counts but in names
        ("PatientID", "A?1", "AB1", True),
        ("PatientID", "A?1", "A1", False),
        ("PatientID", "A*", "A", True),
        ("PatientID", "A.1", "AB1", False),  # a dot is a dot
        ("PatientID", "A[B]1", "AB1", False),
        ("PatientName", "müller^anna", "Müller^Anna", True),
        ("PatientName", "MULLER^*", "Müller^Anna", True),
        ("PatientName", "Müller", "Müller^Anna", False),
        ("PatientName", "Müller^Anna^^^", "Müller^Anna", True),
        ("PatientName", "Yamada^Tarou", "Yamada^Tarou=山田^太郎=やまだ^たろう", True),
        ("PatientName", "山田*", "Yamada^Tarou=山田^太郎=やまだ^たろう", True),
        ("PatientName", "太郎", "Yamada^Tarou=山田^太郎", False),
        ("StudyInstanceUID", "1.2.3", "1.2.3", True),
        ("StudyInstanceUID", "1.2.3\\1.2.4", "1.2.4", True),
        ("StudyInstanceUID", "1.2.3\\1.2.4", "1.2", False),
        ("StudyInstanceUID", "1.2.*", "1.2.3", False),  # no wildcards in UIDs
        ("StudyDate", "20200102", "20200102", True),
        ("StudyDate", "20200101-20200102", "20200102", True),
        ("StudyDate", "20200102-", "20200101", False),
        ("StudyDate", "-20200102", "19990101", True),
        ("StudyDate", "-20200102", "", False),  # no date is in no range
        ("StudyDate", "2020.01.02", "20200102", True),  # the form of ACR-NEMA, PS3.5 Table 6.2-1
        ("StudyDate", "yesterday", "20200102", False),
        ("StudyTime", "101112", "101112", True),
        ("StudyTime", "1011", "101112.5", True),  # a minute is all of it
        ("StudyTime", "1000-1010", "101059.9", True),
        ("StudyTime", "1000-1010", "101100", False),
        ("StudyTime", "10:00-10:10", "1005", True),
        ("StudyTime", "10-", "", False),
        ("SeriesNumber", "01", 1, True),
        ("SeriesNumber", "1", None, False),
        ("SeriesNumber", "x", 1, False),
        ("ModalitiesInStudy", "CT", ("CR", "CT"), True),
        ("ModalitiesInStudy", "CT", (), False),
        ("ModalitiesInStudy", "CR\\CT", ("CT",), True),
        ("SOPClassesInStudy", "1.2.3", ("1.2.3", "1.2.4"), True),
        ("NumberOfStudyRelatedSeries", "99", 1, True),  # only returned
    ],
)
def test_a_value_fits_or_not(keyword: str, wanted: str, value: Value, fit: bool) -> None:
    assert fits(keyword, wanted, value) is fit


@given(st.text("ab*?", max_size=8), st.text("ab", max_size=8))
def test_wildcards_mean_what_a_regular_expression_says(wanted: str, value: str) -> None:
    pattern = "".join({"*": ".*", "?": "."}.get(sign, sign) for sign in wanted)
    assert fits("PatientID", wanted, value) == (not wanted or re.fullmatch(pattern, value) is not None)


def test_many_asterisks_cost_nothing() -> None:
    started = time.process_time()
    assert not fits("PatientID", "*a" * 32, "a" * 31 + "b" * 10_000)
    assert time.process_time() - started < 5  # a pattern that goes back to each asterisk would take for ever


@given(DATES, DATES, DATES)
def test_a_range_of_days_holds_both_ends_and_what_lies_between(first: date, last: date, day: date) -> None:
    a, b, c = (f"{one:%Y%m%d}" for one in (first, last, day))
    assert fits("StudyDate", f"{a}-{b}", c) == (a <= c <= b)
    found = days(f"{a}-{b}")
    assert found is not None and (found[0] <= c <= found[1]) == (a <= c <= b)


@given(st.text(max_size=20), st.sampled_from([key for key in KEYS if key.matched]), st.text(max_size=20))
def test_whatever_is_asked_there_is_an_answer(wanted: str, key: Key, value: str) -> None:
    assert matches(key, wanted, value) in (True, False)
    assert days(wanted) is None or len(days(wanted) or ()) == 2


def test_the_table_is_of_the_dictionary_and_has_the_unique_and_required_keys() -> None:
    assert all(dictionary_VR(key.keyword.rpartition(".")[2]) == key.vr for key in KEYS)
    assert len({key.keyword for key in KEYS}) == len(KEYS) and list(UNIQUE) == list(LEVELS)
    required = {(key.level.value, key.keyword) for key in KEYS if key.kind == "R"}
    assert required == {  # PS3.4 Tables C.6-1 to C.6-5
        ("PATIENT", "PatientName"),
        ("STUDY", "StudyDate"), ("STUDY", "StudyTime"), ("STUDY", "AccessionNumber"), ("STUDY", "StudyID"),
        ("SERIES", "Modality"), ("SERIES", "SeriesNumber"),
        ("IMAGE", "InstanceNumber"),
    }  # fmt: skip


def test_what_is_asked_is_made_plain_once_for_all_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pattern of 64 KiB among 100,000 patients kept a receiver busy for minutes."""
    wanted, folded, plain = f"é*{'?' * 500}", list[str](), query_keys._plain
    monkeypatch.setattr(query_keys, "_plain", lambda name: folded.append(name) or plain(name))
    assert not any(fits("PatientName", wanted, f"Meyer^{number}") for number in range(50))
    assert folded.count(wanted) == 1
    assert len(folded) == 51
