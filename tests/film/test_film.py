"""The film loader: transfer syntaxes against the uncompressed file, photometric sense, windows, padding, refusals.

Not covered: what a system makes of the film (tests/models), receipt of the bytes (tests/dimse).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut
from pydicom.pixels.utils import pixel_array
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from models.api import ImageInput
from node.core.errors import BadDataSet, LungnodeError, NotAccepted
from node.pipeline.film import decode_pixels, load_film
from tests.films import CR, SC, Film, drawn, wrap


def saved(ds: Dataset, folder: Path) -> Path:
    path = folder / "film.dcm"
    ds.save_as(path, enforce_file_format=True)
    return path


def loaded(ds: Dataset, folder: Path) -> ImageInput:
    return load_film(saved(ds, folder))[1]


def real(data_folder: Path, ending: str) -> Path:
    return next((data_folder / "dicom").glob(f"CTImage.dcm_*1.2.840.10008.1.{ending}.dcm"))


@pytest.mark.parametrize("ending", ["2.2", "2.1.99", "2.4.90", "2.4.80", "2.4.70", "2.4.57", "2", "2.5"])
def test_lossless_syntaxes_are_pixel_exact(data_folder: Path, ending: str) -> None:
    reference = decode_pixels(real(data_folder, "2.1"))
    assert np.array_equal(decode_pixels(real(data_folder, ending)), reference)


@pytest.mark.parametrize("ending, most", [("2.4.91", 5), ("2.4.81", 1)])
def test_lossy_syntaxes_are_close(data_folder: Path, ending: str, most: int) -> None:
    """``most``: grey levels that one pixel may differ from the uncompressed file."""
    reference = decode_pixels(real(data_folder, "2.1")).astype(int)
    difference = np.abs(decode_pixels(real(data_folder, ending)).astype(int) - reference)
    assert 0 < difference.max() <= most


@pytest.mark.parametrize("ending", ["2.4.50", "2.4.51"])
def test_jpeg_of_fewer_bits_shows_the_same_picture(data_folder: Path, ending: str) -> None:
    """These files were stored with other bit depths: what is shown must agree, not the numbers."""
    reference = decode_pixels(real(data_folder, "2.1")).astype(float).ravel()
    assert np.corrcoef(decode_pixels(real(data_folder, ending)).astype(float).ravel(), reference)[0, 1] > 0.99


@pytest.mark.parametrize("ending", ["2.4.53", "2.4.55"])
def test_what_no_decoder_reads_is_refused_with_its_name(data_folder: Path, ending: str) -> None:
    """JPEG processes 6 & 8 and 10 & 12, retired in 1998 and 1996: the pylibjpeg family does not decode them."""
    with pytest.raises(BadDataSet, match=r"cannot be decoded .transfer syntax JPEG"):
        decode_pixels(real(data_folder, ending))


def test_a_fragmented_jpeg_without_an_offset_table_is_read(data_folder: Path) -> None:
    assert decode_pixels(data_folder / "dicom" / "CT0012.fragmented_no_bot_jpeg_baseline.51.dcm").std() > 10


@pytest.mark.parametrize(
    "syntax",
    [
        ImplicitVRLittleEndian,
        ExplicitVRBigEndian,
        DeflatedExplicitVRLittleEndian,
        RLELossless,
        JPEGLSLossless,
        JPEG2000Lossless,
    ],
    ids=lambda uid: uid.name,
)
def test_a_film_is_the_same_in_every_lossless_syntax(syntax: str, tmp_path: Path) -> None:
    plain = loaded(wrap(Film(drawn(1, 128), "syntax")), tmp_path)
    coded = loaded(wrap(Film(drawn(1, 128), "syntax", transfer_syntax=syntax)), tmp_path)
    assert np.array_equal(coded.pixels, plain.pixels)


@pytest.mark.parametrize("sop_class", [CR, SC])
def test_a_negative_that_says_so_is_the_same_film(sop_class: str, tmp_path: Path) -> None:
    positive = loaded(wrap(Film(drawn(2, 128), "sense", sop_class=sop_class)), tmp_path)
    negative = loaded(wrap(Film(drawn(2, 128), "sense", sop_class=sop_class, photometric="MONOCHROME1")), tmp_path)
    assert np.array_equal(positive.pixels - positive.pixels.min(), negative.pixels - negative.pixels.min())
    assert positive.pixels.dtype == np.float32


def film(**changes: object) -> Dataset:
    """A 12-bit film without a window whose header is changed; None removes."""
    ds = wrap(Film(drawn(3, 128), "changed", sop_class=CR))
    for keyword in ("WindowCenter", "WindowWidth"):
        if keyword in ds:
            delattr(ds, keyword)
    for keyword, value in changes.items():
        if value is None:
            delattr(ds, keyword)
        else:
            setattr(ds, keyword, value)
    return ds


def test_rescale_and_window_are_applied_in_order(tmp_path: Path) -> None:
    plain = loaded(film(), tmp_path)
    scaled = loaded(film(RescaleSlope=2, RescaleIntercept=-100, RescaleType="US"), tmp_path)
    assert np.allclose(scaled.pixels, plain.pixels * 2 - 100)
    middle, width = 2000, 1000
    windowed = loaded(film(WindowCenter=middle, WindowWidth=width), tmp_path)
    low, high = middle - 0.5 - (width - 1) / 2, middle - 0.5 + (width - 1) / 2  # PS3.3 C.11.2.1.2.1
    inside = (plain.pixels > low) & (plain.pixels < high)
    assert np.array_equal(windowed.pixels == windowed.pixels.min(), plain.pixels <= low)
    assert np.array_equal(windowed.pixels == windowed.pixels.max(), plain.pixels >= high)
    assert np.corrcoef(windowed.pixels[inside], plain.pixels[inside])[0, 1] == pytest.approx(1)


def test_the_first_of_two_windows_is_taken(tmp_path: Path) -> None:
    one = loaded(film(WindowCenter=1000, WindowWidth=800), tmp_path)
    two = loaded(film(WindowCenter=[1000, 3000], WindowWidth=[800, 50]), tmp_path)
    assert np.array_equal(one.pixels, two.pixels)


def test_a_window_that_shows_nothing_is_ignored(tmp_path: Path) -> None:
    plain = loaded(film(), tmp_path)
    for centre, width in ((90000, 1), (0, -5), (float("inf"), 10)):
        assert np.array_equal(loaded(film(WindowCenter=centre, WindowWidth=width), tmp_path).pixels, plain.pixels)


def test_padding_is_masked_and_takes_no_part_in_the_range(tmp_path: Path) -> None:
    picture = drawn(4, 128)
    picture[:, :20] = 4095
    ds = wrap(Film(picture, "padded", sop_class=CR))
    ds.PixelPaddingValue = 4095
    for photometric in ("MONOCHROME2", "MONOCHROME1"):
        ds.PhotometricInterpretation = photometric
        image = loaded(ds, tmp_path)
        assert image.padding is not None and image.padding[:, :20].all()
        assert (image.pixels[image.padding] == image.pixels[~image.padding].min()).all()


def test_a_padding_range_is_masked(tmp_path: Path) -> None:
    picture = drawn(4, 128)
    picture[:10], picture[10:20] = 4090, 4095
    ds = wrap(Film(picture, "range", sop_class=CR))
    ds.PixelPaddingValue, ds.PixelPaddingRangeLimit = 4095, 4090
    padding = loaded(ds, tmp_path).padding
    assert padding is not None and padding[:20].all()


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_each_pixel_shows_what_pydicom_computes_for_it(
    photometric: str, function: str, padded: bool, tmp_path: Path
) -> None:
    """Though what is shown is computed once for each level of grey: to the last bit."""
    lut = {"RescaleSlope": "1.7", "RescaleIntercept": "-1024.3", "WindowCenter": 1500, "WindowWidth": 3333}
    ds = film(PhotometricInterpretation=photometric, VOILUTFunction=function, **lut)
    stored = pixel_array(ds)
    if padded:
        ds.PixelPaddingValue = int(np.sort(stored, axis=None)[stored.size // 9])
        ds["PixelPaddingValue"].VR = "US"
    shown = apply_voi_lut(apply_modality_lut(stored, ds), ds)
    inside = stored != ds.PixelPaddingValue if padded else np.ones(stored.shape, bool)
    if photometric == "MONOCHROME1":
        shown = shown[inside].max() + shown[inside].min() - shown
    image = loaded(ds, tmp_path)
    assert np.array_equal(image.pixels, np.where(inside, shown, shown[inside].min()).astype(np.float32))
    assert (image.padding is not None) is padded


def test_presentation_lut_shape_inverse_turns_monochrome2(tmp_path: Path) -> None:
    plain, turned = loaded(film(), tmp_path), loaded(film(PresentationLUTShape="INVERSE"), tmp_path)
    assert np.allclose(turned.pixels, plain.pixels.max() + plain.pixels.min() - plain.pixels)


def test_signed_pixels_keep_their_sign(tmp_path: Path) -> None:
    ds = film()
    values = (drawn(3, 128).astype(np.int16) - 2048).astype("<i2")
    ds.PixelRepresentation, ds.BitsStored, ds.HighBit, ds.PixelData = 1, 16, 15, values.tobytes()
    assert np.array_equal(loaded(ds, tmp_path).pixels, values.astype(np.float32))


def test_eight_bits_in_sixteen_and_twelve_in_sixteen(tmp_path: Path) -> None:
    for bits in (8, 12, 16):
        ds = film(BitsStored=bits, HighBit=bits - 1)
        values = (drawn(3, 128).astype(int) * (2**bits - 1) // 4095).astype("<u2")
        ds.PixelData = values.tobytes()
        assert np.array_equal(loaded(ds, tmp_path).pixels, values.astype(np.float32))


def test_colour_is_seen_as_luminance(tmp_path: Path) -> None:
    ds = film(SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=0)
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 8, 8, 7
    grey = (drawn(3, 128) // 16).astype(np.uint8)
    ds.PixelData = np.stack((grey, grey // 2, grey // 4), axis=-1).tobytes()
    ds["PixelData"].VR = "OB"
    image = loaded(ds, tmp_path)
    expected = 0.299 * grey + 0.587 * (grey // 2) + 0.114 * (grey // 4)
    assert np.allclose(image.pixels, expected, atol=1e-3)


def test_spacing_and_matrix_are_those_of_the_file(tmp_path: Path) -> None:
    ds = film(PixelSpacing=None) if "PixelSpacing" in film() else film()
    ds.ImagerPixelSpacing = [0.2, 0.1]
    image = loaded(ds, tmp_path)
    assert image.spacing_mm == (0.2, 0.1)
    ds.PixelSpacing = [0.4, 0.3]
    assert loaded(ds, tmp_path).spacing_mm == (0.4, 0.3)
    assert image.shape == (128, 128)


@pytest.mark.parametrize(
    "changes, kind, words",
    [
        ({"RescaleSlope": "NaN", "RescaleIntercept": 0}, BadDataSet, "rescale|look-up"),
        ({"RescaleSlope": 0, "RescaleIntercept": 7}, NotAccepted, "same value"),
        ({"Rows": 3, "Columns": 3}, NotAccepted, "at least 64"),
        ({"Rows": 65535, "Columns": 65535}, NotAccepted, "more than this node decodes"),
        ({"Rows": None}, NotAccepted, "not an image"),
        ({"NumberOfFrames": 2}, NotAccepted, "2 frames"),
        ({"PixelData": None}, BadDataSet, "no pixel data"),
        ({"PixelData": b""}, BadDataSet, "no pixel data"),
        ({"PixelData": b"\0" * 100}, BadDataSet, "has 100 bytes"),
        ({"PixelData": b"\0" * 2 * 128 * 128}, NotAccepted, "same value"),
    ],
)
def test_what_is_no_film_is_refused_in_a_sentence(
    changes: dict[str, object], kind: type[LungnodeError], words: str, tmp_path: Path
) -> None:
    ds = film()
    if changes.get("RescaleSlope") == "NaN":
        ds.add_new(0x00281052, "DS", "0")
        ds.add_new(0x00281053, "LO", "NaN")  # as some converters write it
    else:
        ds = film(**changes)
    with pytest.raises(kind, match=words) as refused:
        loaded(ds, tmp_path)
    assert str(refused.value).endswith(".")


def test_both_xrv_files_decode_to_the_same_picture(data_folder: Path) -> None:
    """Their stored values agree, and one says MONOCHROME1: it is shown as the negative of the other."""
    one, two = (load_film(path)[1].pixels for path in sorted((data_folder / "dicom").glob("xrv*")))
    assert np.allclose(one, two.max() + two.min() - two)


def test_ct_slices_without_a_header_are_read_or_refused(data_folder: Path) -> None:
    for path in sorted((data_folder / "dicom").glob("lungmask*")):
        assert load_film(path)[1].pixels.shape == (512, 512)


def test_htj2k_is_pixel_exact(tmp_path: Path) -> None:
    """No encoder among the project's packages writes HTJ2K: the code stream of this drawn film was made by OpenJPH."""
    plain = wrap(Film(drawn(1, 128), "htj2k"))
    coded = wrap(Film(drawn(1, 128), "htj2k"))
    coded.PixelData = encapsulate([(Path(__file__).parent / "drawn-1-128.htj2k").read_bytes()])
    coded["PixelData"].VR = "OB"
    coded.file_meta.TransferSyntaxUID = HTJ2KLossless
    assert np.array_equal(loaded(coded, tmp_path).pixels, loaded(plain, tmp_path).pixels)
