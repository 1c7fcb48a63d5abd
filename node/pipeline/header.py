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
from typing import Any

from pydicom import Dataset
from pydicom.filereader import read_dataset
from pydicom.uid import UID

from node.core.errors import BadDataSet
from node.core.study import InstanceHeader
from node.core.uids import PRODUCT_UID
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
            return _read(_inflate(data, min(largest, LARGEST_INFLATED)), encoding, received)
    return _read(data, encoding, received)


def _read(data: bytes | memoryview, encoding: Encoding, received: Received) -> InstanceHeader:
    pixels = check_whole(data, encoding)
    end = len(data) if pixels is None else pixels
    if end > LARGEST_HEADER:
        raise BadDataSet("The header of the data set is too large.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's remarks quote values
        return _header(_decode(bytes(data[:end]), encoding), received)


def _inflate(data: bytes | memoryview, largest: int) -> bytes:
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


def _header(ds: Dataset, received: Received) -> InstanceHeader:
    study, series = _uid(ds, "StudyInstanceUID"), _uid(ds, "SeriesInstanceUID")
    sop_class, sop_instance = _uid(ds, "SOPClassUID"), _uid(ds, "SOPInstanceUID")
    if (sop_class, sop_instance) != (received.sop_class_uid.strip("\0 "), received.sop_instance_uid.strip("\0 ")):
        raise MismatchError("The data set and the C-STORE command name different SOP classes or instances.")
    return InstanceHeader(
        sop_instance_uid=sop_instance,
        sop_class_uid=sop_class,
        study_instance_uid=study,
        series_instance_uid=series,
        transfer_syntax_uid=received.transfer_syntax_uid,
        patient_id=text_of(ds, "PatientID"),
        issuer_of_patient_id=text_of(ds, "IssuerOfPatientID"),
        accession_number=text_of(ds, "AccessionNumber"),
        study_date=text_of(ds, "StudyDate")[:8],
        modality=text_of(ds, "Modality")[:16],
        series_description=text_of(ds, "SeriesDescription"),
        body_part=text_of(ds, "BodyPartExamined")[:64],
        view_position=text_of(ds, "ViewPosition")[:16],
        instance_number=_number(ds, "InstanceNumber"),
        rows=_number(ds, "Rows"),
        columns=_number(ds, "Columns"),
        frames=_number(ds, "NumberOfFrames"),
        is_own_result=text_of(ds, "InstanceCreatorUID") == PRODUCT_UID,
    )


class MismatchError(BadDataSet):
    """PS3.4 Table B.2-1, 0xA900: data set does not match SOP class."""


def is_uid(text: str) -> bool:
    """Digits and dots, at most 64 (PS3.5 section 9.1)."""
    return len(text) <= 64 and UID_FORM.fullmatch(text) is not None


def _uid(ds: Dataset, keyword: str) -> str:
    text = text_of(ds, keyword)
    if not text:
        raise BadDataSet(f"The data set has no {_spaced(keyword)}.")
    if not is_uid(text):
        raise BadDataSet(f"The {_spaced(keyword)} of the data set is not a UID.")
    return str(UID(text))


def _spaced(keyword: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", keyword).replace("SOPI", "SOP I").replace("SOPC", "SOP C")


def text_of(ds: Dataset, keyword: str) -> str:
    """The value as text without padding; empty where it is absent or cannot be understood."""
    value = _value(ds, keyword)
    return "" if value is None else str(value).strip("\0 ").replace("\0", "")


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
