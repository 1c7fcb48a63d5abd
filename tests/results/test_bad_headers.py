"""Hostile source headers: results are legal all the same, of the right patient, and say what they had to change of him.

Every kind of object that can be built is tested on the worst damages, on the others by turns; so are films and CT
series. The attributes that name study, image and pixels stay sound, since receipt and selection refuse
what lacks them (tests/e2e). Single values are in test_legal. Not covered: pixels (tests/film), geometry
(tests/geometry), how a PACS files a changed Patient ID.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import itertools
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as trying
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.dataelem import RawDataElement

from node.core import settings
from node.pipeline.identity import Patient, contradiction, difference
from node.results import common
from node.results.build import MAKERS, build
from node.results.elements import SEQUENCES
from node.results.record import AnalysisRecord
from tests.peers import dsrdump
from tests.results.hostile import COPIED, WAYS, Damage, damaged, errors, put, received
from tests.results.records import header, record, refusal
from tests.results.series import ct_record, slice_headers
from tests.results.test_objects import parsed, texts

REPORTS = ("sr", "regions", "ko")
EVERYTHING = dataclasses.replace(settings.load().objects, kinds=tuple(MAKERS))
TYPE_2 = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID",
          "AccessionNumber", "ReferringPhysicianName")  # fmt: skip
every_kind = pytest.mark.parametrize("kind", list(MAKERS))
ALIKE = [way for way in WAYS if way in ("empty", "blank", "zeros") or way.startswith("undecodable")]
WORST = ("absent", "too long", "every byte")  # these with every kind
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom warns of exactly what is meant here
every_way = pytest.mark.parametrize("way", list(WAYS))


def checked(made: AnalysisRecord, folder: Path) -> list[Dataset]:
    """The objects, each without an error of a validator, in the study of the source."""
    found = []
    for number, built in enumerate(build(made)):
        path = folder / f"{number}.dcm"
        path.write_bytes(built.content)
        assert errors(path) == [], built.kind
        if built.kind in REPORTS:
            done = dsrdump(path, "-Er")
            assert done.code == 0, done.text
        found.append(parsed(built))
        assert found[-1].StudyInstanceUID == made.reference.StudyInstanceUID
        assert not [element for element in found[-1].iterall() if element.tag.is_private]
    return found


@functools.cache
def hurt(source: str, way: str) -> AnalysisRecord:
    return of(source, *WAYS[way])


def of(source: str, damage: Damage, character_set: bytes | None = b"ISO_IR 192") -> AnalysisRecord:
    if source == "film":
        return record(damaged(header(), damage, character_set=character_set), wanted=EVERYTHING)
    return ct_record(
        [damaged(ds, damage, character_set=character_set) for ds in slice_headers()], wanted=EVERYTHING
    )  # fmt: skip


def alone(made: AnalysisRecord, *kinds: str) -> AnalysisRecord:
    return dataclasses.replace(made, wanted=dataclasses.replace(made.wanted, kinds=kinds))


@functools.cache
def is_made_of(source: str, kind: str) -> bool:
    return bool(build(alone(record() if source == "film" else ct_record(), kind)))


def source_for(kind: str, number: int) -> str:
    """Films and scans by turns, but what the kind is made of."""
    usable = [source for source in ("film", "scan") if is_made_of(source, kind)]
    return usable[number % len(usable)]


WAYS_AND_KINDS = [  # the others with some kinds each, and each kind with some of them
    (way, kind, number + place)
    for (number, way), (place, kind) in itertools.product(enumerate(WAYS), enumerate(MAKERS))
    if (number + place) % (7 if way in ALIKE else 1 if way in WORST else 2) == 0
]


@pytest.mark.parametrize("way, kind, number", WAYS_AND_KINDS)
def test_no_damage_makes_a_result_illegal(way: str, kind: str, number: int, tmp_path: Path) -> None:
    source = source_for(kind, number)
    assert checked(alone(hurt(source, way), kind), tmp_path)


@pytest.mark.parametrize("number, missing", list(enumerate(TYPE_2)))
def test_no_attribute_that_is_missing_makes_a_result_illegal(number: int, missing: str, tmp_path: Path) -> None:
    made = record(header(**{missing: None})) if number % 2 else ct_record(slice_headers(**{missing: None}))
    for ds in checked(alone(made, "summary", *list(MAKERS)[1 + number % 3 :: 3]), tmp_path):
        assert missing in ds and not ds[missing].value


@every_way
def test_a_refusal_of_such_a_study_is_legal_too(way: str, tmp_path: Path) -> None:
    damage, character_set = WAYS[way]
    assert checked(refusal(damaged(header(), damage, character_set=character_set)), tmp_path)


def test_sequences_for_text_and_text_for_sequences(tmp_path: Path) -> None:
    for made in (record, ct_record):
        headers = [header()] if made is record else slice_headers()
        for ds in headers:
            inner = Dataset()
            inner.PatientID = "NESTED"
            for keyword in COPIED:
                if keyword in SEQUENCES:
                    put(ds, keyword, b"no items", "LO")
                elif keyword not in ("Modality", "BurnedInAnnotation"):
                    put(ds, keyword, None)
                    ds.add_new(keyword, "SQ", [inner])
        files = [received(ds) for ds in headers]
        given = record(files[0], wanted=EVERYTHING) if made is record else ct_record(files, wanted=EVERYTHING)
        for ds in checked(given, tmp_path):
            assert ds.PatientID == "" and "NESTED" not in str(ds)


def test_private_elements_are_left_where_they_are(tmp_path: Path) -> None:
    source = header()
    request, deep = Dataset(), Dataset()
    for ds in (source, request, deep):
        ds.private_block(0x0011, "HOSTILE", create=True).add_new(0x01, "LO", "SECRETMARKER")
        ds.add_new(0x00110020, "LO", "a creator \\ of two")
    request.RequestedProcedureID, deep.ReferencedSOPClassUID = "RP1", "1.2.3"
    request.ReferencedStudySequence = [deep]
    source.RequestAttributesSequence = [request]
    for ds in checked(record(received(source), wanted=EVERYTHING), tmp_path):
        assert "SECRETMARKER" not in str(ds)
        assert "RP1" in str(ds), "what is legal beside them stays"


@pytest.mark.parametrize("source", ["film", "scan"])
def test_uids_of_64_characters(source: str, tmp_path: Path) -> None:
    headers = [header()] if source == "film" else slice_headers()
    for number, ds in enumerate(headers):
        ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = (f"1.2.{n}." + "3" * 58 for n in range(3))
        ds.SOPInstanceUID = f"1.2.{number}." + "4" * 58
    made = record(headers[0], wanted=EVERYTHING) if source == "film" else ct_record(headers, wanted=EVERYTHING)
    written = str(checked(made, tmp_path))
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        assert headers[0][keyword].value in written
    assert source == "film" or headers[0].FrameOfReferenceUID in written


@every_kind
def test_a_uid_with_leading_zeros_is_all_that_a_validator_finds(kind: str, tmp_path: Path) -> None:
    """The study must get its result all the same, and under any other UID it would be that of another study."""
    headers = slice_headers() if source_for(kind, 1) == "scan" else [header()]
    for ds in headers:
        ds.StudyInstanceUID = "1.02.0003"
    made = record(headers[0]) if len(headers) == 1 else ct_record(headers)
    for built in build(alone(dataclasses.replace(made, wanted=EVERYTHING), kind)):
        path = tmp_path / "it.dcm"
        path.write_bytes(built.content)
        assert parsed(built).StudyInstanceUID == "1.02.0003"
        assert all("1.02.0003" in line or "invalid data values" in line for line in errors(path))


def test_the_header_itself_is_not_touched() -> None:
    for way in ("too long", "control characters", "many values"):
        source = hurt("film", way).reference
        before = copy.deepcopy(source)
        build(hurt("film", way))
        assert {tag: raw_value(source, tag) for tag in source.keys()} == {  # noqa: SIM118 - tags, not elements
            tag: raw_value(before, tag)
            for tag in before.keys()  # noqa: SIM118
        }


def raw_value(ds: Dataset, tag: object) -> str:
    """As text once decoded, where that can be done."""
    try:
        return str(ds[tag].value)  # type: ignore[call-overload]
    except Exception:  # noqa: BLE001 - what pydicom cannot convert stays raw
        element = ds.get_item(tag)  # type: ignore[call-overload]
        return repr(element.value if isinstance(element, RawDataElement) else element)


pieces = st.one_of(
    st.binary(max_size=90),
    st.sampled_from([b"2024.05.06", b"10:11:12", b"19400101\\19400102", b"M\\F", b"\\", b"=", b"^" * 70, b"1e400"]),
)
damages = st.dictionaries(st.sampled_from(COPIED), pieces, min_size=1, max_size=25)


@trying(max_examples=20, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(damages, st.sampled_from([way[1] for way in WAYS.values()]), st.sampled_from(list(MAKERS)), st.integers(0, 1))
def test_no_header_whatever_stops_a_result(
    tmp_path_factory: pytest.TempPathFactory, values: dict[str, bytes], character_set: bytes, kind: str, number: int
) -> None:
    def one(ds: Dataset) -> Dataset:
        for keyword, value in values.items():
            ds = damaged(ds, lambda _keyword, _vr: value, [keyword], character_set)  # noqa: B023 - called at once
        return ds

    is_film = source_for(kind, number) == "film"
    made = record(one(header())) if is_film else ct_record([one(ds) for ds in slice_headers()])
    assert checked(alone(made, "summary", kind), tmp_path_factory.mktemp("any"))


@pytest.mark.parametrize(
    "keyword, value, named",
    [
        ("PatientID", b"A" * 80, "Patient ID"),
        ("PatientName", b"M\xfcller^Anna", "Patient's Name"),
        ("PatientBirthDate", b"00000000", "Patient's Birth Date"),
        ("IssuerOfPatientID", b"WARD\n3", "Issuer of Patient ID"),
    ],
)
@pytest.mark.parametrize("made", [record, refusal])
def test_the_report_says_so_and_quotes_nothing(keyword: str, value: bytes, named: str, made: object) -> None:
    source = damaged(header(), lambda _keyword, _vr: value, [keyword])
    said = texts(parsed(build(made(source))[0]))  # type: ignore[operator]
    assert said.count(common.CHANGED) == 1 and f"{common.CHANGED}: {named}." in said
    assert value[:4].decode("latin-1") not in said


@pytest.mark.parametrize(
    "keyword, value",
    [
        ("PatientID", b"PID 1 "), ("PatientID", b""), ("PatientID", None), ("PatientName", b"Doe^Jane^^^ "),
        ("PatientName", "Müller^Anna=山田".encode()), ("PatientBirthDate", b"1940.12.31"), ("PatientBirthDate", b""),
        ("StudyDescription", b"x" * 80),
    ],
)  # fmt: skip
def test_the_report_says_nothing_where_nothing_was_changed(keyword: str, value: bytes | None) -> None:
    source = damaged(header(), lambda _keyword, _vr: value, [keyword])
    assert common.CHANGED not in texts(parsed(build(record(source))[0]))


@pytest.mark.parametrize("declared, is_guess", [(b"", True), (b"ISO_IR 999", True), (b"ISO_IR 100", False)])
def test_letters_of_no_known_set_are_said_to_be_guessed(declared: bytes, is_guess: bool) -> None:
    source = damaged(header(), lambda *_: b"M\xfcller^Anna", ["PatientName"], declared)
    report = parsed(build(record(source))[0])
    assert report.PatientName == "Müller^Anna" and (common.CHANGED in texts(report)) == is_guess


@every_way
def test_delivery_finds_the_patient_of_the_source_in_every_result(way: str) -> None:
    """As the gate compares them: what was written, with the source read anew."""
    (built,) = build(alone(hurt("film", way), "summary"))
    assert contradiction((parsed(built), of("film", *WAYS[way]).source)) == ""


@pytest.mark.parametrize(
    "keyword, value, theirs, found",
    [
        ("PatientID", b"A" * 80, {"patient_id": "A" * 80}, "PatientID"),  # held: there it has another one
        ("PatientID", b"PID1\nPID2", {"patient_id": "PID1 PID2"}, "PatientID"),  # held: somebody else's, perhaps
        ("PatientID", b"PID1 ", {"patient_id": "PID1"}, ""),
        ("PatientName", b"Doe^" + b"J" * 80, {"name": "Doe^" + "J" * 80}, ""),
        ("PatientName", b"Doe^" + b"J" * 80, {"name": "Doe^" + "J" * 79 + "X"}, "PatientName"),
        ("PatientName", b"Doe^Jane\n", {"name": "Doe^Jane"}, ""),
        ("PatientBirthDate", b"1940.12.31", {"birth_date": "1940.12.31"}, ""),
        ("PatientBirthDate", b"1940.12.31", {"birth_date": "19401230"}, "PatientBirthDate"),
        ("PatientBirthDate", b"00000000", {"birth_date": "00000000"}, ""),
    ],
)
def test_a_destination_that_knows_the_illegal_value(
    keyword: str, value: bytes, theirs: dict[str, str], found: str
) -> None:
    source = damaged(header(), lambda _keyword, _vr: value, [keyword])
    ours = parsed(build(record(source))[0])
    same = {
        "patient_id": str(ours.PatientID), "issuer": str(ours.IssuerOfPatientID), "name": str(ours.PatientName),
        "birth_date": str(ours.PatientBirthDate),
    }  # fmt: skip
    assert difference(ours, Patient(**same)) == ""
    assert difference(ours, Patient(**{**same, **theirs})) == found


def test_the_damage_arrives() -> None:
    """What is put in is what pydicom holds undecoded."""
    element = damaged(header(), lambda *_: b"A\nB", ["PatientID"]).get_item("PatientID")
    assert isinstance(element, RawDataElement) and element.value.startswith(b"A\nB")
