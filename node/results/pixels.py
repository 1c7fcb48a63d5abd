"""Pixel data of our pictures (PS3.3 C.7.6.3, PS3.5 section 8): RGB, 8 bits, as it is, lossless or JPEG Baseline.

One frame or many; many are taken one after the other, so that a stack is never in memory unpacked. Each compressed
frame is one fragment with its place in the Basic Offset Table (PS3.5 A.4).
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom import Dataset
from pydicom.encaps import encapsulate
from pydicom.multival import MultiValue
from pydicom.pixels.encoders.base import JPEGLSLosslessEncoder
from pydicom.uid import UID, ExplicitVRLittleEndian, JPEGBaseline8Bit, JPEGLSLossless

from node.results import common

RGB = NDArray[np.uint8]
QUALITY = 90  # of the IJG's 0 to 100
HISTORY = ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod")
LOSSY = JPEGBaseline8Bit
LOSSLESS = JPEGLSLossless


def put(ds: Dataset, pictures: Iterable[RGB], syntax: UID, sources: Sequence[Dataset]) -> None:
    """Set the Image Pixel Module and say whether pixels were lost, here or in the source images before."""
    packed: list[bytes] = []
    raw = 0
    for picture in pictures:
        ds.Rows, ds.Columns = picture.shape[:2]
        packed.append(_packed(picture, syntax))
        raw += picture.size
    ds.SamplesPerPixel, ds.PlanarConfiguration = 3, 0
    ds.PhotometricInterpretation = "YBR_FULL_422" if syntax == LOSSY else "RGB"  # PS3.5 Table 8.2.1-1
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
    history(ds, sources, raw / sum(map(len, packed)) if syntax == LOSSY else None)
    if syntax == ExplicitVRLittleEndian:
        (plain,) = packed
        ds.PixelData = plain + b"\0" * (len(plain) % 2)
    else:
        ds.PixelData = encapsulate(packed)
    ds["PixelData"].VR = "OB"


def _packed(picture: RGB, syntax: UID) -> bytes:
    if syntax == ExplicitVRLittleEndian:
        return picture.tobytes()
    if syntax == LOSSY:
        stream = io.BytesIO()
        Image.fromarray(picture).save(stream, "JPEG", quality=QUALITY, subsampling="4:2:2")
        return stream.getvalue()
    rows, columns = picture.shape[:2]
    return JPEGLSLosslessEncoder.encode(
        np.ascontiguousarray(picture), rows=rows, columns=columns, number_of_frames=1, samples_per_pixel=3,
        photometric_interpretation="RGB", bits_allocated=8, bits_stored=8, pixel_representation=0,
        planar_configuration=0,
    )  # fmt: skip


def history(ds: Dataset, sources: Sequence[Dataset], ratio: float | None) -> None:
    """Once pixels were lost it is said for ever (PS3.3 C.7.6.1.1.5): what the first such source says, then our own."""
    said = (common.copied(source, HISTORY) for source in sources)
    before = next((one for one in said if one.get("LossyImageCompression") == "01"), Dataset())
    ratios, methods = (_values(before, keyword) for keyword in HISTORY[1:])
    if ratio is not None:
        ratios, methods = [*ratios, f"{ratio:.2f}"], [*methods, "ISO_10918_1"]
    ds.LossyImageCompression = "01" if before or ratio is not None else "00"
    if ratios:
        ds.LossyImageCompressionRatio = ratios
    if methods:
        ds.LossyImageCompressionMethod = methods


def _values(ds: Dataset, keyword: str) -> list[str]:
    value = ds.get(keyword)
    return [str(one) for one in value] if isinstance(value, (list, MultiValue)) else [str(value)] if value else []
