"""The patch classifier of paper 003: equalised masked lung, patches, vote, saliency, recipe (N4, N11, N22, N23).

The weights are drawn by a seed, so nothing here is about accuracy.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from models.api import Card, LungField, RefusedInput, WeightsMismatch
from models.explain.patch_saliency import grad_cams, saliency
from models.images import intensity, patching
from models.systems import patches
from models.systems.patches import PatchVote, build, last_maps, vote
from models.systems.preparation import grey_batch
from models.training import patches as recipe
from models.training.train import main
from tests.models import made

SETTINGS = {"film_side": 128.0, "patch": 48.0, "patches": 12.0, "temperature": 2.0, "probabilistic": 0.0}
T1 = np.fromfunction(lambda y, x: (8 * y + x) ** 2 * 200 // 3969 + 20, (8, 8)).astype(np.uint8)


def network(classes: int = 3) -> patches.ResNet:
    torch.manual_seed(0)
    return build(classes).eval()


@pytest.fixture(scope="module")
def card(tmp_path_factory: pytest.TempPathFactory) -> Card:
    return made.installed("patch-vote", network(), tmp_path_factory.mktemp("patch-vote"), SETTINGS)


@pytest.fixture(scope="module")
def system(card: Card) -> PatchVote:
    return PatchVote(card, "cpu")


def test_the_network_is_the_papers() -> None:  # N11, 6.3
    net = network(4)
    assert sum(p.numel() for p in net.parameters()) == 11_178_564
    assert len(net.state_dict()) == 122
    maps = last_maps(net, torch.rand(1, 3, 224, 224))
    assert maps.shape == (1, 512, 7, 7)  # N12


def test_equalised_films() -> None:  # N4, N5
    found = patching.equalised(T1)
    assert found[0] == pytest.approx([0, 0, 0, 0, 0, 46.9493, 46.9493, 57.5009], abs=1e-4)
    assert found.mean() == pytest.approx(158.82078, abs=1e-5)
    assert intensity.gamma(np.array([0, 1, 64, 127.5, 255])) == pytest.approx(
        [0, 15.96872, 127.74976, 180.31223, 255], abs=1e-5
    )


@pytest.mark.parametrize("low,high", [(0, 256), (40, 60), (7, 8), (255, 256)])
def test_the_table_of_grey_levels_equals_the_plain_formula(low: int, high: int) -> None:
    film = np.random.default_rng(low).integers(low, high, (37, 41), dtype=np.uint8)
    assert np.allclose(patching.equalised(film), intensity.gamma(intensity.equalise_histogram(film)))


def test_a_masked_lung_is_0_outside_the_lung_and_nowhere_else() -> None:
    film, lungs = intensity.to_u8(made.film(200).pixels), made.two_lungs((200, 200))
    film[100, 60] = film.min()
    masked = patching.masked_lung(film, lungs, 200)
    assert lungs[100, 60] and np.array_equal(masked > 0, lungs)
    assert masked.max() > 200


def test_patches_are_centred_on_lung_pixels_drawn_alike() -> None:  # D02
    masked = np.zeros((60, 60), np.uint8)
    masked[10:20, 10:50], masked[20:50, 10:20] = 9, 9  # an L: independent rows and columns would leave it
    centres = patching.lung_centres(masked, 7000, np.random.default_rng(0))
    assert (masked[centres[:, 0], centres[:, 1]] == 9).all()
    assert (centres[:, 0] < 20).mean() == pytest.approx(400 / 700, abs=0.02)
    with pytest.raises(ValueError, match="empty"):
        patching.lung_centres(np.zeros((9, 9), np.uint8), 1, np.random.default_rng(0))


@pytest.mark.parametrize("size", [4, 5])
def test_a_patch_lies_around_its_centre_and_is_0_beyond_the_film(size: int) -> None:  # D03
    film = np.arange(1, 37, dtype=np.uint8).reshape(6, 6)
    middle, first, last = patching.cut(film, np.array([(3, 2), (0, 0), (5, 5)]), size)
    half = size // 2
    assert [patch[half, half] for patch in (middle, first, last)] == [film[3, 2], 1, 36]
    assert np.array_equal(middle, film[3 - half : 3 - half + size, 2 - half : 2 - half + size])
    assert (first[:half] == 0).all() and (first[:, :half] == 0).all() and (first[half:, half:] > 0).all()
    assert (last[half + 1 :] == 0).all() and (last[: half + 1, : half + 1] > 0).all()


def test_the_identifier_alone_seeds_the_patches() -> None:
    masked = patching.masked_lung(intensity.to_u8(made.film(128).pixels), made.two_lungs((128, 128)), 128)
    (one, a), (two, b), (other, _) = (patches.patches(masked, uid, 20, 32) for uid in ("1.2.3", "1.2.3", "1.2.4"))
    assert np.array_equal(one, two) and np.array_equal(a, b) and not np.array_equal(one, other)
    # SHA-256 of "1.2.3", first eight bytes: the same on every machine and in every process
    assert patching.seed_of("1.2.3") == 0xC47F5B18B8A430E6


def votes(counts: tuple[int, ...], sure: tuple[float, ...]) -> np.ndarray:
    """(patch, class): ``counts`` patches vote for each class with the given probability, the rest shared evenly."""
    rows = []
    for number, (count, p) in enumerate(zip(counts, sure, strict=True)):
        row = np.full(len(counts), (1 - p) / (len(counts) - 1))
        row[number] = p
        rows += [row] * count
    return np.array(rows)


def test_a_tie_goes_to_the_higher_mean_probability_then_to_the_lower_index() -> None:  # N23
    assert vote(votes((40, 20, 0, 40), (0.6, 0.9, 0.9, 0.8))).decided == 3
    assert vote(votes((40, 20, 0, 40), (0.8, 0.9, 0.9, 0.6))).decided == 0
    found = vote(votes((40, 20, 0, 40), (0.625, 0.625, 0.625, 0.625)))
    assert found.mean[0] == found.mean[3] and found.decided == 0
    assert found.counts.tolist() == [40, 20, 0, 40] and found.share == 0.4


def test_the_vote_decides_and_not_the_mean() -> None:
    found = vote(votes((6, 4, 0), (0.4, 1.0, 1.0)))
    assert found.decided == 0 and found.mean.argmax() == 1
    assert found.mean.sum() == pytest.approx(1)


def test_saliency_of_two_patches() -> None:  # N22
    corners = np.array([(0, 0), (2, 2)])
    cams = np.stack([np.full((4, 4), 1.0), np.full((4, 4), 0.5)]).astype(np.float32)
    p = np.array([0.8, 0.4])
    for mode, values in (("mean", (1, 0.75, 0.5, 0)), ("probabilistic", (0.8, 0.5, 0.2, 0))):
        found = saliency((6, 6), corners, cams, p, mode)  # type: ignore[arg-type]
        assert [found[0, 0], found[3, 3], found[5, 5], found[0, 5]] == pytest.approx(values, abs=1e-6)
    assert np.array_equal(saliency((6, 6), corners, cams), saliency((6, 6), corners, cams, p, "mean"))
    with pytest.raises(ValueError, match="probabilities"):
        saliency((6, 6), corners, cams, mode="probabilistic")


def test_what_sticks_out_of_the_film_is_left_out() -> None:
    cam = np.arange(16, dtype=np.float32).reshape(1, 4, 4) / 16
    found = saliency((6, 6), np.array([(-2, 4)]), cam)
    assert found[:2, 4:] == pytest.approx(cam[0, 2:, :2], abs=1e-6)
    assert np.count_nonzero(found) == 4


def test_grad_cam_of_a_patch_is_that_of_the_patch_alone() -> None:
    net = network()
    x = grey_batch(np.random.default_rng(0).integers(0, 256, (3, 96, 96), dtype=np.uint8))
    with torch.inference_mode():
        maps = last_maps(net, x)
        assert torch.equal(net.fc(net.avgpool(maps).flatten(1)), net(x))  # type: ignore[misc]
    found = grad_cams(lambda m: net.fc(net.avgpool(m).flatten(1)), maps, 1, 96)  # type: ignore[misc]
    for number in range(3):
        alone = made.monais_heat(net, "layer4", x[number : number + 1], 1)
        assert found[number] == pytest.approx(alone, abs=1e-4)
    assert found.max() == 1


def test_a_prediction_is_complete_and_repeats_itself(system: PatchVote) -> None:
    image = made.film(200)
    lungs = made.field(image.shape, system.card)
    one, two = system.predict(image, lungs), system.predict(image, lungs)
    assert one.scores == two.scores and one.details == two.details and one.lesions == two.lesions
    assert one.heat is not None and two.heat is not None and np.array_equal(one.heat, two.heat)
    assert one.heat.shape == image.shape and one.heat.min() >= 0 and 0 < one.heat.max() <= 1
    assert [score.name for score in one.scores] == ["normal", "pneumonia", "covid19"]
    assert sum(score.probability for score in one.scores) == pytest.approx(1)
    counts = {name: one.details[f"votes.{name}"] for name in system.card.classes}
    assert sum(counts.values()) == 12 and max(counts, key=lambda name: counts[name]) == one.decided_class
    assert one.details["vote_share"] == counts[one.decided_class] / 12
    assert "12 patches" in one.rule


def test_another_identifier_sees_other_patches(system: PatchVote) -> None:
    lungs = made.field((200, 200), system.card)
    one, other = (system.predict(made.film(200, uid), lungs) for uid in ("1.2.3", "1.2.4"))
    assert one.scores != other.scores


def test_nothing_outside_the_lung_field_is_judged() -> None:
    """Pixels outside trade places, so that the histogram stays."""
    film, lungs = intensity.to_u8(made.film(128).pixels), made.two_lungs((128, 128))
    other = film.copy()
    other[~lungs] = np.random.default_rng(0).permutation(other[~lungs])
    assert not np.array_equal(film, other)
    assert np.array_equal(patches.picture(film, lungs, 128), patches.picture(other, lungs, 128))


def test_refusals_are_sentences(system: PatchVote) -> None:
    lungs = made.field((256, 256), system.card)
    few = np.zeros((256, 256), bool)
    few[100:125, 60:86] = True  # 650 of 65536 pixels: 0.99 %
    thin = LungField(few, (), system.card.identity)
    cases = [(image, lungs) for image in made.nothing_to_judge()] + [(made.film(), thin), (made.film(), None)]
    for image, where in cases:
        with pytest.raises(RefusedInput, match=r"\.$"):
            system.predict(image, where)
    few[125, 60:66] = True  # 656: 1.001 %
    assert system.predict(made.film(), thin).scores


def test_a_film_smaller_than_a_patch_is_refused(tmp_path: Path) -> None:
    large = PatchVote(made.installed("patch-vote", network(), tmp_path, SETTINGS | {"patch": 112}), "cpu")
    image = made.film(100)
    with pytest.raises(RefusedInput, match=r"100 x 100 pixels, smaller than a patch of 112\."):
        large.predict(image, made.field(image.shape, large.card))


def test_no_weights_no_system(tmp_path: Path) -> None:
    with pytest.raises(WeightsMismatch, match="can be trained"):
        PatchVote(made.untrained("patch-vote", tmp_path), "cpu")


def test_patches_at_once_are_as_each_alone() -> None:  # N38
    net = network()
    x = grey_batch(np.random.default_rng(0).integers(0, 256, (2, 64, 64), dtype=np.uint8))
    with torch.inference_mode():
        torch.testing.assert_close(torch.cat([net(x[:1]), net(x[1:])]), net(x), rtol=1e-4, atol=1e-4)


def test_the_temperature_calibrates_the_mean_over_patches() -> None:
    """Certain logits that are right three times in four: the temperature must soften them."""
    logits = torch.zeros(40, 5, 3)
    logits[..., 0] = 8.0
    target = (torch.arange(40) % 4 == 0).long()
    t = recipe.fit_temperature(logits, target)
    before, after = (-(logits / k).softmax(2).mean(1).log()[torch.arange(40), target].mean() for k in (1.0, t))
    assert t > 2 and after < before


def test_the_figures_of_a_decision_are_of_the_vote() -> None:
    p = np.stack([votes((6, 0, 4), (0.4, 1.0, 1.0))] * 3 + [votes((0, 0, 10), (0.4, 1.0, 1.0))] * 3)
    truth = np.array([0, 1, 0, 2, 2, 2])
    cases = [recipe.data.FilmCase(Path("x"), recipe.data.CLASSES[y], "s", "p", "test") for y in truth]
    found = recipe.figures(p, truth, cases)
    assert found["accuracy"].value == pytest.approx(5 / 6) and found["specificity_covid19"].value == 1
    assert found["auroc_covid19"].value == 1


def test_what_is_outside_the_lung_stays_outside_when_brightness_varies() -> None:
    x = torch.zeros(4, 3, 32, 32)
    x[:, :, 8:24, 8:24] = 0.5
    y = recipe._augmented(x, torch.Generator().manual_seed(0))
    assert (y[:, :, :4] == 0).all() and (y[:, :, 12:20, 12:20] > 0).all()


def test_the_recipe_makes_weights_that_the_system_runs_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"SIDE": 96, "SIZE": 32, "BATCH": 4, "TEST": 3, "CALIBRATION": 2, "VALIDATION": 1}.items():
        monkeypatch.setattr(recipe, name, value)
    assert main("patch-vote", made.film_folder(tmp_path / "data"), tmp_path / "run", device="cpu", epochs=1) == 0
    told = made.installed_from("patch-vote", tmp_path / "run", tmp_path)
    assert "accuracy" in told.text and told.settings["patch"] == 32
    image = made.film()
    assert PatchVote(told, "cpu").predict(image, made.field(image.shape, told)).model.system == "patch-vote"
