"""Read of an encoded data set just what receipt needs, and be sure that it is whole.

Deflated data sets are inflated up to a limit for reading only; the stored bytes stay as received. Texts are decoded by
the data set's own character set; what cannot be decoded is replaced, since identity is read again, from the raw bytes,
when results are built.
"""

from __future__ import annotations

import io
import re
import threading
import warnings
import zlib
from dataclasses import dataclass
from typing import Any, Protocol

from pydicom import Dataset, Sequence
from pydicom.filereader import read_dataset

from node.core.errors import BadDataSet
from node.core.study import InstanceHeader
from node.core.uids import PRODUCT_UID
from node.pipeline import quick_header
from node.pipeline.wholeness import Encoding, check_whole

DEFLATED = "1.2.840.10008.1.2.1.99"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
IMPLICIT = "1.2.840.10008.1.2"
UID_FORM = re.compile(r"[0-9]+(\.[0-9]+)*")  # leading zeros occur in the field and are stored as they are
LARGEST_HEADER = 64 * 2**20  # bytes before the pixel data
LARGEST_INFLATED = 256 * 2**20  # zeros deflate a thousandfold: without a bound a small data set would fill the memory
_one_at_a_time = threading.Lock()  # so that the bound is one of the whole process


@dataclass(frozen=True)
class Received:
    """One C-STORE as it came: the encoded data set and what the command set said of it."""

    encoded: bytes | memoryview
    transfer_syntax_uid: str
    sop_class_uid: str
    sop_instance_uid: str


def read_header(received: Received, largest: int) -> InstanceHeader:
    """The header; BadDataSet when the data set is not whole, lacks a UID, or differs from the command set."""
    encoding = Encoding(
        implicit=received.transfer_syntax_uid == IMPLICIT, little=received.transfer_syntax_uid != BIG_ENDIAN
    )
    data = received.encoded
    if received.transfer_syntax_uid == DEFLATED:
        with _one_at_a_time:
            return _read(inflate(data, min(largest, LARGEST_INFLATED)), encoding, received)
    return _read(data, encoding, received)


def _read(data: bytes | memoryview, encoding: Encoding, received: Received) -> InstanceHeader:
    walked = quick_header.walk(memoryview(data), encoding.implicit) if encoding.little else None
    if walked is not None:
        return _header(walked, received)
    pixels = check_whole(data, encoding)
    end = len(data) if pixels is None else pixels
    if end > LARGEST_HEADER:
        raise BadDataSet("The header of the data set is too large.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's remarks quote values
        return _header(_Decoded(_decode(bytes(data[:end]), encoding)), received)


def inflate(data: bytes | memoryview, largest: int) -> bytes:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        plain = inflater.decompress(data, largest + 1)
    except zlib.error:
        raise BadDataSet("The deflated data set cannot be inflated.") from None
    if len(plain) > largest:
        raise BadDataSet("The deflated data set is larger than the limit once inflated.")
    if not inflater.eof:
        raise BadDataSet("The deflated data set is cut short.")
    return plain


def _decode(header: bytes, encoding: Encoding) -> Dataset:
    try:
        return read_dataset(io.BytesIO(header), encoding.implicit, encoding.little)
    except Exception as error:
        raise BadDataSet("The header of the data set cannot be read.") from error


class _Values(Protocol):
    """A header as receipt asks it."""

    def text(self, keyword: str) -> str: ...

    def number(self, keyword: str) -> int | None: ...


@dataclass(frozen=True)
class _Decoded:
    """A header as pydicom reads it."""

    ds: Dataset

    def text(self, keyword: str) -> str:
        return text_of(self.ds, keyword)

    def number(self, keyword: str) -> int | None:
        return _number(self.ds, keyword)


def _header(values: _Values, received: Received) -> InstanceHeader:
    study, series = _uid(values, "StudyInstanceUID"), _uid(values, "SeriesInstanceUID")
    sop_class, sop_instance = _uid(values, "SOPClassUID"), _uid(values, "SOPInstanceUID")
    if (sop_class, sop_instance) != (received.sop_class_uid.strip("\0 "), received.sop_instance_uid.strip("\0 ")):
        raise MismatchError("The data set and the C-STORE command name different SOP classes or instances.")
    return InstanceHeader(
        sop_instance_uid=sop_instance,
        sop_class_uid=sop_class,
        study_instance_uid=study,
        series_instance_uid=series,
        transfer_syntax_uid=received.transfer_syntax_uid,
        patient_id=values.text("PatientID"),
        issuer_of_patient_id=values.text("IssuerOfPatientID"),
        accession_number=values.text("AccessionNumber"),
        study_date=values.text("StudyDate")[:8],
        modality=values.text("Modality")[:16],
        series_description=values.text("SeriesDescription"),
        body_part=values.text("BodyPartExamined")[:64],
        view_position=values.text("ViewPosition")[:16],
        instance_number=values.number("InstanceNumber"),
        rows=values.number("Rows"),
        columns=values.number("Columns"),
        frames=values.number("NumberOfFrames"),
        is_own_result=values.text("InstanceCreatorUID") == PRODUCT_UID,
    )


class MismatchError(BadDataSet):
    """PS3.4 Table B.2-1, 0xA900: data set does not match SOP class."""


def is_uid(text: str) -> bool:
    """Digits and dots, at most 64 (PS3.5 section 9.1)."""
    return len(text) <= 64 and UID_FORM.fullmatch(text) is not None


def _uid(values: _Values, keyword: str) -> str:
    text = values.text(keyword)
    if not text:
        raise BadDataSet(f"The data set has no {_spaced(keyword)}.")
    if not is_uid(text):
        raise BadDataSet(f"The {_spaced(keyword)} of the data set is not a UID.")
    return text


def _spaced(keyword: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", keyword).replace("SOPI", "SOP I").replace("SOPC", "SOP C")


def text_of(ds: Dataset, keyword: str) -> str:
    """The value as text without padding; empty where it is absent or cannot be understood. A NUL within a UID stays:
    without it there might be another UID."""
    value = _value(ds, keyword)
    text = "" if value is None else str(value).strip("\0 ")
    return text if keyword.endswith("UID") else text.replace("\0", "")


def items_of(ds: Dataset, keyword: str) -> list[Dataset]:
    """The items of a sequence; none where it is absent or cannot be understood."""
    value = _value(ds, keyword)
    return list(value) if isinstance(value, Sequence) else []


def _number(ds: Dataset, keyword: str) -> int | None:
    try:
        number = int(_value(ds, keyword))
    except (TypeError, ValueError, OverflowError):
        return None
    return number if abs(number) < 2**31 else None


def _value(ds: Dataset, keyword: str) -> Any:
    try:
        return ds.get(keyword)
    except Exception:  # noqa: BLE001 - a value pydicom cannot convert counts as absent
        return None
