"""The rules that look at a film's pixels, on made films: of each one film that is refused and one just accepted.

How often they are wrong on real films is in tests/film/test_chest.py. Not covered: what systems do with such films.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom import Dataset

from models.api import RefusedInput
from node.core.settings import Analysis
from node.pipeline.chest import saturated_share
from node.pipeline.judge import Judge, Stages
from node.pipeline.objections import first_objection
from node.pipeline.picture import TURNED, Look, look_at
from node.pipeline.rules import load
from node.pipeline.select import Taken
from tests.films import Film, Picture, drawn, wrap
from tests.pipeline.fakes import Fake, FakeRegistry
from tests.pipeline.slices import change, stored

SIZE = 200
MIDDLE = slice(SIZE // 5, SIZE - SIZE // 5), slice(SIZE // 6, SIZE - SIZE // 6)


def look(folder: Path, picture: NDArray[np.uint16], *earlier: Look, silent: bool = False, **header: object) -> Look:
    seed = f"{picture.sum()} {len(earlier)} {sorted(header.items())}"
    ds = change(wrap(Film(picture, seed, "one study")), **header)
    return look_at(stored(ds, folder), silent, earlier)


def said(seen: Look) -> tuple[str, str]:
    """(rule, sentence); empty where the film passes."""
    objection = first_objection(seen, load().picture)
    return (objection.rule, objection.sentence) if objection else ("", "")


def saturated(share: float, high: bool = True) -> NDArray[np.uint16]:
    """A drawn chest of which ``share`` of the middle is at one end."""
    picture = np.clip(drawn(3, SIZE), 300, 3700)
    middle = picture[MIDDLE]
    count = round(share * middle.size)
    order = np.argsort(middle.ravel())
    flat = middle.ravel()
    flat[order[-count:] if high else order[:count]] = 4095 if high else 0
    picture[MIDDLE] = flat.reshape(middle.shape)
    return picture


@pytest.mark.parametrize("high", [True, False])
def test_saturation(high: bool, tmp_path: Path) -> None:
    rule, sentence = said(look(tmp_path, saturated(0.27, high)))
    assert (rule, sentence) == ("saturation", "27 % of the middle of the film is saturated; at most 25 % are judged.")
    assert said(look(tmp_path, saturated(0.24, high))) == ("", "")


def test_a_border_is_no_saturation(tmp_path: Path) -> None:
    """Collimation and black borders fill much of a film and leave the lungs as they are."""
    picture = drawn(3, SIZE)
    picture[:, : SIZE // 6] = 0
    picture[: SIZE // 5] = 0
    assert (picture == 0).mean() > 0.3 and said(look(tmp_path, picture)) == ("", "")


def test_padding_is_no_saturation(tmp_path: Path) -> None:
    picture = np.clip(drawn(3, SIZE), 300, 4095)
    picture[:, : SIZE // 2] = 0
    whole = look(tmp_path, picture)
    padded = look(tmp_path, picture, PixelPaddingValue=0)
    assert saturated_share(whole.image, 0.01) > 0.25 > saturated_share(padded.image, 0.01)


def test_an_overexposed_film_is_refused_by_the_judge(tmp_path: Path) -> None:
    """The same rule stands where films are analysed."""
    burnt = np.clip(drawn(3, SIZE).astype(int) * 4, 0, 4095).astype(np.uint16)
    taken = Taken(stored(wrap(Film(burnt, "burnt")), tmp_path), False, "a film")
    judge = Judge(FakeRegistry(Fake("one", "film")), Analysis("", "", ("one",), (), (), False, "cpu", 3), "0.1.0")
    with pytest.raises(RefusedInput, match="of the middle of the film is saturated"):
        judge.film(taken, Stages())


def noisy(share: float) -> NDArray[np.uint16]:
    """A drawn chest and noise as coarse as a pixel of the small picture, mixed."""
    random = np.random.default_rng(0).uniform(0, 4095, (64, 64)).astype(np.float32)
    coarse = np.asarray(Image.fromarray(random).resize((256, 256), Image.Resampling.NEAREST))
    return ((1 - share) * drawn(3, 256) + share * coarse).astype(np.uint16)


def test_noise(tmp_path: Path) -> None:
    assert said(look(tmp_path, noisy(0.75))) == ("noise", "The pixels are noise rather than a radiograph.")
    assert said(look(tmp_path, noisy(0.4))) == ("", "")


def test_what_is_no_chest_matters_only_where_the_header_is_silent(tmp_path: Path) -> None:
    ramp = np.repeat(np.linspace(0, 4095, SIZE)[None], SIZE, axis=0).astype(np.uint16)
    assert said(look(tmp_path, ramp, silent=True))[0] == "not-a-chest"
    assert said(look(tmp_path, ramp)) == ("", "")
    assert said(look(tmp_path, drawn(3, SIZE), silent=True)) == ("", "")


def processed(picture: Picture) -> NDArray[np.uint16]:
    """The same exposure in another tone and half the size."""
    tone = (picture / 4095.0) ** 0.8 * 3000
    return tone[::2, ::2].astype(np.uint16)


def mirrored(picture: Picture) -> NDArray[np.uint16]:
    return np.ascontiguousarray(picture[:, ::-1]).astype(np.uint16)


def test_the_same_exposure_again_is_left_out(tmp_path: Path) -> None:
    first = look(tmp_path, drawn(3, SIZE))
    again = look(tmp_path, processed(drawn(3, SIZE)), first)
    assert said(again) == ("duplicate", "It shows the same exposure as another film of the study, which was taken.")
    assert said(look(tmp_path, mirrored(drawn(3, SIZE)), first)) == ("", ""), "another film"
    assert said(look(tmp_path, processed(drawn(3, SIZE)))) == ("", ""), "the first of its study"


@pytest.mark.parametrize("differs", [{"ViewPosition": "AP"}, {"AcquisitionTime": "101500"}])
def test_films_whose_headers_tell_them_apart_are_two_exposures(differs: dict[str, object], tmp_path: Path) -> None:
    first = look(tmp_path, drawn(3, SIZE))
    assert said(look(tmp_path, drawn(3, SIZE), first, **differs)) == ("", "")
    (keyword,) = differs
    assert said(look(tmp_path, drawn(3, SIZE), first, **{keyword: None}))[0] == "duplicate"


def test_a_negative_is_turned_and_said(tmp_path: Path) -> None:
    turned = look(tmp_path, (4095 - drawn(3, SIZE)).astype(np.uint16))
    assert turned.notes == (TURNED,) and said(turned) == ("", "")
    assert look(tmp_path, drawn(3, SIZE)).notes == ()


def test_every_rule_of_pictures_is_tried_here() -> None:
    tried = {"saturation", "noise", "not-a-chest", "duplicate"}
    assert {rule.name for rule in load().picture} == tried


def test_headers_are_as_received(tmp_path: Path) -> None:
    seen = look(tmp_path, drawn(3, SIZE))
    assert isinstance(seen.header, Dataset) and "PixelData" not in seen.header
