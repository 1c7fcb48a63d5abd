"""Films whose compressed pixels lie: streams far larger than the header says, offset tables that lead elsewhere.

Each is a whole data set that a receiver has no reason to refuse; what they do is done to a decoder.
"""

from __future__ import annotations

import struct
from io import BytesIO

import numpy as np
from PIL import Image
from pydicom import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    HTJ2KLossless,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from tests.films import Film, drawn, wrap

SIDE = 128


def jpeg(width: int, height: int) -> bytes:
    """JPEG Baseline of SIDE x SIDE pixels whose frame header says something else."""
    stream = BytesIO()
    Image.fromarray(np.zeros((SIDE, SIDE), np.uint8)).save(stream, "JPEG")
    content = bytearray(stream.getvalue())
    at = content.index(b"\xff\xc0") + 5
    content[at : at + 4] = struct.pack(">HH", height, width)
    return bytes(content)


def jpeg_2000(width: int, height: int, components: int = 1) -> bytes:
    """SOC, SIZ of one tile, COD, QCD, and a tile-part of noise. ISO 15444-1 annex A."""
    size = struct.pack(">H8IH", 0, width, height, 0, 0, width, height, 0, 0, components) + b"\x0f\1\1" * components
    coding = bytes.fromhex("ff52000c00000001000504040001ff5c0013404048485048485048485048485048485048")
    tile = bytes.fromhex("ff90000a00000000000000 01ff93")
    return b"\xff\x4f\xff\x51" + struct.pack(">H", len(size) + 2) + size + coding + tile + bytes(50) + b"\xff\xd9"


def boxed(stream: bytes) -> bytes:
    """Within JP2 boxes, which DICOM does not want (PS3.5 A.4.4) and some writers leave on."""
    signature = b"\0\0\0\x0cjP  \r\n\x87\n" + struct.pack(">I4s", 20, b"ftyp") + b"jp2 \0\0\0\0jp2 "
    return signature + struct.pack(">I4s", 0, b"jp2c") + stream


def jpeg_ls(width: int, height: int) -> bytes:
    frame = b"\xff\xd8\xff\xf7\0\x0b\x08" + struct.pack(">HH", height, width) + b"\1\1\x11\0"
    return frame + b"\xff\xda\0\x08\1\1\0\0\0\0" + bytes(100) + b"\xff\xd9"


def hierarchical(width: int, height: int) -> bytes:
    """A second frame, far larger than the first, behind its scan. ISO 10918-1 annex J."""
    honest = jpeg(SIDE, SIDE)[:-2]
    return honest + b"\xff\xc5\0\x0b\x08" + struct.pack(">HH", height, width) + b"\1\1\x11\0\xff\xd9"


def liars() -> dict[str, Dataset]:
    """By what is wrong with them."""
    grey = np.asarray(drawn(1, SIDE) >> 4, np.uint8)
    good = wrap(Film(grey, "liar good", transfer_syntax=JPEGBaseline8Bit)).PixelData[12:]  # behind its offset table
    found = {
        "a JPEG of 65000 x 65000": _film(JPEGBaseline8Bit, encapsulate([jpeg(65000, 65000)])),
        "a JPEG whose second frame is large": _film(JPEGBaseline8Bit, encapsulate([hierarchical(60000, 60000)])),
        "a lossless JPEG of 60000 x 60000": _film(JPEGLosslessSV1, encapsulate([jpeg(60000, 60000)])),
        "a JPEG-LS of 65535 x 65535": _film(JPEGLSLossless, encapsulate([jpeg_ls(65535, 65535)])),
        "a JPEG 2000 of 60000 x 60000": _film(JPEG2000Lossless, encapsulate([jpeg_2000(60000, 60000)])),
        "a JPEG 2000 in a box": _film(JPEG2000Lossless, encapsulate([boxed(jpeg_2000(60000, 60000))])),
        "a JPEG 2000 of 16384 components": _film(JPEG2000Lossless, encapsulate([jpeg_2000(SIDE, SIDE, 16384)])),
        "an HTJ2K of 60000 x 60000": _film(HTJ2KLossless, encapsulate([jpeg_2000(60000, 60000)])),
        "an RLE whose segments lie elsewhere": _film(RLELossless, encapsulate([_rle([64, 2**32 - 1])])),
        "an offset table that leads nowhere": _film(JPEGBaseline8Bit, _table(0xFFFFFFF0) + good),
        "an offset table of a hundred thousand frames": _film(JPEGBaseline8Bit, _table(*range(100_000)) + good),
        "an offset table that is no whole number of offsets": _film(JPEGBaseline8Bit, _item(b"\0" * 6) + good),
        "no fragment at all": _film(JPEGBaseline8Bit, _item(b"")),
        "fragments of no bytes": _film(JPEGBaseline8Bit, _item(b"") + _item(b"") * 1000),
        "a fragment that is longer than the rest": _film(JPEGBaseline8Bit, _item(b"") + good[:4] + b"\xfe\xff\xff\x7f"),
    }
    found["an extended offset table that lies"] = extended = _film(JPEGBaseline8Bit, _item(b"") + good)
    extended.ExtendedOffsetTable, extended.ExtendedOffsetTableLengths = (
        struct.pack("<Q", 2**63),
        struct.pack("<Q", 2**40),
    )
    for name, ds in found.items():
        film = Film(grey, f"liar {name}")
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = film.sop_instance_uid
        ds.StudyInstanceUID = film.study_uid
    return found


def _film(syntax: str, pixel_data: bytes) -> Dataset:
    ds = wrap(Film(np.zeros((SIDE, SIDE), np.uint8), "liar"))
    ds.file_meta.TransferSyntaxUID = syntax
    ds.PixelData = pixel_data
    ds["PixelData"].VR = "OB"
    ds["PixelData"].is_undefined_length = True
    return ds


def _item(content: bytes) -> bytes:
    return b"\xfe\xff\0\xe0" + struct.pack("<I", len(content)) + content


def _table(*offsets: int) -> bytes:
    return _item(struct.pack(f"<{len(offsets)}I", *offsets))


def _rle(offsets: list[int]) -> bytes:
    return struct.pack("<16I", 2, *offsets, *([0] * (15 - len(offsets)))) + b"\x81\0" * 600
