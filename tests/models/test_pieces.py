"""Pieces of the network's picture brought to the film, described and drawn.

Not here: LIME itself (test_lime) and the command (tests/e2e/test_explain_command).
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from models.api import Card, ImageInput, LungField
from models.cards import read_card
from models.evaluation import pieces
from models.explain.lime import Explained, Superpixels
from tests.models import made

BOX = (10, 20, 90, 180)  # 80 x 160 of a film of 100 x 200


def explained() -> Explained:
    """Four quarters of an 8 x 8 picture; the lower left one speaks against the class."""
    labels = np.kron(np.arange(4).reshape(2, 2), np.ones((4, 4), np.int64))
    return Explained(Superpixels(labels, np.array([0.1, 0.3, -0.4, 0.0]), (2, 1), 0.9), BOX, "covid19", 0.75)


class Quarters:
    """A system whose explanation is known."""

    def __init__(self, card: Card) -> None:
        self.card = card

    def superpixels(self, image: ImageInput, lungs: LungField | None, samples: int = 1) -> Explained:
        return explained()


def test_each_pixel_of_the_box_has_the_piece_that_lies_over_it() -> None:
    labels = pieces.in_film(explained(), (100, 200))
    assert (labels[10:50, 20:100] == 0).all() and (labels[10:50, 100:180] == 1).all()
    assert (labels[50:90, 20:100] == 2).all() and (labels[50:90, 100:180] == 3).all()
    assert (labels == pieces.OUTSIDE).sum() == 100 * 200 - 80 * 160


def test_pieces_are_told_by_weight_with_place_size_and_share_of_lung() -> None:
    lungs = np.zeros((100, 200), bool)
    lungs[50:90, 20:60] = True  # the left half of the lower left quarter
    told = pieces.described(explained(), pieces.in_film(explained(), (100, 200)), lungs)
    assert [piece["weight"] for piece in told] == [-0.4, 0.3, 0.1, 0.0]
    assert told[0] == {"weight": -0.4, "x_px": 59.5, "y_px": 69.5, "area_px": 3200, "lung_share": 0.5}
    assert told[1]["lung_share"] == 0.0


def test_a_box_smaller_than_the_picture_leaves_pieces_out() -> None:
    small = Explained(explained().pieces, (0, 0, 1, 1), "covid19", 0.5)
    labels = pieces.in_film(small, (4, 4))
    assert labels[0, 0] == 0 and len(pieces.described(small, labels, None)) == 1


def test_what_is_written_names_class_model_and_film(tmp_path: Path) -> None:
    card = read_card(made.WEIGHTS / "cxnet.toml")
    system = Quarters(card)
    assert isinstance(system, pieces.ExplainsByPieces) and not isinstance(card, pieces.ExplainsByPieces)
    image = ImageInput(np.tile(np.arange(200, dtype=np.float32), (100, 1)), "1.2.3")
    line = pieces.write(system, image, None, tmp_path, 12)
    told = json.loads((tmp_path / "1.2.3.cxnet.lime.json").read_text(encoding="utf-8"))
    assert (told["image"], told["class"], told["probability"], told["fidelity"]) == ("1.2.3", "covid19", 0.75, 0.9)
    assert told["model"]["weights_sha256"] == card.weights_sha256 and told["samples"] == 12
    assert "lung_share" not in told["pieces"][0] and "research use" in told["note"].lower()
    assert line.startswith("1.2.3  ") and "covid19 p = 0.75" in line
    assert (tmp_path / "1.2.3.cxnet.lime.png").stat().st_size > 10_000


@pytest.mark.parametrize("shape", [(64, 400), (400, 64)])
def test_oblong_films_are_drawn(shape: tuple[int, int], tmp_path: Path) -> None:
    mask = np.zeros(shape, bool)
    mask[10:30, 10:30] = True
    found = [pieces.pictures.Piece(mask, weight) for weight in (0.2, -0.2)]
    pieces.pictures.pieces(tmp_path / "p.png", "a title", np.zeros(shape, np.float32), mask, found)
    assert (tmp_path / "p.png").is_file()
