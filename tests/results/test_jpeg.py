"""Pictures as JPEG Baseline where a destination asks for it: marked as lossy, under UIDs of their own, colours right.

DCMTK and Orthanc decode them; the lossless form is what they are compared with. Records are made up. Not covered: how a
viewer shows them.
"""

from __future__ import annotations

import dataclasses
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom import Dataset, dcmread
from pydicom.uid import JPEGBaseline8Bit

from models.api import ImageInput
from node.core import settings
from node.results import keyobject, sc
from node.results.build import build
from node.results.record import AnalysisRecord, BuiltObject
from node.results.render import RGB
from tests.films import drawn
from tests.peers import Orthanc, dciodvfy, dcmsend, program, run
from tests.pipeline.slices import change
from tests.results.records import header, outcome, record
from tests.results.series import ct_record, slice_headers

PICTURES = ("heat-maps", "heat-stacks", "page")
WITHIN = 20  # grey levels of 255, mean over a block of 8 x 8: chroma is halved, letters have sharp edges


def wanting(made: AnalysisRecord, jpeg: bool, *kinds: str) -> AnalysisRecord:
    wanted = dataclasses.replace(settings.load().objects, kinds=kinds or PICTURES, jpeg=jpeg)
    return dataclasses.replace(made, wanted=wanted)


def film_and_scan(jpeg: bool, **changes: object) -> AnalysisRecord:
    """Of one study, so that one record has every kind of picture."""
    headers = slice_headers(**changes)
    film = change(header(StudyInstanceUID=headers[0].StudyInstanceUID), **changes)
    return wanting(ct_record(headers, images=(outcome(film),)), jpeg)


@pytest.fixture(scope="module")
def pairs() -> list[tuple[BuiltObject, BuiltObject]]:
    """(lossless, lossy) of each picture"""
    return list(zip(build(film_and_scan(False)), build(film_and_scan(True)), strict=True))


def parsed(found: BuiltObject) -> Dataset:
    return dcmread(BytesIO(found.content))


def coarse(picture: np.ndarray) -> np.ndarray:
    """Means of blocks of 8 x 8."""
    rows, columns = (size // 8 * 8 for size in picture.shape[:2])
    blocks = picture[:rows, :columns].astype(float).reshape(rows // 8, 8, columns // 8, 8, 3)
    return np.asarray(blocks.mean(axis=(1, 3)))


def like(one: RGB, two: RGB) -> bool:
    """Nearly the same everywhere, and as colourful."""
    difference = np.abs(coarse(one) - coarse(two))
    return bool(difference.max() < WITHIN and difference.mean() < 1.5)


def frames(ds: Dataset) -> list[RGB]:
    pixels = ds.pixel_array
    return list(pixels) if pixels.ndim == 4 else [pixels]


def test_every_picture_has_both_forms_under_two_uids_in_one_series(
    pairs: list[tuple[BuiltObject, BuiltObject]],
) -> None:
    assert [plain.kind for plain, _ in pairs] == ["sc"] * 4 + ["stack", "page"]
    for plain, lossy in pairs:
        assert plain.sop_instance_uid != lossy.sop_instance_uid
        assert (plain.kind, plain.series_instance_uid) == (lossy.kind, lossy.series_instance_uid)
    assert build(film_and_scan(True)) == tuple(lossy for _, lossy in pairs), "the same bytes again"


def test_reports_are_the_same_whatever_becomes_of_the_pictures() -> None:
    one, two = (build(wanting(record(), jpeg, "summary")) for jpeg in (False, True))
    assert one == two


def test_what_refers_to_a_picture_refers_to_the_form_that_was_sent() -> None:
    source = header()
    for jpeg in (False, True):
        made = wanting(record(source), jpeg, "heat-maps", "key-images")
        sent = {item.sop_instance_uid for item in sc.heat_maps(made)}
        assert sc.uids(made, source, "cxnet")[0] in sent
        (document,) = keyobject.selection(made)
        assert sc.uids(made, source, "cxnet")[0].encode() in document.content


def test_lossy_pictures_say_so(pairs: list[tuple[BuiltObject, BuiltObject]]) -> None:
    for plain, lossy in pairs:
        before, ds = parsed(plain), parsed(lossy)
        assert before.LossyImageCompression == "00" and "LossyImageCompressionMethod" not in before
        assert ds.file_meta.TransferSyntaxUID == JPEGBaseline8Bit
        assert (ds.LossyImageCompression, ds.LossyImageCompressionMethod) == ("01", "ISO_10918_1")
        assert (ds.PhotometricInterpretation, ds.SamplesPerPixel, ds.PlanarConfiguration) == ("YBR_FULL_422", 3, 0)
        raw = ds.Rows * ds.Columns * 3 * int(ds.get("NumberOfFrames", 1))
        assert float(ds.LossyImageCompressionRatio) == pytest.approx(raw / len(ds.PixelData), rel=0.05)
        assert len(lossy.content) < len(plain.content)


def test_colours_come_out_right(pairs: list[tuple[BuiltObject, BuiltObject]], tmp_path: Path) -> None:
    """By pydicom's decoder and by DCMTK's, against the lossless picture; the red of the heat is still red."""
    path, shown = tmp_path / "lossy.dcm", tmp_path / "shown.png"
    for plain, lossy in pairs:
        wanted, got = frames(parsed(plain)), frames(parsed(lossy))
        assert all(like(one, two) for one, two in zip(wanted, got, strict=True)), lossy.kind
        path.write_bytes(lossy.content)
        for number, picture in enumerate(wanted, start=1):
            done = run([program("dcmj2pnm"), "--write-png", "--frame", str(number), path, shown])
            assert done.code == 0, done.text
            assert like(picture, np.asarray(Image.open(shown).convert("RGB"))), f"{lossy.kind}, frame {number}"


def test_swapped_colours_would_be_noticed(pairs: list[tuple[BuiltObject, BuiltObject]]) -> None:
    """The comparison above can fail."""
    (picture,) = frames(parsed(pairs[0][0]))
    assert not like(picture, picture[..., ::-1]) and not like(picture, np.roll(picture, 8, axis=1))


def test_validators_find_no_error(pairs: list[tuple[BuiltObject, BuiltObject]], tmp_path: Path) -> None:
    path = tmp_path / "lossy.dcm"
    for _, lossy in pairs:
        path.write_bytes(lossy.content)
        assert dciodvfy(path) == [], lossy.kind


@pytest.mark.parametrize("jpeg, ratios", [(False, ["12.5"]), (True, ["12.5", "our own"])])
def test_what_was_lost_before_is_never_denied(jpeg: bool, ratios: list[str]) -> None:
    """PS3.3 C.7.6.1.1.5: once 01, it stays; methods and ratios of each step in their order."""
    lost = {
        "LossyImageCompression": "01", "LossyImageCompressionRatio": "12.5",
        "LossyImageCompressionMethod": "ISO_15444_1",
    }  # fmt: skip
    for item in build(film_and_scan(jpeg, **lost)):
        ds = parsed(item)
        said = ds.LossyImageCompressionRatio if jpeg else [ds.LossyImageCompressionRatio]
        assert ds.LossyImageCompression == "01" and len(said) == len(ratios) and float(said[0]) == 12.5
        assert len(ratios) == ds["LossyImageCompressionMethod"].VM


def test_a_pacs_takes_and_shows_them(
    orthanc: Orthanc, pairs: list[tuple[BuiltObject, BuiltObject]], tmp_path: Path
) -> None:
    paths = []
    for number, (_, lossy) in enumerate(pairs):
        paths.append(tmp_path / f"{number}.dcm")
        paths[-1].write_bytes(lossy.content)
    assert dcmsend(orthanc.dicom_port, paths, "--decompress-never", called=orthanc.aet).code == 0
    stored = {ds.SOPInstanceUID: ds for ds in orthanc.datasets(str(parsed(pairs[0][0]).StudyInstanceUID))}
    for plain, lossy in pairs:
        assert stored[lossy.sop_instance_uid].file_meta.TransferSyntaxUID == JPEGBaseline8Bit
        (found,) = [
            entry["ID"] for entry in orthanc.get("/instances?expand")
            if entry["MainDicomTags"]["SOPInstanceUID"] == lossy.sop_instance_uid
        ]  # fmt: skip
        for number, picture in enumerate(frames(parsed(plain))):
            shown = orthanc.request("GET", f"/instances/{found}/frames/{number}/rendered")
            assert like(picture, np.asarray(Image.open(BytesIO(shown)).convert("RGB"))), lossy.kind


def test_odd_numbers_of_pixels_are_packed() -> None:
    """Two columns share a colour; the last one may be alone."""
    source = header(Rows=97, Columns=95)
    found = outcome(source)
    heat = np.zeros((97, 95), np.float32)
    heat[20:40, 20:40] = 1
    image = ImageInput(np.ascontiguousarray(drawn(1, 97)[:, :95]).astype(np.float32), "1")
    answer = dataclasses.replace(found.predictions[0], heat=heat)
    odd = dataclasses.replace(found, image=image, lungs=None, predictions=(answer,))
    for jpeg in (False, True):
        (item,) = build(wanting(record(source, images=(odd,)), jpeg, "heat-maps"))
        assert parsed(item).pixel_array.shape == (97, 95, 3)
