"""A film with discs at known pixels, in every form that films come in, through the node: results are at the discs.

Rows, both reports, presentation states, pictures and segmentations are read back by pydicom alone. A film has no frame
of reference: its truth is the stored matrix, and millimetres are those of the detector. Whatever a header says of the
sides of the patient, places stay those of the stored matrix. Not covered: what a viewer draws (tests/viewers), whether
a system is right about what it sees, and that systems are not given a film upright which is stored otherwise.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from tests.geometry.checks import DRAWN_PX, EXACT_PX
from tests.geometry.phantoms import Xray
from tests.geometry.ward import Analysed, Place, frames, marks, red_places


def of_size(seed: str, rows: int, columns: int, **changes: object) -> Xray:
    """Two discs, which are not where a flip of either axis or an exchange of both would put one."""
    size = min(rows, columns)
    discs = (
        (0.27 * columns + 0.3, 0.55 * rows - 0.4, min(0.04 * size, 40.0)),
        (0.68 * columns - 0.2, 0.68 * rows + 0.1, min(0.05 * size, 50.0)),
    )
    return dataclasses.replace(Xray(seed, (rows, columns), discs), **changes)  # type: ignore[arg-type]


def assert_at_discs(places: list[Place], film: Xray, sop_uid: str, within: float = EXACT_PX) -> None:
    assert len(places) == len(film.discs) and {place.sop_uid for place in places} == {sop_uid}
    for x, y, _ in film.discs:
        off = min(max(abs(place.x - x), abs(place.y - y)) for place in places)
        assert off < within, f"nothing is at {(x, y)}: {[(place.x, place.y) for place in places]}"


def assert_numbers_agree(done: Analysed, film: Xray, sop_uid: str) -> None:
    drawn = [place for ds in done.objects("pr") for place in marks(ds)]
    segmented = [place for ds in done.objects("seg") for place in frames(ds)]
    rows = done.rows()
    for places in (rows, done.points("sr"), done.outlines("sr"), drawn, segmented):
        assert_at_discs(places, film, sop_uid)
    if regions := done.points("regions"):  # none of pixels that are not square
        assert_at_discs(regions, film, sop_uid)
    named = {place.tracking_uid for place in rows}
    for places in (done.points("sr"), drawn, segmented):
        assert {place.tracking_uid for place in places} == named, "a focus has one name everywhere"


@pytest.mark.parametrize(
    "film",
    [
        of_size("square", 400, 400),
        of_size("MONOCHROME1", 400, 400, photometric="MONOCHROME1"),
        of_size("oblong pixels", 330, 500, spacing=(1.2, 0.8)),
        of_size("upright oblong pixels", 520, 340, spacing=(0.7, 1.1)),
        of_size("no spacing", 360, 480, spacing=None),
        of_size("mirrored", 400, 400, orientation=("R", "F")),
        of_size("on its side", 400, 500, orientation=("F", "L")),
        of_size("upside down", 400, 400, orientation=("R", "H")),
    ],
    ids=lambda film: film.seed,
)
def test_every_result_is_at_the_disc(film: Xray, tmp_path: Path) -> None:
    ds = film.data_set()
    done = Analysed(tmp_path, [ds])
    assert not done.reasons
    assert_numbers_agree(done, film, str(ds.SOPInstanceUID))
    pictures = done.objects("sc")
    red = [place for picture in pictures for place in red_places(picture)]
    assert_at_discs(red, film, str(ds.SOPInstanceUID), DRAWN_PX)
    for picture in pictures:
        assert (picture.Rows, picture.Columns) == film.shape
        assert tuple(picture.PatientOrientation) == film.orientation, "the picture has the sides of its film"
        down, right = film.spacing or (1.0, 1.0)
        stated = [int(value) for value in picture.get("PixelAspectRatio", [1, 1])]
        assert stated[0] / stated[1] == pytest.approx(down / right, rel=1e-3), "the picture has the shape of its film"


@pytest.mark.parametrize("film", [of_size("tiny", 100, 110), of_size("huge", 4000, 3300)], ids=lambda film: film.seed)
def test_small_and_large_films(film: Xray, tmp_path: Path) -> None:
    """Pictures of 100 pixels have no room for words beside the heat, so numbers alone are compared."""
    ds = film.data_set()
    kinds = ("summary", "regions", "film-segmentations", "presentation-states")
    assert_numbers_agree(Analysed(tmp_path, [ds], kinds), film, str(ds.SOPInstanceUID))


def test_millimetres_are_those_of_the_detector(tmp_path: Path) -> None:
    film = of_size("in millimetres", 330, 500, spacing=(1.2, 0.8))
    done = Analysed(tmp_path, [film.data_set()], ("summary",))
    rows = done.room.rows("SELECT x_mm, y_mm FROM lesions")
    for x, y, _ in film.discs:
        off = min(max(abs(float(str(row["x_mm"])) - 0.8 * x), abs(float(str(row["y_mm"])) - 1.2 * y)) for row in rows)
        assert off < EXACT_PX
    unknown = Analysed(tmp_path / "unknown", [dataclasses.replace(film, seed="unknown", spacing=None).data_set()], ())
    assert {row["x_mm"] for row in unknown.room.rows("SELECT x_mm FROM lesions")} == {None}


def test_a_system_is_given_the_film_as_it_is_stored_and_bright_is_bright(tmp_path: Path) -> None:
    """MONOCHROME1 and 2 of one picture are the same to a system."""
    given = []
    for kind in ("MONOCHROME1", "MONOCHROME2"):
        done = Analysed(tmp_path / kind, [of_size(kind, 200, 240, photometric=kind).data_set()], ())
        (image,) = done.systems.film.given
        given.append(image)
    assert given[0].shape == given[1].shape == (200, 240)  # type: ignore[union-attr]
    assert abs(given[0].pixels - given[1].pixels).max() < 2  # type: ignore[union-attr]
