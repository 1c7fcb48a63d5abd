"""The pixel data of a stored object, frame by frame, as bytes in a transfer syntax; and whole objects in another one.

Where nothing has to be decoded the bytes are those of the file. Whatever the size of an object, one frame of it is in
memory at a time. Lossless targets alone: nothing is lost on the way to a client. PS3.5 section 8 and annex A.
"""

from __future__ import annotations

import functools
import itertools
import struct
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.encaps import get_frame
from pydicom.pixels.encoders.base import JPEG2000LosslessEncoder, JPEGLSLosslessEncoder, RLELosslessEncoder
from pydicom.pixels.utils import pixel_array
from pydicom.uid import UID

from node.core.errors import BadDataSet, NotAccepted
from node.pipeline.header import BIG_ENDIAN, DEFLATED, IMPLICIT
from node.pipeline.stored_file import Opened, opened
from node.pipeline.wholeness import PIXEL_DATA, UNDEFINED

EXPLICIT = "1.2.840.10008.1.2.1"
PLAIN = frozenset({EXPLICIT, IMPLICIT, BIG_ENDIAN, DEFLATED})
DECODABLE = frozenset(f"1.2.840.10008.1.2.{tail}" for tail in (
    "5", "4.50", "4.51", "4.57", "4.70", "4.80", "4.81", "4.90", "4.91", "4.201", "4.202", "4.203",
))  # fmt: skip
ENCODERS = {
    str(encoder.UID): encoder for encoder in (JPEGLSLosslessEncoder, JPEG2000LosslessEncoder, RLELosslessEncoder)
}
LOSSY = frozenset(f"1.2.840.10008.1.2.4.{tail}" for tail in ("50", "51", "53", "55", "81", "91", "93", "203"))
PIECE = 1 << 20
LONGEST = 0xFFFFFFFE  # of an element, PS3.5 section 7.1.1
OFFSETS, LENGTHS = 0x7FE00001, 0x7FE00002  # Extended Offset Table and its lengths
FRAMES, ROWS, COLUMNS, SAMPLES, BITS, COLOURS = 0x00280008, 0x00280010, 0x00280011, 0x00280002, 0x00280100, 0x00280004
ITEM_HEAD = struct.Struct("<HHI")


@dataclass(frozen=True)
class Layout:
    """Where the pixels lie: positions as in ``stored_file.Opened``. bits: of one frame where it is not encapsulated."""

    transfer_syntax_uid: str
    tag: int
    start: int
    end: int
    frames: int
    is_encapsulated: bool
    bits: int
    offsets: tuple[bytes, bytes] | None


def can_give(stored: str, wanted: str) -> bool:
    """Whether an object in one transfer syntax can be had in another."""
    if wanted == stored:
        return True
    return (stored in PLAIN or stored in DECODABLE) and (wanted == EXPLICIT or wanted in ENCODERS)


def layout(path: Path) -> Layout:
    """NotAccepted where the object has no pixels. Kept: an instance never changes."""
    return _layout(path, path.stat().st_mtime_ns)


@functools.lru_cache(4096)
def _layout(path: Path, _changed: int) -> Layout:
    with opened(path) as file:
        said: dict[int, bytes] = {}
        pixels = None
        for element in file.elements():
            if element.tag in PIXEL_DATA:
                pixels = element
                break
            if element.tag in (FRAMES, ROWS, COLUMNS, SAMPLES, BITS, COLOURS, OFFSETS, LENGTHS):
                said[element.tag] = bytes(file.data[element.start : element.end])
        if pixels is None:
            raise NotAccepted("The object has no pixels.")
        samples = _number(said, SAMPLES) or 1
        bits = _number(said, ROWS) * _number(said, COLUMNS) * samples * _number(said, BITS)
        if b"422" in said.get(COLOURS, b""):
            bits = bits * 2 // 3  # one pair of colour differences for two pixels, PS3.3 C.7.6.3.1.2
        table = (said[OFFSETS], said[LENGTHS]) if OFFSETS in said and LENGTHS in said else None
        frames = int(said.get(FRAMES, b"1").strip(b"\0 ") or 1)
        encapsulated = file.transfer_syntax_uid not in PLAIN  # whatever its length: some write one
        if not encapsulated and (not bits or (frames * bits + 7) // 8 > pixels.end - pixels.start):
            raise BadDataSet("The pixel data is shorter than its rows, columns and frames need.")
        return Layout(
            file.transfer_syntax_uid, pixels.tag, pixels.start, pixels.end, frames, encapsulated, bits, table
        )  # fmt: skip


def _number(said: dict[int, bytes], tag: int) -> int:
    content = said.get(tag, b"")
    return int.from_bytes(content[:2], "little")


def stored_frames(path: Path, of: Layout, indices: range | list[int]) -> Iterator[bytes]:
    """Frames, counted from 0, as the file holds them: compressed, or uncompressed in little endian."""
    with opened(path) as file:
        for index in indices:
            yield _stored_frame(path, file, of, index)


def _stored_frame(path: Path, file: Opened, of: Layout, index: int) -> bytes:
    if of.is_encapsulated:
        with path.open("rb") as stream:
            stream.seek(of.start)
            try:
                return get_frame(stream, index, number_of_frames=of.frames, extended_offsets=of.offsets)
            except Exception as error:
                raise BadDataSet("The frames of the pixel data cannot be told apart.") from error
    first, last = index * of.bits, (index + 1) * of.bits
    content = file.read(of.start + first // 8, of.start + (last + 7) // 8)
    return content if not first % 8 and not last % 8 else _whole_bytes(content, first % 8, of.bits)


def _whole_bytes(content: bytes, skipped: int, bits: int) -> bytes:
    """A frame of single bits that does not begin at a byte (PS3.5 section 8.1.1), from its first bit on."""
    single = np.unpackbits(np.frombuffer(content, np.uint8), bitorder="little")[skipped : skipped + bits]
    return np.packbits(single, bitorder="little").tobytes()


def frames_as(path: Path, of: Layout, indices: range | list[int], syntax: str) -> Iterator[bytes]:
    """Frames in a transfer syntax that ``can_give`` has agreed to. Colours that are decoded come out as RGB."""
    if syntax == of.transfer_syntax_uid or (syntax == EXPLICIT and not of.is_encapsulated):
        yield from stored_frames(path, of, indices)
        return
    header = dcmread(path, stop_before_pixels=True)
    for index in indices:
        values = decoded(path, index)
        yield values.tobytes() if syntax == EXPLICIT else _compressed(values, header, syntax)


def decoded(path: Path, index: int) -> Any:
    """One frame, (row, column) or (row, column, sample), colours as RGB."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's remarks quote values
        try:
            values = np.asarray(pixel_array(_readable(path), index=index))
        except Exception as error:
            raise BadDataSet("The pixel data cannot be decoded.") from error
    return values if values.dtype.byteorder != ">" else values.astype(values.dtype.newbyteorder("<"))


def _readable(path: Path) -> Path | Dataset:
    """pydicom reads one frame out of a file, but of no file that is deflated."""
    return dcmread(path) if layout(path).transfer_syntax_uid == DEFLATED else path


def _compressed(values: Any, header: Dataset, syntax: str) -> bytes:
    colour = values.ndim == 3
    told: dict[str, Any] = {"planar_configuration": 0} if colour else {}
    try:
        return ENCODERS[syntax].encode(
            np.ascontiguousarray(values), rows=values.shape[0], columns=values.shape[1], number_of_frames=1,
            samples_per_pixel=values.shape[2] if colour else 1,
            photometric_interpretation="RGB" if colour else header.PhotometricInterpretation,
            bits_allocated=header.BitsAllocated, bits_stored=header.BitsStored,
            pixel_representation=header.PixelRepresentation, **told,
        )  # fmt: skip
    except Exception as error:
        raise NotAccepted("The pixels cannot be encoded in this transfer syntax.") from error


def whole(path: Path) -> Iterator[bytes]:
    """The file as it is, in pieces."""
    with path.open("rb", buffering=0) as file:
        while piece := file.read(PIECE):
            yield piece


def whole_as(path: Path, stored: str, syntax: str) -> Iterator[bytes]:
    """A complete file in a transfer syntax that ``can_give`` has agreed to."""
    if syntax == stored:
        yield from whole(path)
        return
    try:
        of = layout(path)
    except NotAccepted:
        yield _header(path, EXPLICIT, None)  # nothing to compress
        return
    if not of.is_encapsulated and syntax == EXPLICIT:
        yield _header(path, syntax, of)
        yield from _native(of, _pieces(path, of), of.end - of.start)
        return
    frames = frames_as(path, of, range(of.frames), syntax)
    first = next(frames)  # what cannot be decoded fails before anything is given
    yield _header(path, syntax, of)
    frames = itertools.chain([first], frames)
    yield from _encapsulated(of, frames) if syntax in ENCODERS else _native(of, frames, len(first) * of.frames)


def _header(path: Path, syntax: str, of: Layout | None) -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ds = dcmread(path, stop_before_pixels=True)
        ds.file_meta.TransferSyntaxUID = UID(syntax)
        for keyword in ("ExtendedOffsetTable", "ExtendedOffsetTableLengths"):
            ds.pop(keyword, None)
        decoded_anew = of is not None and (of.is_encapsulated or syntax in ENCODERS)
        if decoded_anew and int(ds.get("SamplesPerPixel") or 1) > 1:
            ds.PhotometricInterpretation, ds.PlanarConfiguration = "RGB", 0
        made = BytesIO()
        try:
            dcmwrite(made, ds, implicit_vr=False, little_endian=True, enforce_file_format=True)
        except Exception as error:
            raise NotAccepted("The header cannot be written in another transfer syntax.") from error
    return made.getvalue()


def _native(of: Layout, content: Iterator[bytes], length: int) -> Iterator[bytes]:
    padded = length + length % 2
    if padded > LONGEST:
        raise NotAccepted("The pixels are too many for this transfer syntax.")
    vr = {0x7FE00008: b"OF", 0x7FE00009: b"OD"}.get(of.tag, b"OW" if of.bits % 16 == 0 else b"OB")
    yield struct.pack("<HH2sHI", of.tag >> 16, of.tag & 0xFFFF, vr, 0, padded)
    yield from content
    yield bytes(length % 2)


def _pieces(path: Path, of: Layout) -> Iterator[bytes]:
    with opened(path) as file:
        for begin in range(of.start, of.end, PIECE):
            yield file.read(begin, min(begin + PIECE, of.end))


def _encapsulated(of: Layout, frames: Iterator[bytes]) -> Iterator[bytes]:
    """One fragment for each frame, the Basic Offset Table empty (PS3.5 section A.4)."""
    yield struct.pack("<HH2sHI", of.tag >> 16, of.tag & 0xFFFF, b"OB", 0, UNDEFINED) + ITEM_HEAD.pack(0xFFFE, 0xE000, 0)
    for frame in frames:
        padded = frame + bytes(len(frame) % 2)
        yield ITEM_HEAD.pack(0xFFFE, 0xE000, len(padded)) + padded
    yield ITEM_HEAD.pack(0xFFFE, 0xE0DD, 0)
