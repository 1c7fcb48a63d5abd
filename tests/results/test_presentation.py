"""Presentation states: valid, marks on the very pixel, and the film looks as it did, by DCMTK's own rendering.

DCMTK renders grey values and reads graphics but draws none, so a mark is compared with the pixel that DCMTK's picture
shows brightest, by the coordinates of PS3.3 C.10.5. Not covered: how a viewer draws lines and text; colour.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom import Dataset, dcmread
from pydicom.uid import ComputedRadiographyImageStorage, EnhancedCTImageStorage

from models.api import RESEARCH_USE_ONLY, LungField
from node.core import settings
from node.pipeline.film import load_film
from node.results.build import build
from node.results.record import AnalysisRecord, ImageOutcome
from tests.films import Film, uid, wrap, write
from tests.peers import dciodvfy, program, run
from tests.results.records import header, outcome, prediction, record
from tests.results.series import KEYS, ct_record, slice_headers
from tests.results.test_objects import items

ROWS, COLUMNS = 96, 128
X, Y = 70, 31  # the brightest pixel of the phantom: a focus of one pixel
WANTED = dataclasses.replace(settings.load().objects, kinds=("presentation-states",))


def picture() -> NDArray[np.uint16]:
    """12 bits: a slope, and one bright pixel."""
    y, x = np.mgrid[:ROWS, :COLUMNS]
    values = 800 + 5 * x + 3 * y
    values[Y, X] = 2600
    return np.asarray(values, np.uint16)


def phantom(folder: Path, photometric: str = "MONOCHROME2", sop_class: str = "", **changes: object) -> Path:
    """The film as a file; ``changes`` as for ``header``."""
    film = Film(picture(), "phantom", photometric=photometric)
    ds = wrap(dataclasses.replace(film, sop_class=sop_class) if sop_class else film)
    for keyword, value in changes.items():
        if value is None:
            delattr(ds, keyword)
        else:
            setattr(ds, keyword, value)
    return write(ds, folder)


def analysed(path: Path) -> AnalysisRecord:
    """As the pipeline would: loaded by the film loader, with a focus where the bright pixel is."""
    source, image = load_film(path)
    ring = tuple((float(X + dx), float(Y + dy)) for dx, dy in ((-4, -4), (4, -4), (4, 4), (-4, 4), (-4, -4)))
    made = prediction()
    lesion = dataclasses.replace(made.lesions[0], centre_px=(float(X), float(Y)), outline_px=ring)
    found = dataclasses.replace(made, heat=np.ones(image.shape, np.float32), lesions=(lesion,))
    lungs = outcome(header()).lungs
    assert lungs is not None
    film = ImageOutcome(source, image, dataclasses.replace(lungs, mask=np.ones(image.shape, bool)), (found,))
    return record(source, images=(film,), wanted=WANTED)


def states(made: AnalysisRecord) -> list[Dataset]:
    built = build(dataclasses.replace(made, wanted=WANTED))
    assert {item.kind for item in built} <= {"pr"}
    return [dcmread(BytesIO(item.content)) for item in built]


def checked(made: AnalysisRecord, folder: Path) -> None:
    found = states(made)
    assert found
    for number, ds in enumerate(found):
        path = folder / f"{number}.pr.dcm"
        ds.save_as(path, enforce_file_format=True)
        assert dciodvfy(path) == []
        done = run([program("dcmpschk"), path])
        assert done.code == 0 and "Test passed" in done.text, done.text


def rendered(film: Path, state: Dataset | None = None) -> tuple[NDArray[np.uint8], Dataset]:
    """(DCMTK's picture of the film, the presentation state as DCMTK has read it). Without a state: as the film says."""
    ours, theirs, bitmap = (film.with_suffix(suffix) for suffix in (".ours", ".theirs", ".pgm"))
    options: list[str | Path] = []
    if state is not None:
        state.save_as(ours, enforce_file_format=True)
        options = ["-p", ours]
    done = run([program("dcmp2pgm"), *options, "+S", theirs, film, bitmap])
    assert done.code == 0, done.text
    return np.asarray(Image.open(bitmap)), dcmread(theirs)


def graphics(ds: Dataset, layer: str) -> Iterator[Dataset]:
    for annotation in ds.GraphicAnnotationSequence:
        if annotation.GraphicLayer == layer:
            yield from annotation.get("GraphicObjectSequence", [])


def points(graphic: Dataset) -> NDArray[np.float64]:
    return np.array(graphic.GraphicData, np.float64).reshape(-1, 2)


def voi_lut() -> Dataset:
    """A look-up table of 12 bits: a square root, from value 700."""
    item = Dataset()
    table = (4095 * np.sqrt(np.arange(2048) / 2047)).astype("<u2")
    item.add_new("LUTDescriptor", "US", [len(table), 700, 12])
    item.add_new("LUTData", "US", table.tolist())
    item.LUTExplanation = "Square root"
    return item


LOOKS: dict[str, dict[str, object]] = {
    "window": {},
    "negative": {"photometric": "MONOCHROME1"},
    "narrow window": {"WindowCenter": 1400, "WindowWidth": 900},
    "first of two windows": {"WindowCenter": [1400, 2000], "WindowWidth": [900, 4000]},
    "negative and narrow": {"photometric": "MONOCHROME1", "WindowCenter": 2700, "WindowWidth": 900},
    "rescaled": {"RescaleSlope": "2", "RescaleIntercept": "-1000", "WindowCenter": 1500, "WindowWidth": 2500},
    "look-up table": {"VOILUTSequence": [voi_lut()], "WindowCenter": None, "WindowWidth": None},
    "computed radiograph": {"sop_class": ComputedRadiographyImageStorage, "photometric": "MONOCHROME1"},
    "no rescale": {"RescaleSlope": None, "RescaleIntercept": None, "RescaleType": None},
}


@pytest.mark.parametrize("look", list(LOOKS))
def test_a_film_looks_the_same_with_the_marks_as_without(look: str, tmp_path: Path) -> None:
    film = phantom(tmp_path, **LOOKS[look])  # type: ignore[arg-type]
    (state,) = states(analysed(film))
    before, _ = rendered(film)
    after, _ = rendered(film, state)
    assert before.std() > 5, "a flat picture would prove nothing"
    assert np.abs(before.astype(int) - after).max() <= (look == "look-up table"), "a table of 12 bits becomes one of 16"


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("window", [(None, None), ("", ""), (1000, 0)], ids=["absent", "empty", "of no width"])
def test_a_film_without_a_window_is_shown_from_its_least_to_its_greatest_value(
    photometric: str, window: tuple[object, object], tmp_path: Path
) -> None:
    film = phantom(tmp_path, photometric, WindowCenter=window[0], WindowWidth=window[1])
    (state,) = states(analysed(film))
    shown, _ = rendered(film, state)
    values = picture().astype(float)
    expected = 255 * (values - values.min()) / (values.max() - values.min())
    assert np.abs(shown - expected).max() <= 1


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("spacing", [[0.2, 0.2], [0.1, 0.2]], ids=["square", "wide"])
def test_a_mark_is_on_the_pixel_of_the_focus(photometric: str, spacing: list[float], tmp_path: Path) -> None:
    film = phantom(tmp_path, photometric, ImagerPixelSpacing=spacing)
    (state,) = states(analysed(film))
    shown, read = rendered(film, state)
    brightest = np.unravel_index(np.argmax(shown), shown.shape)
    assert shown.shape == (ROWS, COLUMNS) and (int(brightest[1]), int(brightest[0])) == (X, Y)
    centre, outline = graphics(read, "FOCI")
    assert (centre.GraphicType, centre.GraphicAnnotationUnits) == ("POINT", "PIXEL")
    assert np.floor(points(centre)[0]).tolist() == [X, Y]
    assert np.allclose(points(centre)[0], points(outline)[:4].mean(axis=0))
    assert points(outline)[0].tolist() == points(outline)[-1].tolist()


def test_pixels_are_shown_as_wide_and_high_as_they_are(tmp_path: Path) -> None:
    """PS3.3 C.10.4: the ratio is height by width; the spacing of a detector is not that of the patient."""
    film = phantom(tmp_path, ImagerPixelSpacing=[0.15, 0.2])
    (area,) = states(analysed(film))[0].DisplayedAreaSelectionSequence
    assert list(area.PresentationPixelAspectRatio) == [3, 4] and "PresentationPixelSpacing" not in area
    assert list(area.DisplayedAreaTopLeftHandCorner) == [1, 1]
    assert list(area.DisplayedAreaBottomRightHandCorner) == [COLUMNS, ROWS]
    (of_ct,) = states(ct_record())[0].DisplayedAreaSelectionSequence
    assert [float(value) for value in of_ct.PresentationPixelSpacing] == [0.75, 0.75]


def test_the_words_are_those_of_the_picture(tmp_path: Path) -> None:
    (state,) = states(analysed(phantom(tmp_path)))
    said = [t.UnformattedTextValue for a in state.GraphicAnnotationSequence for t in a.get("TextObjectSequence", [])]
    assert said[0] == "1", "the number beside the focus"
    assert RESEARCH_USE_ONLY in said[1] and "covid19  p = 0.75" in said[1] and "Made up cxnet, version 1" in said[1]
    assert state.SeriesDescription.endswith("(not for diagnosis)")


def test_marks_stay_inside_the_image(tmp_path: Path) -> None:
    made = analysed(phantom(tmp_path))
    film = made.images[0]
    lesion = film.predictions[0].lesions[0]
    beyond = dataclasses.replace(
        lesion, centre_px=(-3.0, 500.0), outline_px=((-9, -9), (500, -9), (500, 500), (-9, -9))
    )
    answer = dataclasses.replace(film.predictions[0], lesions=(beyond,))
    (state,) = states(dataclasses.replace(made, images=(dataclasses.replace(film, predictions=(answer,)),)))
    for graphic in (*graphics(state, "FOCI"), *graphics(state, "LUNGS")):
        assert (points(graphic) >= 0).all() and (points(graphic) <= (COLUMNS, ROWS)).all()


def test_a_contour_of_any_length_can_be_written(tmp_path: Path) -> None:
    """PS3.5 section 7.1.2: an FL of explicit VR holds 65534 bytes, which is 8191 points."""
    made = analysed(phantom(tmp_path))
    film = made.images[0]
    assert film.lungs is not None
    angle = np.linspace(0, 2 * np.pi, 30_000)
    ring = np.stack([60 + 30 * np.cos(angle), 50 + 30 * np.sin(angle)], axis=1).astype(np.float32)
    lungs: LungField = dataclasses.replace(film.lungs, contours=(ring,))
    (state,) = states(dataclasses.replace(made, images=(dataclasses.replace(film, lungs=lungs),)))
    (line,) = graphics(state, "LUNGS")
    assert len(points(line)) == line.NumberOfGraphicPoints < 8191
    distances = np.hypot(*(points(line) - (60.5, 50.5)).T)
    assert np.abs(distances - 30).max() < 0.01
    steps = np.hypot(*np.diff(points(line), axis=0).T)
    assert steps.max() < 1 and np.allclose(points(line)[0], points(line)[-1], atol=0.01)


def test_corners_survive_the_thinning_of_straight_lines() -> None:
    (line,) = graphics(states(record())[0], "LUNGS")
    assert points(line).tolist() == [[10.5, 10.5], [39.5, 10.5], [39.5, 79.5], [10.5, 79.5], [10.5, 10.5]]


@pytest.mark.parametrize(
    "missing",
    [
        "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID",
        "AccessionNumber", "ReferringPhysicianName", "PatientOrientation", "ImagerPixelSpacing", "RescaleSlope",
        "RescaleType", "WindowWidth", "PresentationLUTShape",
    ],
)  # fmt: skip
def test_validators_find_no_error_whatever_is_missing(missing: str, tmp_path: Path) -> None:
    checked(analysed(phantom(tmp_path, **{missing: None})), tmp_path)  # type: ignore[arg-type]


@pytest.mark.parametrize("look", list(LOOKS))
def test_validators_find_no_error_in_any_look(look: str, tmp_path: Path) -> None:
    checked(analysed(phantom(tmp_path, **LOOKS[look])), tmp_path)  # type: ignore[arg-type]


def test_a_film_without_a_name_has_a_state_without_a_name(tmp_path: Path) -> None:
    """Type 2 may be empty (PS3.5 section 7.4.3); dcmpschk alone wants it filled."""
    (state,) = states(analysed(phantom(tmp_path, PatientName=None)))
    path = tmp_path / "state.dcm"
    state.save_as(path, enforce_file_format=True)
    assert state.PatientName == "" and dciodvfy(path) == []


def test_of_a_scan_each_system_marks_its_key_slices(tmp_path: Path) -> None:
    headers = slice_headers()
    made = ct_record(headers)
    checked(made, tmp_path)
    found = states(made)
    shown = [
        [item.ReferencedSOPInstanceUID for item in ds.ReferencedSeriesSequence[0].ReferencedImageSequence]
        for ds in found
    ]
    assert shown == [[headers[n].SOPInstanceUID for n in KEYS], [headers[2].SOPInstanceUID]]
    (focus,) = {a.ReferencedImageSequence[0].ReferencedSOPInstanceUID for a in found[0].GraphicAnnotationSequence
                if a.GraphicLayer == "FOCI"}  # fmt: skip
    assert focus == headers[KEYS[-1]].SOPInstanceUID
    assert len({ds.SOPInstanceUID for ds in found}) == len({ds.InstanceNumber for ds in found}) == 2
    assert found[0].RescaleType == "HU" and found[0].RescaleIntercept == -1024


def test_slices_of_other_windows_and_other_rescale_keep_their_own(tmp_path: Path) -> None:
    headers = slice_headers()
    for number, ds in enumerate(headers):
        ds.WindowCenter, ds.WindowWidth = 40 + number, 400
    made = ct_record(headers)
    checked(made, tmp_path)
    windows = states(made)[0].SoftcopyVOILUTSequence
    assert [(item.ReferencedImageSequence[0].ReferencedSOPInstanceUID, int(item.WindowCenter)) for item in windows] == [
        (headers[n].SOPInstanceUID, 40 + n) for n in KEYS
    ]
    headers[KEYS[1]].RescaleIntercept = -1000
    assert [int(ds.RescaleIntercept) for ds in states(ct_record(headers))] == [-1024, -1000, -1024]


def test_frames_of_one_object_are_named() -> None:
    headers = slice_headers(SOPInstanceUID=uid("instance", "enhanced"), SOPClassUID=EnhancedCTImageStorage)
    for number, ds in enumerate(headers, start=1):
        ds.add_new("ReferencedFrameNumber", "IS", number)
    first = states(ct_record(headers))[0]
    (reference,) = first.ReferencedSeriesSequence[0].ReferencedImageSequence
    assert [int(frame) for frame in reference.ReferencedFrameNumber] == [n + 1 for n in KEYS]
    focus = next(a for a in first.GraphicAnnotationSequence if a.GraphicLayer == "FOCI")
    assert focus.ReferencedImageSequence[0].ReferencedFrameNumber == KEYS[-1] + 1


def test_a_focus_has_the_tracking_identifier_of_the_report() -> None:
    """PS3.3 Table C.10-5 (0062,0021), PS3.16 TID 1410 (112040, DCM)."""
    source = header()
    (state,) = states(record(source, images=(outcome(source),)))
    tracked = {graphic.TrackingUID for graphic in graphics(state, "FOCI")}
    (report,) = [
        dcmread(BytesIO(b.content)) for b in build(record(source, images=(outcome(source),))) if b.kind == "sr"
    ]
    assert len(tracked) == 1 and tracked <= {item.UID for item in items(report) if item.ValueType == "UIDREF"}


def test_a_colour_film_has_none() -> None:
    source = header(PhotometricInterpretation="RGB", SamplesPerPixel=3)
    assert states(record(source)) == []


def test_it_is_made_for_those_who_want_it() -> None:
    other = dataclasses.replace(WANTED, kinds=("key-images",))
    assert not [built for built in build(record(wanted=other)) if built.kind == "pr"]
