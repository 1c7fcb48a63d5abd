"""LIME against predictors whose reasons are known.

Of quickshift it is only said that its pieces tell the regions apart; whether an explanation of a real network makes
sense to a radiologist is not judged.
"""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from models.explain.lime import SEED, explain, likeness, superpixels
from models.images.intensity import U8

SUPPORTS, OPPOSES = (slice(8, 24), slice(8, 24)), (slice(40, 56), slice(36, 56))


def picture() -> U8:
    """Two coloured squares on noise, 64 x 64."""
    found = np.random.default_rng(0).integers(60, 90, (64, 64, 3)).astype(np.uint8)
    found[SUPPORTS] = (220, 40, 40)
    found[OPPOSES] = (40, 40, 220)
    return found


def by_two_regions(batch: U8) -> NDArray[np.floating]:
    """Half, more where the red square is seen, less where the blue one is."""
    red = (batch[(slice(None), *SUPPORTS)][..., 0] > 200).mean((1, 2))
    blue = (batch[(slice(None), *OPPOSES)][..., 2] > 200).mean((1, 2))
    return np.asarray(0.5 + 0.4 * red - 0.3 * blue)


def test_the_regions_that_decide_come_out_on_top_with_their_sign() -> None:
    found = explain(picture(), by_two_regions, samples=300)
    supporting = set(np.unique(found.labels[SUPPORTS]).tolist())
    opposing = set(np.unique(found.labels[OPPOSES]).tolist())
    first, second = found.top[:2]
    assert first in supporting and found.weights[first] > 0.1
    assert second in opposing and found.weights[second] < -0.1
    assert (found.signs[12:20, 12:20] == 1).all() and (found.signs[44:52, 40:52] == -1).all()
    bystanders = set(range(len(found.weights))) - supporting - opposing
    assert bystanders and max(abs(found.weights[list(bystanders)])) < 0.25 * abs(found.weights[second])


def test_fidelity_is_near_one_of_a_predictor_that_adds_up_and_low_of_one_that_does_not() -> None:
    def parity(batch: U8) -> NDArray[np.floating]:
        """Of visible superpixels: no sum of weights comes near it."""
        seen = [len(np.unique(labels[one.any(axis=-1)])) for one in batch]
        return np.asarray(seen, dtype=float) % 2

    labels = superpixels(picture())
    assert explain(picture(), by_two_regions, samples=300).fidelity > 0.8
    assert explain(picture(), parity, samples=300).fidelity < 0.5


def test_the_opposite_class_turns_every_sign() -> None:
    one = explain(picture(), by_two_regions, samples=200)
    other = explain(picture(), lambda batch: 1 - by_two_regions(batch), samples=200)
    assert np.allclose(one.weights, -other.weights, atol=1e-9)
    assert np.array_equal(one.signs, -other.signs)


def test_it_repeats_itself_and_depends_on_the_seed() -> None:
    one, again = (explain(picture(), by_two_regions, samples=150) for _ in range(2))
    assert np.array_equal(one.weights, again.weights) and np.array_equal(one.labels, again.labels)
    assert one.top == again.top
    assert not np.array_equal(one.weights, explain(picture(), by_two_regions, samples=150, seed=SEED + 1).weights)


def test_what_the_network_is_shown() -> None:
    """Batches of 64; the whole picture first; a superpixel is either as it was or black."""
    film, shown = picture(), []

    def watch(batch: U8) -> NDArray[np.floating]:
        shown.append(batch)
        return np.zeros(len(batch))

    found = explain(film, watch, samples=130)
    assert [len(batch) for batch in shown] == [64, 64, 2]
    assert np.array_equal(shown[0][0], film)
    sample = shown[0][1]
    for label in range(len(found.weights)):
        here = found.labels == label
        assert not sample[here].any() or np.array_equal(sample[here], film[here])
    assert not found.weights.any() and not found.signs.any()


def test_labels_have_no_gaps_and_at_most_five_are_on_top() -> None:
    labels = superpixels(picture())
    assert labels.shape == (64, 64) and np.array_equal(np.unique(labels), np.arange(labels.max() + 1))
    found = explain(picture(), by_two_regions, samples=100)
    assert len(found.top) == min(5, len(found.weights))
    sizes = np.abs(found.weights)
    assert [sizes[n] for n in found.top] == sorted(sizes, reverse=True)[: len(found.top)]


def test_samples_weigh_by_their_cosine_distance_from_the_whole() -> None:
    visible = np.array([[True] * 4, [True, False, False, False], [False] * 4])
    expected = np.exp(-(np.array([0, 0.5, 1.0]) ** 2) / 0.25**2) ** 0.5
    assert likeness(visible) == pytest.approx(expected, rel=1e-12)


def test_a_plain_picture_is_one_superpixel() -> None:
    found = explain(np.full((32, 32, 3), 9, np.uint8), lambda batch: batch.mean((1, 2, 3)) / 255, samples=20)
    assert found.weights.shape == (int(found.labels.max()) + 1,) and np.isfinite(found.weights).all()


def test_a_grey_picture_is_not_taken() -> None:
    with pytest.raises(ValueError, match="row, column, 3"):
        explain(np.zeros((8, 8), np.uint8), by_two_regions)
