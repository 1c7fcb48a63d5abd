"""Illegal values of a header, one by one: what is legal stays, the rest is mended or left out, none becomes another.

No object is built here: test_bad_headers does that.
"""

from __future__ import annotations

import itertools
from datetime import date

import pytest
from hypothesis import given
from hypothesis import settings as trying
from hypothesis import strategies as st

from node.results import legal
from node.results.source import source_of
from tests.results.hostile import damaged
from tests.results.records import header

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom warns of exactly what is meant here

SOUND: dict[str, tuple[str, ...]] = {
    "AS": ("062Y", "001D"),
    "CS": ("YES",),
    "DA": ("20240229", "18770317"),
    "DS": ("1.62", "-1.2E-5", "1234567890.12345"),
    "IS": ("1", "-2147483648"),
    "LO": ("PID 1/2", "ä" * 64),
    "LT": ("a\r\nb\f\\", "x" * 10240),
    "PN": ("Doe^Jane", "A^B^C^D^E", "Yamada^Tarou=山田^太郎=やまだ^たろう", "ä" * 64, ""),
    "SH": ("1234567890123456",),
    "ST": ("Main Street 1\r\nTown",),
    "TM": ("10", "101112.123456"),
    "UI": ("1.2.840.10008.1.1",),
    "UT": ("x" * 2000,),
}


@pytest.mark.parametrize("vr, text", [(vr, text) for vr, sound in SOUND.items() for text in sound])
def test_what_is_legal_stays_as_it_is(vr: str, text: str) -> None:
    assert legal.values("BurnedInAnnotation" if vr == "CS" else "", vr, "1", [text]) == ([text] if text else [])


@pytest.mark.parametrize(
    "vr, keyword, text, mended",
    [
        ("DA", "PatientBirthDate", "2024.05.06", "20240506"),
        ("DA", "PatientBirthDate", "00000000", None),
        ("DA", "PatientBirthDate", "20230229", None),
        ("DA", "PatientBirthDate", "20200101-20210101", None),
        ("TM", "StudyTime", "10:11:12.5", "101112.5"),
        ("TM", "StudyTime", "101112.123456789", "101112.123456"),
        ("TM", "StudyTime", "24", None),
        ("AS", "PatientAge", "62", None),
        ("CS", "PatientSex", "f", "F"),
        ("CS", "PatientSex", "U", None),
        ("CS", "BurnedInAnnotation", "PERHAPS", None),
        ("CS", "TypeOfPatientID", "NUMBER", None),
        ("CS", "PatientIdentityRemoved", "NEVER", None),
        ("CS", "PatientOrientation", "LL", None),
        ("DS", "PatientSize", "1.733333333333333333", "1.73333333333333"),
        ("DS", "PatientSize", "inf", None),
        ("DS", "PatientSize", "1,73", None),
        ("IS", "InstanceNumber", "99999999999", None),
        ("UI", "ReferencedSOPInstanceUID", "1.02.3", None),
        ("UI", "ReferencedSOPInstanceUID", "1.2." + "3" * 61, None),
        ("LO", "StudyDescription", "Chest\r\nPA", "Chest PA"),
        ("LO", "StudyDescription", "x" * 65, "x" * 61 + "..."),
        ("PN", "PatientName", "Doe^Jane\n", "Doe^Jane"),
        ("PN", "PatientName", "Doe^Jane^A^Dr.^Jr.^II", "Doe^Jane^A^Dr.^Jr. II"),
        ("PN", "PatientName", "a=b=c=d", "a=b=c"),
        ("PN", "PatientName", "^^^^", None),
        ("LO", "CodeMeaning", "Chest", "Chest"),
        ("SH", "CodeValue", "TOO-LONG-A-CODE-VALUE", None),
    ],
)
def test_what_is_not_is_mended_or_left_out(vr: str, keyword: str, text: str, mended: str | None) -> None:
    assert legal.values(keyword, vr, "1", [text]) == ([mended] if mended else [])


lines = st.text(st.characters(exclude_categories=["Cs"]), max_size=80)


@trying(max_examples=300, deadline=None, derandomize=True)
@given(st.sampled_from(sorted(legal.FORMS)), st.sampled_from(["PatientID", "PatientName", "StudyDescription"]), lines)
def test_mending_twice_is_mending_once(vr: str, keyword: str, text: str) -> None:
    """So that a result compared with its source, mended again, is found to be the same."""
    once = legal.values(keyword, vr, "1", [text], "salt")
    assert legal.values(keyword, vr, "1", once, "salt") == once if once else True


@trying(max_examples=300, deadline=None, derandomize=True)
@given(st.lists(st.text(st.sampled_from("A1\n\t\0\x1b ä\\~"), max_size=70), min_size=2, max_size=2, unique=True))
def test_two_patient_ids_never_become_one(ids: list[str]) -> None:
    one, two = (text.strip(" \t\r\n\0") for text in ids)
    mended = [legal.values("PatientID", "LO", "1", text.split("\\")) for text in ids]
    written = [str(found[0]) if found else "" for found in mended]
    assert written[0] != written[1] or one == two or not any(written)
    assert all(len(text) <= 64 and text.isprintable() for text in written)


@pytest.mark.parametrize(
    "keyword, value, begins",
    [
        ("PatientID", b"PID1\r\nPID2", "PID1 PID2~"),
        ("PatientID", b"A" * 80, "A" * 55 + "~"),
        ("PatientID", b"PID1\\PID2", "PID1 PID2~"),
        ("PatientID", b"PID\xff1", "PID?1~"),
        ("IssuerOfPatientID", b"WARD\n3", "WARD 3~"),
        ("AccessionNumber", b"ACC-2024-0000012345", "ACC-202~"),
        ("PatientName", b"Doe^" + b"J" * 16000, "Doe^" + "J" * 51 + "~"),
    ],
)
def test_a_changed_name_or_identifier_is_recognised_and_marked(keyword: str, value: bytes, begins: str) -> None:
    source = source_of(damaged(header(), lambda _keyword, _vr: value, [keyword]))
    written = str(source[keyword].value)
    assert written.startswith(begins) and len(written) == len(begins) + 8
    other = source_of(damaged(header(), lambda _keyword, _vr: value + b"X", [keyword]))
    assert str(other[keyword].value) != written


def test_letters_that_were_lost_do_not_join_two_studies() -> None:
    """Of two such identifiers nobody can say that they are the same."""
    one, two = header("one"), header("two")
    written = {source_of(damaged(ds, lambda *_: b"P\xe4", ["PatientID"])).PatientID for ds in (one, two)}
    assert len(written) == 2


def test_dates_that_are_kept_are_days() -> None:
    for year, month, day in itertools.product((1, 999, 2024), (0, 2, 12, 13), (0, 28, 29, 30, 31)):
        text = f"{year:04}{month:02}{day:02}"
        kept = legal.values("StudyDate", "DA", "1", [text])
        assert kept == ([text] if _is_day(year, month, day) else [])


def _is_day(year: int, month: int, day: int) -> bool:
    try:
        date(year, month, day)
    except ValueError:
        return False
    return True
