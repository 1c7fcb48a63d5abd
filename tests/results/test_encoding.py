"""The encoder of our objects against pydicom's writer, byte for byte: drawn data sets of every VR, and real results.

Not covered: that pydicom's bytes are right, which dciodvfy, dsrdump and Orthanc are asked elsewhere.
"""

from __future__ import annotations

from copy import deepcopy
from io import BytesIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import DataElement, Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import UID, ExplicitVRLittleEndian, JPEGBaseline8Bit, SecondaryCaptureImageStorage

from node.results import encoding
from node.results.build import build
from tests.results.records import record
from tests.results.series import ct_record

PLAIN = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20)
WORDS = st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\\="), max_size=20)
CODES = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_ ", max_size=16)
VALUES = {  # private elements, since none of ours holds a VR that is not the dictionary's
    "AE": CODES, "AS": st.just("034Y"), "CS": CODES, "DA": st.just("20240506"), "TM": st.just("070809.5"),
    "DT": st.just("20240506070809.123456+0100"), "LO": WORDS, "LT": WORDS, "PN": WORDS, "SH": PLAIN, "ST": WORDS,
    "UC": WORDS, "UR": PLAIN, "UT": WORDS, "UI": st.from_regex(r"[12](\.[1-9][0-9]{0,5}){1,5}", fullmatch=True),
    "DS": st.floats(-1e6, 1e6).map(lambda value: f"{value:.4g}"), "IS": st.integers(-(2**31), 2**31 - 1),
    "FL": st.floats(width=32, allow_nan=False), "FD": st.floats(allow_nan=False), "US": st.integers(0, 65535),
    "SS": st.integers(-32768, 32767), "UL": st.integers(0, 2**32 - 1), "SL": st.integers(-(2**31), 2**31 - 1),
    "AT": st.integers(0, 2**32 - 1), "OB": st.binary(max_size=9), "OW": st.binary(max_size=4).map(lambda b: b * 2),
    "UN": st.binary(max_size=4).map(lambda b: b * 2),
}  # fmt: skip
ONE = {"LT", "ST", "UT", "UR", "OB", "OW", "UN"}  # of these an element holds one value


def data_sets(depth: int) -> st.SearchStrategy[Dataset]:
    kinds = [_element(vr, values) for vr, values in VALUES.items()]
    if depth:
        items = st.lists(data_sets(depth - 1), max_size=3)
        kinds += 3 * [items.map(lambda found: ("SQ", Sequence(found)))]
    numbers = st.integers(0x00091010, 0x000910FF)
    return st.dictionaries(numbers, st.one_of(kinds), max_size=6).map(_made)


def _element(vr: str, values: st.SearchStrategy[object]) -> st.SearchStrategy[tuple[str, object]]:
    several = st.nothing() if vr in ONE else st.lists(values, min_size=2, max_size=3)
    return st.one_of(st.just(None), values, several).map(lambda value: (vr, value))


def _made(elements: dict[int, tuple[str, object]]) -> Dataset:
    ds = Dataset()
    for tag, (vr, value) in elements.items():
        ds.add(DataElement(tag, vr, value))
    return ds


def with_meta(ds: Dataset, syntax: UID = ExplicitVRLittleEndian) -> Dataset:
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.SOPClassUID, ds.SOPInstanceUID = SecondaryCaptureImageStorage, UID("1.2.3")
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPClassUID, ds.SOPInstanceUID
    ds.file_meta.TransferSyntaxUID = syntax
    return ds


def by_pydicom(ds: Dataset) -> bytes:
    buffer = BytesIO()
    deepcopy(ds).save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=150, deadline=None)
@given(data_sets(2))
def test_drawn_data_sets_are_written_as_pydicom_writes_them(ds: Dataset) -> None:
    with_meta(ds)
    assert encoding.part10(deepcopy(ds)) == by_pydicom(ds)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("text", ["a" * 65534, "a" * 65535, "ü" * 40000, "a lone \ud800 surrogate", "", "odd"])
@pytest.mark.parametrize("keyword", ["ImageComments", "TextValue", "InstitutionName"])
def test_text_of_any_length_and_kind(keyword: str, text: str) -> None:
    ds = with_meta(Dataset())
    setattr(ds, keyword, text)
    assert encoding.part10(deepcopy(ds)) == by_pydicom(ds)


def test_a_vr_that_the_data_set_around_decides() -> None:
    ds, item = with_meta(Dataset()), Dataset()
    item.LUTDescriptor, item.LUTData = [4, 0, 16], b"\0\1\0\2\0\3\0\4"
    ds.PixelRepresentation, ds.BitsAllocated, ds.PixelPaddingValue = 1, 16, -7
    ds.ModalityLUTSequence, ds.PixelData = [item], b"\0\1"
    assert encoding.part10(deepcopy(ds)) == by_pydicom(ds)


def test_compressed_pixel_data() -> None:
    ds = with_meta(Dataset(), JPEGBaseline8Bit)
    ds.BitsAllocated, ds.PixelData = 8, encapsulate([b"\xff\xd8\xff\xd9"])
    ds["PixelData"].VR = "OB"
    assert encoding.part10(deepcopy(ds)) == by_pydicom(ds)


def test_results_are_what_pydicom_makes_of_them_when_it_writes_them_again() -> None:
    for item in (*build(record()), *build(ct_record())):
        read = dcmread(BytesIO(item.content))
        read.decode()
        again = Dataset()
        again.update({element.tag: element for element in read})
        again.file_meta = read.file_meta
        assert by_pydicom(again) == item.content, item.kind
