"""Results in the character set of the source: for every kind of object and every set of the field, the same names.

The sets stand in test_objects, which tests the usual UTF-8. Not covered: how a PACS without UTF-8 reads them.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread

from node.core.settings import KINDS
from node.results.build import MAKERS, build
from node.results.character_sets import TEXT
from node.results.record import AnalysisRecord
from tests.peers import dciodvfy
from tests.results.records import header, record
from tests.results.series import ct_record, slice_headers
from tests.results.test_objects import CHARACTER_SETS, ESCAPED, _ir_58, digests, parsed

WRITTEN_IN_UTF_8 = "Results are written in UTF-8"
ALL: dict[str, tuple[str, str | list[str]]] = {
    **dict(CHARACTER_SETS),
    **{kind: (name, declared) for kind, (declared, name) in ESCAPED.items()},
}


def received(source: Dataset, name: str, declared: object, folder: Path) -> Dataset:
    """The header as it reads after it was written in its own character set."""
    by_hand = _ir_58(name) if "ISO 2022 IR 58" in str(declared) else b""  # pydicom 3.0.2 writes it without escapes
    source.SpecificCharacterSet, source.PatientName = declared, "#" * len(by_hand) or name
    source.ReferringPhysicianName = "Plain^Person"
    path = folder / "source.dcm"
    source.save_as(path, enforce_file_format=True)
    if by_hand:
        path.write_bytes(path.read_bytes().replace(b"#" * len(by_hand), by_hand, 1))
    return dcmread(path)


def in_its_own_set(made: AnalysisRecord, *kinds: str) -> AnalysisRecord:
    wanted = dataclasses.replace(made.wanted, character_set="source", kinds=kinds or KINDS)
    return dataclasses.replace(made, wanted=wanted)


def groups(name: object) -> list[str]:
    """Component groups of a name without empty components, which a reader may drop."""
    found = [group.rstrip("^") for group in str(name).split("=")]
    return found + [""] * (3 - len(found))


def texts(ds: Dataset) -> list[str]:
    return [str(element.value) for element in ds.iterall() if element.VR in TEXT]


@pytest.mark.parametrize("which", list(ALL))
def test_names_survive_in_the_source_s_own_set(which: str, tmp_path: Path) -> None:
    name, declared = ALL[which]
    source = received(header(), name, declared, tmp_path)
    said: list[str] = []
    objects = build(in_its_own_set(record(source)), said.append)
    assert {built.kind for built in objects} >= {"sr", "sc"}
    for built in objects:
        ds = parsed(built)
        assert groups(ds.PatientName) == groups(name), built.kind
        assert not [text for text in texts(ds) if "\x1b" in text or "\ufffd" in text], built.kind
        if not said:
            written = ds.get("SpecificCharacterSet", "")
            assert written == (declared if isinstance(declared, str) else list(declared)), built.kind
    assert bool(said) == (which == "chinese"), "only ISO 2022 IR 58 cannot be written"


@pytest.mark.parametrize("kind", list(MAKERS))
def test_every_kind_of_object_is_written_in_it(kind: str, tmp_path: Path) -> None:
    """Film and CT; the same text in UTF-8 has other UIDs, since its bytes are others."""
    name, declared = ALL["japanese"]
    film = record(received(header(), name, declared, tmp_path))
    slices = [received(ds, name, declared, tmp_path) for ds in slice_headers()]
    for made in (film, ct_record(slices)):
        objects = build(in_its_own_set(made, kind))
        usual = build(dataclasses.replace(made, wanted=dataclasses.replace(made.wanted, kinds=(kind,))))
        assert len(objects) == len(usual)
        for built in objects:
            assert parsed(built).SpecificCharacterSet == list(declared)
            assert "山田".encode("iso2022_jp")[:-3] in built.content and "山田".encode() not in built.content
        assert not {built.sop_instance_uid for built in objects} & {built.sop_instance_uid for built in usual}
        assert digests(objects) == digests(build(in_its_own_set(made, kind)))


@pytest.mark.parametrize("which", ["ISO_IR 100", "GB18030", "japanese", "korean"])
def test_validators_find_no_error(which: str, tmp_path: Path) -> None:
    name, declared = ALL[which]
    for number, built in enumerate(build(in_its_own_set(record(received(header(), name, declared, tmp_path))))):
        path = tmp_path / f"{number}.dcm"
        path.write_bytes(built.content)
        assert dciodvfy(path) == [], built.kind


@pytest.mark.parametrize("made", [record, ct_record], ids=["film", "ct"])
def test_our_own_words_are_ascii(made: object) -> None:
    """Else a study whose own text is plain could not be written in its own set."""
    for built in build(in_its_own_set(made())):  # type: ignore[operator]
        assert all(text.isascii() for text in texts(parsed(built))), built.kind


@pytest.mark.parametrize(
    "changes",
    [
        {"SpecificCharacterSet": "ISO_IR 100", "PatientName": "王^小東"},
        {"SpecificCharacterSet": None, "PatientName": "Müller^Anna"},
        {"SpecificCharacterSet": "ISO_IR 999", "PatientName": "Miller^Anna"},
        {"SpecificCharacterSet": ["ISO_IR 100", "ISO 2022 IR 87"], "PatientName": "Miller^Anna"},
        {"SpecificCharacterSet": ["", "ISO 2022 IR 58"], "PatientName": "张^小东"},
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_what_cannot_be_written_is_written_in_utf_8_and_said(changes: dict[str, object]) -> None:
    said: list[str] = []
    made = record(header(**changes))
    objects = build(in_its_own_set(made, "summary", "heat-maps"), said.append)
    assert len(said) == 1 and said[0].startswith(WRITTEN_IN_UTF_8) and str(changes["PatientName"]) not in said[0]
    usual = build(dataclasses.replace(made, wanted=dataclasses.replace(made.wanted, kinds=("summary", "heat-maps"))))
    assert digests(objects) == digests(usual), "the same bytes as for one who asked for UTF-8, under the same UIDs"


def test_the_illegal_name_of_the_default_set_is_left_out() -> None:
    said: list[str] = []
    for built in build(in_its_own_set(record(header(SpecificCharacterSet="ISO_IR 6")), "summary"), said.append):
        assert "SpecificCharacterSet" not in parsed(built)
    assert said == []
