"""Are the places that results name those of the balls? In pixels of the image named, and in millimetres."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tests.geometry.phantoms import Ball
from tests.geometry.ward import Analysed, Image, Place, frames, marks, red_places

EXACT_PX = 0.35  # half a pixel, the usual mistake, is more
DRAWN_PX = 0.8  # a patch of colour with a cross and a number over it


def assert_at_balls(
    places: Sequence[Place], images: Sequence[Image], balls: Sequence[Ball], within: float = EXACT_PX
) -> None:
    """One place for each ball: on an image that no other lies nearer to, at the pixel, at the millimetre."""
    assert len(places) == len(balls)
    by_key = {(image.sop_uid, image.frame): image for image in images}
    for ball in balls:
        centre = np.array(ball.centre)
        found = [(place, by_key[place.sop_uid, place.frame]) for place in places]
        place, image = min(
            found, key=lambda one: float(np.linalg.norm(one[1].millimetres(one[0].x, one[0].y) - centre))
        )
        x, y, beside = image.pixels(centre)
        nearest = min(abs(other.pixels(centre)[2]) for other in images)
        assert abs(beside) == nearest or abs(abs(beside) - nearest) < 1e-6, f"another slice lies nearer to {ball}"
        assert max(abs(place.x - x), abs(place.y - y)) < within, f"{place} is not at {(x, y)} of {ball}"
        off = image.millimetres(place.x, place.y) - (centre - beside * np.cross(*image.cosines))
        assert np.linalg.norm(off) < max(image.spacing), f"{off} mm off {ball}"
        if place.millimetres is not None:
            np.testing.assert_allclose(place.millimetres, image.millimetres(place.x, place.y), atol=0.01)
    assert len({(place.sop_uid, place.frame, round(place.x), round(place.y)) for place in places}) == len(balls)


def assert_all_agree(done: Analysed, images: Sequence[Image], balls: Sequence[Ball]) -> None:
    """Rows, reports, marks, pictures, segmentations and parametric maps."""
    rows = done.rows()
    assert_at_balls(rows, images, balls)
    assert_at_balls(done.points("sr"), images, balls)
    assert_at_balls(done.outlines("sr"), images, balls)
    assert_at_balls([place for ds in done.objects("sc") for place in red_places(ds)], images, balls, DRAWN_PX)
    assert_at_balls([place for ds in done.objects("stack") for place in red_places(ds)], images, balls, DRAWN_PX)
    if regions := done.points("regions"):  # none of pixels that are not square
        assert_at_balls(regions, images, balls)
    drawn = [place for ds in done.objects("pr") for place in marks(ds)]
    segmented = [place for ds in done.objects("seg") for place in frames(ds)]
    assert_at_balls(drawn, images, balls)
    assert_at_balls(segmented, images, balls)
    assert_at_balls([place for ds in done.objects("pm") for place in frames(ds)], images, balls)
    named = {place.tracking_uid for place in rows}
    assert len(named) == len(balls)
    for places in (done.points("sr"), drawn, segmented):
        assert {place.tracking_uid for place in places} == named, "a focus has one name everywhere"
