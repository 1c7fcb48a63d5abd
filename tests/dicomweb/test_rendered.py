"""Pictures: grey values by every window, regions and sizes, sense, colours, frames, forms, words only when asked for.

Not covered: how a person likes them; ICC profiles, which are not made.
"""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom import Dataset
from pydicom.pixels.processing import apply_windowing

from tests.dicomweb.conftest import instance
from tests.dicomweb.site import Site
from tests.films import Film, drawn, encoded, uid, wrap


def ramp(seed: str, **changes: object) -> Dataset:
    """Values 0 to 4095 from left to right, no window of its own."""
    picture = np.tile(np.linspace(0, 4095, 128).round().astype(np.uint16), (64, 1))
    ds = wrap(Film(picture, seed, spacing_mm=None))
    for keyword in ("WindowCenter", "WindowWidth", "VOILUTSequence", "PresentationLUTShape", "PixelPaddingValue"):
        if keyword in ds:
            delattr(ds, keyword)
    for keyword, value in changes.items():
        setattr(ds, keyword, value)
    return ds


def shown(web: Site, path: str, accept: str = "image/png") -> NDArray[np.uint8]:
    answered = web.get(path, accept)
    assert answered.status == 200, answered.text
    with Image.open(BytesIO(answered.body)) as picture:
        return np.asarray(picture)


@pytest.fixture(scope="module")
def plain(web: Site) -> str:
    web.keep(encoded(ramp("ramp")))
    return f"{instance('ramp', 'ramp')}/rendered"


@pytest.mark.parametrize(
    "function, name",
    [("", "LINEAR"), (",linear", "LINEAR"), (",linear-exact", "LINEAR_EXACT"), (",sigmoid", "SIGMOID")],
)
@pytest.mark.parametrize("centre, width", [(2048, 4096), (1000, 500), (3000.5, 1.5), (-100, 50)])
def test_a_window_is_that_of_the_standard(
    web: Site, plain: str, function: str, name: str, centre: float, width: float
) -> None:
    """pydicom's own window, brought to 8 bits, is the measure."""
    ds = ramp("ramp", WindowCenter=centre, WindowWidth=width, VOILUTFunction=name)
    expected = apply_windowing(ds.pixel_array, ds) / 4095 * 255
    found = shown(web, f"{plain}?window={centre},{width}{function}")
    assert np.abs(found.astype(float) - expected).max() <= 0.51


@pytest.mark.parametrize(
    "changes, falls",
    [
        ({}, False),
        ({"PhotometricInterpretation": "MONOCHROME1"}, True),
        ({"PresentationLUTShape": "INVERSE"}, True),
        ({"WindowCenter": [2000, 40], "WindowWidth": [1000, 400]}, False),
        ({"WindowCenter": "", "WindowWidth": ""}, False),
        ({"RescaleSlope": 2, "RescaleIntercept": -1000, "WindowCenter": 3000, "WindowWidth": 1000}, False),
    ],
)
def test_the_sense_and_window_of_the_header(web: Site, changes: dict[str, object], falls: bool) -> None:
    seed = f"sense {sorted(changes)} {sorted(map(str, changes.values()))}"
    web.keep(encoded(ramp(seed, **changes)))
    row = shown(web, f"{instance(seed, seed)}/rendered")[0].astype(int)
    steps = np.diff(row if not falls else row[::-1])
    assert steps.min() >= 0 and row.min() == 0 and row.max() == 255
    if changes.get("WindowWidth"):
        assert (steps > 0).sum() < 40, "the ends of the window lie within the ramp"


def test_regions_and_sizes(web: Site, plain: str) -> None:
    whole = shown(web, plain)
    assert whole.shape == (64, 128)
    assert shown(web, f"{plain}?viewport=64,64").shape == (32, 64), "the shape of the image is kept"
    assert shown(web, f"{plain}?viewport=512,512").shape == (256, 512)
    part = shown(web, f"{plain}?viewport=32,16,64,32,32,16")
    assert np.array_equal(part, whole[32:48, 64:96])
    assert np.array_equal(shown(web, f"{plain}?viewport=128,64,0,0,-128,64"), whole[:, ::-1])
    thumbnail = plain.replace("rendered", "thumbnail")
    assert shown(web, thumbnail).shape == (64, 128), "nothing is enlarged that was not asked for"
    assert shown(web, f"{thumbnail}?viewport=32,32").shape == (16, 32)


def test_pixels_that_are_not_square(web: Site) -> None:
    web.keep(encoded(ramp("aspect", PixelAspectRatio=[2, 1])))
    assert shown(web, f"{instance('aspect', 'aspect')}/rendered").shape == (128, 128)


def test_forms(web: Site, plain: str) -> None:
    sizes = {}
    for quality in (10, 95):
        answered = web.get(f"{plain}?quality={quality}", "image/jpeg")
        sizes[quality] = len(answered.body)
        assert answered.headers["content-type"] == "image/jpeg" and answered.body[:2] == b"\xff\xd8"
    assert sizes[10] < sizes[95]
    assert web.get(plain).headers["content-type"] == "image/jpeg"
    assert web.get(plain, "image/*").headers["content-type"] == "image/jpeg"
    assert web.get(plain, "image/tiff").status == 406 and web.get(plain, "application/dicom").status == 406


def test_words_only_when_asked_for(web: Site, plain: str) -> None:
    whole = shown(web, f"{plain}?viewport=512,256")
    patient = shown(web, f"{plain}?viewport=512,256&annotation=patient")
    both = shown(web, f"{plain}?viewport=512,256&annotation=patient,technique")
    assert whole.ndim == 2 and patient.ndim == 3
    assert (patient[:40].min(axis=2) != whole[:40]).any() and not (patient[200:, :, 0] != whole[200:]).any()
    assert (both != patient).any()


@pytest.mark.parametrize(
    "query",
    ["window=1", "window=a,b", "window=1,0", "window=1,nan", "window=1,2,cubic", "viewport=0,5", "viewport=9999,5",
     "viewport=5", "viewport=5,5,1", "viewport=5,5,inf,0,1,1", "viewport=5,5,500,0,10,10", "quality=0", "quality=x",
     "annotation=everything"],
)  # fmt: skip
def test_parameters_that_cannot_be_understood(web: Site, plain: str, query: str) -> None:
    answered = web.get(f"{plain}?{query}")
    assert answered.status == 400 and answered.text.endswith(".\n")


def test_frames_and_movement(web: Site) -> None:
    study = uid("study", "web enhanced")
    (found,) = web.get(f"/studies/{study}/instances").json()
    path = str(found["00081190"]["Value"][0]).removeprefix(web.url)
    first = shown(web, f"{path}/frames/1/rendered?window=40,400")
    parts = web.get(f"{path}/frames/1,2,6/rendered?window=40,400", "image/png").parts()
    pictures = [np.asarray(Image.open(BytesIO(content))) for _, content in parts]
    assert len(pictures) == 3 and np.array_equal(pictures[0], first) and not np.array_equal(pictures[2], first)
    # stored 1024 + HU with intercept -1024: 40 +- 200 HU, slope from -1000 to 400 over the rows
    assert first[0, 0] == 0 and first[-1, -1] == 255 and first.shape == (40, 48)
    with Image.open(BytesIO(web.get(f"{path}/rendered?window=40,20", "image/gif").body)) as moving:
        assert moving.n_frames == 6 and moving.size == (48, 40)  # type: ignore[attr-defined]
    assert shown(web, f"{path}/frames/2/thumbnail").shape == (40, 48)
    assert web.get(f"{path}/frames/9/rendered").status == 404
    assert web.get(f"{path}/frames/1/rendered", "image/gif").status == 406


def test_colours(web: Site) -> None:
    ds = wrap(Film(drawn(1, 64), "colour"))
    random = np.random.default_rng(1).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PlanarConfiguration = 3, "RGB", 0
    ds.BitsAllocated = ds.BitsStored = 8
    ds.HighBit, ds.PixelData = 7, random.tobytes()
    ds["PixelData"].VR = "OB"
    web.keep(encoded(ds))
    assert np.array_equal(shown(web, f"{instance('colour', 'colour')}/rendered"), random)


def test_studies_and_series(web: Site) -> None:
    study, series = uid("study", "web ct"), uid("series", "web ct")
    for path in (f"/studies/{study}", f"/studies/{study}/series/{series}"):
        assert len(web.get(f"{path}/rendered", 'multipart/related; type="image/png"').parts()) == 6
        assert shown(web, f"{path}/thumbnail", "image/jpeg").shape == (40, 48)


def test_what_is_no_image_has_no_picture(web: Site) -> None:
    ds = wrap(Film(drawn(1, 64), "no image"))
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.88.11"
    del ds.PixelData
    web.keep(encoded(ds))
    path = instance("no image", "no image")
    for last in ("rendered", "thumbnail", "frames/1", "frames/1/rendered"):
        answered = web.get(f"{path}/{last}")
        assert answered.status == 406 and answered.text == "The object has no pixels.\n"
    assert web.get(f"/studies/{uid('study', 'no image')}/thumbnail").status == 406
    assert web.get(path).status == 200
