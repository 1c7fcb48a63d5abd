"""FC-DenseNet of paper 003: sizes, loss, regions, biomarkers, recipe (N11, N16, N19, N20).

Weights are drawn by a seed; where a segmentation must make sense a network that says what was drawn stands in for the
trained one.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from models.api import Card, ImageInput, RefusedInput, WeightsMismatch
from models.evaluation.metrics import jaccard
from models.images import biomarkers, patching
from models.images.intensity import to_u8
from models.nets.fcdensenet import PROFILES, FCDenseNet, FCDenseNet56, FCDenseNet103
from models.systems import fcdensenet
from models.systems.fcdensenet import BACKGROUND, HEART, LEFT, RIGHT, FCDenseNetSegmenter, regions
from models.training import data
from models.training import fcdensenet as recipe
from models.training.fit import Stage
from models.training.train import main
from tests.films import drawn
from tests.models import made

SETTINGS = {"layers": 56.0, "side": 64.0}


def ellipse(x: int, y: int, wide: int, high: int, side: int = 256) -> np.ndarray:
    rows, columns = np.mgrid[:side, :side]
    return np.asarray(((columns - x) / wide) ** 2 + ((rows - y) / high) ** 2 <= 1)


def chest() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """N19: (256, 256) lung at the film's left, lung at its right, heart."""
    heart = ellipse(140, 160, 35, 30)
    return ellipse(80, 120, 40, 80) & ~heart, ellipse(176, 120, 40, 80) & ~heart, heart


class Says(nn.Module):
    """A network that has drawn this label map, whatever the film."""

    def __init__(self, labels: np.ndarray) -> None:
        super().__init__()
        self.logits = 9.0 * nn.functional.one_hot(torch.from_numpy(labels).long(), 4).permute(2, 0, 1)[None].float()

    def forward(self, x: Tensor) -> Tensor:
        return self.logits


def saying(system: FCDenseNetSegmenter, labels: np.ndarray) -> FCDenseNetSegmenter:
    system._net = Says(labels)  # type: ignore[assignment]
    return system


def chest_labels() -> np.ndarray:
    at_left, at_right, heart = chest()
    labels = np.zeros((256, 256), np.uint8)
    labels[at_left], labels[at_right], labels[heart] = RIGHT, LEFT, HEART
    return labels


@pytest.fixture
def card(tmp_path: Path) -> Card:
    torch.manual_seed(0)
    return made.installed("fcdensenet", FCDenseNet56(), tmp_path, SETTINGS)


@pytest.fixture
def system(card: Card) -> FCDenseNetSegmenter:
    return FCDenseNetSegmenter(card, "cpu")


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_the_published_profile() -> None:  # N11, 6.2
    net = FCDenseNet103()
    assert parameters(net) == 9_319_428 and parameters(FCDenseNet103(3, 11)) == 9_322_091
    assert parameters(net.first) == 480 and parameters(net.bottleneck) == 1_682_160 and parameters(net.last) == 1_028
    assert [parameters(block) for block in net.down] == [42_112, 105_200, 245_392, 549_120, 967_296]
    assert [parameters(part) for part in net.shrink] == [12_880, 37_440, 93_328, 216_688, 432_304]
    assert [parameters(part) for part in net.grow] == [518_640, 331_968, 230_560, 113_008, 57_680]
    assert [parameters(block) for block in net.up] == [1_724_160, 1_063_040, 523_376, 245_360, 126_208]


@pytest.mark.parametrize("layers", [103, 56])
def test_a_profile_has_as_many_convolutions_as_its_name_says(layers: int) -> None:
    kinds = (nn.Conv2d, nn.ConvTranspose2d)
    assert sum(isinstance(module, kinds) for module in PROFILES[layers]().modules()) == layers


def test_the_output_has_the_size_of_the_input() -> None:  # N12
    with torch.inference_mode():
        assert FCDenseNet56().eval()(torch.rand(2, 1, 64, 96)).shape == (2, 4, 64, 96)
        assert FCDenseNet(3, 5, 4, (2, 2), 2, (2, 2)).eval()(torch.rand(1, 3, 20, 12)).shape == (1, 5, 20, 12)


def test_two_films_at_once_are_as_each_alone() -> None:  # N38
    torch.manual_seed(0)
    net, x = FCDenseNet56().eval(), torch.rand(2, 1, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(torch.cat([net(x[:1]), net(x[1:])]), net(x), rtol=1e-4, atol=1e-4)


def test_the_loss_of_films_with_every_class() -> None:  # N16
    logits = torch.tensor([[2.0, 0, 0, 0], [0, 0, 0, 0]]).T[None, :, None]  # (1, 4, 1, 2)
    labels = torch.tensor([[[0, 2]]])
    found = recipe.segmentation_loss(logits, labels, torch.tensor([True]))
    assert float(found) == pytest.approx(1.037781, abs=1e-6)
    plain = nn.functional.cross_entropy(logits, labels, torch.tensor(recipe.CLASS_WEIGHTS))
    assert float(found) == pytest.approx(float(plain), abs=1e-6)


def test_where_only_lung_is_known_either_side_and_heart_are_alike() -> None:
    labels = torch.full((1, 1, 1), LEFT)

    def loss(number: int, truth: Tensor) -> float:
        logits = torch.zeros(1, 4, 1, 1)
        logits[:, number] = 5
        return float(recipe.segmentation_loss(logits, truth, torch.tensor([False])))

    assert loss(LEFT, labels) == pytest.approx(loss(RIGHT, labels)) and loss(LEFT, labels) < 0.02
    assert loss(HEART, labels) > 4 and loss(BACKGROUND, labels) > 4
    nothing = torch.zeros_like(labels)
    assert loss(HEART, nothing) == pytest.approx(loss(BACKGROUND, nothing)) and loss(LEFT, nothing) > 4


def test_a_few_steps_lower_the_loss() -> None:  # N38
    torch.manual_seed(0)
    net = FCDenseNet(1, 4, 4, (2, 2), 2, (2, 2))
    labels = torch.from_numpy(chest_labels()[::8, ::8].astype(np.int64))[None].repeat(2, 1, 1)
    x = labels[:, None] / 3 + 0.1 * torch.rand(2, 1, 32, 32)
    optimiser, losses = torch.optim.Adam(net.parameters(), 1e-2), []
    for _ in range(15):
        loss = recipe.segmentation_loss(net(x), labels, torch.tensor([True, False]))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert min(losses[-3:]) < 0.8 * losses[0]


def test_jaccard_of_two_squares() -> None:  # N20
    one, two = np.zeros((10, 10), bool), np.zeros((10, 10), bool)
    one[2:8, 2:8], two[4:10, 2:8] = True, True
    assert jaccard(one, two) == 0.5


def test_biomarkers_of_the_drawn_chest() -> None:  # N19
    at_left, at_right, heart = chest()
    lungs = at_left | at_right
    assert (int(lungs.sum()), int(heart.sum())) == (18_321, 3_291)
    film = np.tile(np.arange(256.0), (256, 1))
    found = biomarkers.measure(film, lungs, heart, column_spacing_mm=0.5)
    assert found["cardiac_diameter_px"] == 71 and found["thoracic_diameter_px"] == 177
    assert found["cardiothoracic_ratio"] == pytest.approx(0.4011299, abs=1e-7)
    assert found["lung_mean"] == pytest.approx(0.494099, abs=1e-6)
    assert found["lung_sd"] == pytest.approx(0.210621, abs=1e-6)
    assert found["lung_share"] == pytest.approx(18_321 / 65_536)
    assert found["cardiac_diameter_mm"] == 35.5 and found["thoracic_diameter_mm"] == 88.5


def test_diameters_of_rectangles_and_of_a_heart_whose_borders_lie_on_different_rows() -> None:  # N19
    lungs, heart = np.zeros((40, 100), bool), np.zeros((40, 100), bool)
    lungs[5:30, 10:40], lungs[5:30, 60:90], heart[10:25, 35:71] = True, True, True
    found = biomarkers.measure(np.ones((40, 100)), lungs, heart)
    assert found["cardiothoracic_ratio"] == pytest.approx(36 / 80) == 0.45
    assert not any(name.endswith("_mm") for name in found)
    staggered = np.zeros((20, 100), bool)
    staggered[6:10, 35:55], staggered[10:16, 45:75] = True, True
    assert biomarkers.cardiac_diameter(staggered) == 40
    assert biomarkers.thoracic_diameter(staggered) == 30
    assert (
        biomarkers.cardiac_diameter(np.zeros((3, 3), bool)) == biomarkers.thoracic_diameter(np.zeros((3, 3), bool)) == 0
    )


def test_what_is_found_is_given_in_the_matrix_of_the_film(system: FCDenseNetSegmenter) -> None:
    pixels = drawn(7, 512).astype(np.float32)
    image = ImageInput(pixels, "1.2.3", spacing_mm=(0.9, 0.7))
    found = saying(system, chest_labels()).segment(image)
    at_left, at_right, heart = (np.kron(mask, np.ones((2, 2), bool)) for mask in chest())
    assert jaccard(found.mask, at_left | at_right) > 0.98
    assert found.heart is not None and jaccard(found.heart, heart) > 0.97 and not (found.heart & found.mask).any()
    assert len(found.contours) >= 2 and all(np.array_equal(line[0], line[-1]) for line in found.contours)
    values = {quantity.kind.name: quantity.value for quantity in found.quantities}
    assert [quantity.kind for quantity in found.quantities] == list(system.card.quantities)
    assert values["cardiothoracic_ratio"] == pytest.approx(0.4011, abs=0.006)
    assert values["cardiac_diameter_mm"] == pytest.approx(values["cardiac_diameter_px"] * 0.7)
    assert values["thoracic_diameter_px"] == pytest.approx(354, abs=2)
    grey = patching.equalised(to_u8(pixels))[found.mask] / 255
    assert values["lung_mean"] == pytest.approx(grey.mean(), abs=0.01)
    assert {quantity.kind.code.scheme for quantity in found.quantities} == {"99LUNGNODE"} and found.notes == ()


def test_without_spacing_there_are_no_millimetres(system: FCDenseNetSegmenter) -> None:
    names = {q.kind.name for q in saying(system, chest_labels()).segment(made.film()).quantities}
    assert "cardiothoracic_ratio" in names and not any(name.endswith("_mm") for name in names)


def test_without_heart_or_with_one_lung_no_ratio_is_given(system: FCDenseNetSegmenter) -> None:
    labels = chest_labels()
    heartless = saying(system, np.where(labels == HEART, BACKGROUND, labels)).segment(made.film())
    names = {quantity.kind.name for quantity in heartless.quantities}
    assert heartless.heart is None and heartless.notes == (fcdensenet.NO_HEART,)
    assert "thoracic_diameter_px" in names and "cardiothoracic_ratio" not in names
    first = np.cumsum(labels == HEART).reshape(labels.shape) <= 40  # forty pixels of heart are left
    scrap = np.where((labels == HEART) & ~first, BACKGROUND, labels)
    partly = saying(system, scrap).segment(made.film())
    assert partly.notes == (fcdensenet.POOR_HEART,)
    assert not {q.kind.name for q in partly.quantities} & {"cardiothoracic_ratio", "cardiac_diameter_px"}
    one_lung = saying(system, np.where(labels == LEFT, BACKGROUND, labels)).segment(made.film())
    assert one_lung.notes == (fcdensenet.ONE_LUNG,)
    assert {quantity.kind.name for quantity in one_lung.quantities} == {"lung_mean", "lung_sd", "lung_share"}


def test_only_the_largest_part_of_each_is_kept_and_its_holes_filled() -> None:
    labels = chest_labels()
    labels[2:8, 2:8], labels[250:254, 2:8] = LEFT, HEART  # scraps
    labels[100:110, 70:80] = BACKGROUND  # a hole in the lung at the film's left
    found = regions(Says(labels)(torch.zeros(1)), (256, 256))
    at_left, at_right, heart = chest()
    assert np.array_equal(found.right, at_left) and np.array_equal(found.left, at_right)
    assert np.array_equal(found.heart, heart)


def test_refusals_are_sentences(system: FCDenseNetSegmenter) -> None:
    for image in made.nothing_to_judge():
        with pytest.raises(RefusedInput, match=r"\.$"):
            system.segment(image)
    labels = np.zeros((256, 256), np.uint8)
    labels[100:130, 100:140] = LEFT  # 1.8 % of the film
    for nothing in (np.zeros((256, 256), np.uint8), labels):
        with pytest.raises(RefusedInput, match="No lung field was found in the film"):
            saying(system, nothing).segment(made.film())


def test_the_network_repeats_itself(system: FCDenseNetSegmenter) -> None:
    x = torch.from_numpy(fcdensenet.picture(to_u8(drawn(7, 200)), 64))[None, None].float() / 255
    with torch.inference_mode():
        assert torch.equal(system._net(x), system._net(x))


def test_no_weights_no_system(tmp_path: Path) -> None:
    with pytest.raises(WeightsMismatch, match="can be trained"):
        FCDenseNetSegmenter(made.untrained("fcdensenet", tmp_path), "cpu")


def test_a_film_and_its_label_map_are_turned_alike() -> None:
    labels = torch.from_numpy(chest_labels().astype(np.int64))[None].repeat(4, 1, 1)
    x = (labels[:, None] == HEART).float()
    moved, y = recipe._augmented(x, labels, torch.Generator().manual_seed(0))
    assert not torch.equal(y, labels)
    for film, truth in zip(moved[:, 0].numpy(), y.numpy(), strict=True):
        assert jaccard(film > (film.max() + film.min()) / 2, truth == HEART) > 0.97
        columns = [np.nonzero(truth == number)[1].mean() for number in (RIGHT, LEFT)]
        assert columns[0] < columns[1]  # no film is mirrored


def segmentation_folder(folder: Path) -> Path:
    for origin, names in (("jsrt", [f"J{n}" for n in range(6)]), ("covid_lungs", [f"c{n:02}" for n in range(22)])):
        for kind in ("images", "masks"):
            (folder / "cxr_seg" / origin / kind).mkdir(parents=True)
        levels = np.array((0, 3, 2, 1) if origin == "jsrt" else (0, 0, 1, 1), np.uint8)  # of our four classes
        for number, name in enumerate(names):
            place = folder / "cxr_seg" / origin
            Image.fromarray(to_u8(drawn(number + 1, 96))).save(place / "images" / f"{name}.png")
            mask = levels[chest_labels()[::4, ::4]]
            Image.fromarray(np.kron(mask, np.ones((2, 2), np.uint8))[:96, :96]).save(place / "masks" / f"{name}.png")
    rows = [f"J{n},{'val' if n > 3 else 'train'}" for n in range(6)]
    (folder / "cxr_seg" / "jsrt" / "split.csv").write_text("\n".join(("id,split", *rows)) + "\n")
    return folder


def test_the_recipe_makes_weights_that_the_system_runs_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipe, "STAGES", (Stage(32, 1, 1e-3), Stage(64, 1, 1e-3)))
    monkeypatch.setattr(recipe, "BATCH", 2)
    given = segmentation_folder(tmp_path / "data")
    assert main("fcdensenet", given, tmp_path / "run", device="cpu", epochs=1) == 0
    told = made.installed_from("fcdensenet", tmp_path / "run", tmp_path)
    assert told.settings == {"layers": 56, "side": 64}
    for name in ("jaccard_jsrt_lung", "jaccard_jsrt_heart", "jaccard_covid_lungs_lung"):
        assert name in told.text
    assert FCDenseNetSegmenter(told, "cpu").card.quantities[0].name == "cardiothoracic_ratio"


def test_labels_of_jsrt_are_the_patients_sides(data_folder: Path) -> None:
    """The patient's right lung is at the film's left, and the heart leans to the patient's left."""
    cases = [case for case in data.lung_cases(data_folder) if case.origin == "jsrt"][:5]
    for case in cases:
        labels = recipe._labels(case, 128)
        right, heart, left = (np.nonzero(labels == number)[1].mean() for number in (RIGHT, HEART, LEFT))
        assert right < labels.shape[1] / 2 < heart < left
        assert np.isin(labels, (LEFT, RIGHT)).mean() == pytest.approx(data.read_mask(case).mean(), abs=0.01)
