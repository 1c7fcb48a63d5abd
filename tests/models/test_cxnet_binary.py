"""The binary forms of paper 004 as systems, their recipe, and LIME of the three-class form (7.5 to 7.8, N16).

Weights are drawn by a seed or trained for one epoch on drawn films, so nothing here is about accuracy.
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from models.api import Card, ImageInput, LungField, RefusedInput, WeightsMismatch
from models.explain import gradcam, lime
from models.images.geometry import lung_box
from models.nets.basemodel import BaseModel, two_classes
from models.nets.cxnet import CXNet
from models.systems import preparation
from models.systems.cxnet import CXNetSystem
from models.systems.cxnet_binary import CXNetBase, CXNetBinary
from models.training import cxnet_binary as recipe
from models.training import train as door
from models.training.cxnet_binary import Form, smoothed
from models.training.data import FilmCase
from models.training.train import RECIPES, main
from tests.models import made

SETTINGS = {"side": 64.0, "temperature": 2.0}
FORMS: dict[str, tuple[type[CXNetBinary], Callable[[], nn.Module]]] = {
    "cxnet-binary": (CXNetBinary, lambda: CXNet(1)),
    "cxnet-base": (CXNetBase, lambda: BaseModel(1, 64)),
}


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def network(system: str, leaning: float = 0.0) -> nn.Module:
    """Seeded; ``leaning`` is added to its logit."""
    torch.manual_seed(5)
    net = FORMS[system][1]()
    last = [module for module in net.modules() if isinstance(module, nn.Linear)][-1]
    with torch.no_grad():
        last.bias += leaning
    return net.eval()


def built(system: str, folder: Path, leaning: float = 0.0) -> CXNetBinary:
    folder.mkdir(exist_ok=True)
    return FORMS[system][0](made.installed(system, network(system, leaning), folder, SETTINGS), "cpu")


@pytest.fixture(scope="module", params=list(FORMS))
def system(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> CXNetBinary:
    return built(request.param, tmp_path_factory.mktemp(request.param), leaning=3)


def shown(side: int = 64) -> Tensor:
    """(1, 3, side, side): what the network is given of the drawn film."""
    image = made.film()
    lungs = preparation.harmonised(preparation.film_u8(image), made.two_lungs(image.shape), side)
    return torch.from_numpy(preparation.as_tensor_array(preparation.cxnet_input(lungs)))[None]


def probabilities(one: CXNetBinary) -> list[float]:
    image = made.film()
    return [score.probability for score in one.predict(image, made.field(image.shape, one.card)).scores]


@pytest.mark.parametrize("name", list(FORMS))
def test_the_sigmoid_of_the_calibrated_logit_is_exposed_for_both_classes(name: str, tmp_path: Path) -> None:  # 7.8
    p = (network(name, 0.7)(shown()) / SETTINGS["temperature"]).sigmoid().item()
    assert probabilities(built(name, tmp_path, 0.7)) == pytest.approx([1 - p, p], abs=2e-3)  # float16 on disk
    assert abs(p - 0.5) > 0.05


@pytest.mark.parametrize(("threshold", "decided"), [(-1e-9, "covid19"), (0.0, "covid19"), (1e-9, "normal")])
def test_the_threshold_itself_is_positive(threshold: float, decided: str, system: CXNetBinary) -> None:
    p = probabilities(system)[1]
    card = dataclasses.replace(system.card, threshold=p + threshold)
    found = type(system)(card, "cpu").predict(made.film(), made.field((256, 256), card))
    assert found.decided_class == decided and found.heat_class == "covid19"
    assert [score.decision for score in found.scores] == [decided == "normal", decided == "covid19"]
    assert found.rule.startswith("p(covid19) >= 0.") and (decided == "covid19" or not found.lesions)


def test_the_published_threshold_is_on_the_card(system: CXNetBinary) -> None:
    assert system.card.threshold == 0.5 and system.card.classes == ("normal", "covid19")
    assert FORMS[system.card.system][0].__name__ == system.card.entry_point.partition(":")[2]


def test_a_prediction_is_complete_and_repeats_itself(system: CXNetBinary) -> None:
    image = ImageInput(made.film(300).pixels[:240].copy(), "1.2.3")
    lungs = made.field(image.shape, system.card)
    one, two = system.predict(image, lungs), system.predict(image, lungs)
    assert one.scores == two.scores and one.lesions == two.lesions and one.decided_class == "covid19"
    assert one.heat is not None and two.heat is not None and np.array_equal(one.heat, two.heat)
    assert one.heat.shape == (240, 300) and one.heat.min() >= 0 and 0 < one.heat.max() <= 1
    top, left, bottom, right = lung_box(lungs.mask)
    one.heat[top:bottom, left:right] = 0
    assert one.heat.max() == 0


def rectified_map(name: str, net: Any, x: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """The last map, and what makes the logit of it."""
    if name == "cxnet-base":
        return net.features(x), lambda here: net.dense(here.flatten(1))
    return net.last_map(net.features(x)), lambda here: net.classes(net.hidden(here.mean((2, 3))).relu())


@pytest.mark.parametrize("name", list(FORMS))
def test_heat_is_of_the_last_rectified_map(name: str, tmp_path: Path) -> None:
    """By hand: the map weighted by the mean gradient of the logit, of its negative for ``normal``."""
    system, x = built(name, tmp_path), shown()
    _, maps = system.ask(x)
    found, logit = rectified_map(name, system._net, x)
    here = found.detach().requires_grad_()
    gradient = torch.autograd.grad(logit(here).sum(), here)[0].mean((2, 3), keepdim=True)
    for sign, number in ((-1, 0), (1, 1)):
        small = (sign * gradient * here).sum(1, keepdim=True).relu().detach()
        wanted = functional.interpolate(small, (64, 64), mode="bilinear", align_corners=False)
        heat = gradcam.heat(system._judge, maps, number, 64)
        assert np.allclose(heat, gradcam.unit_range(wanted)[0, 0].numpy(), atol=1e-4)


def test_only_the_lungs_are_judged(system: CXNetBinary) -> None:
    image = made.film()
    marked = image.pixels.copy()
    marked[:12, :60] = marked.max()  # a burned-in mark
    one, two = (system.predict(ImageInput(p, "1"), made.field(p.shape, system.card)) for p in (image.pixels, marked))
    assert one.scores == two.scores


def test_refusals_are_sentences(system: CXNetBinary) -> None:
    lungs = made.field((256, 256), system.card)
    empty = LungField(np.zeros((256, 256), bool), (), system.card.identity)
    cases = [(image, lungs) for image in made.nothing_to_judge()] + [(made.film(), empty), (made.film(), None)]
    for image, where in cases:
        with pytest.raises(RefusedInput, match=r"\.$"):
            system.predict(image, where)


@pytest.mark.parametrize("name", list(FORMS))
def test_no_weights_no_system(name: str, tmp_path: Path) -> None:
    with pytest.raises(WeightsMismatch, match="can be trained"):
        FORMS[name][0](made.untrained(name, tmp_path), "cpu")


def test_a_card_with_the_classes_the_other_way_round_is_not_taken(system: CXNetBinary) -> None:
    with pytest.raises(ValueError, match="normal from covid19"):
        type(system)(dataclasses.replace(system.card, classes=("covid19", "normal")), "cpu")


def test_the_loss_is_the_binary_one_smoothed() -> None:  # N16
    assert float(smoothed(torch.tensor([2.0]), torch.tensor([1]))) == pytest.approx(0.226928, abs=1e-6)
    z, y = torch.tensor([-1.5, 0.3, 2.0, 0.0]), torch.tensor([1, 0, 0, 1])
    wanted = functional.cross_entropy(two_classes(z[:, None]), y, label_smoothing=0.1)
    torch.testing.assert_close(smoothed(z, y), wanted)


@pytest.mark.parametrize("build", [lambda: CXNet(1), lambda: BaseModel(1, 64)], ids=list(FORMS))
def test_hidden_units_are_awake_at_the_start(build: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    net, alive = recipe._ready_to_learn(build()).eval(), list[int]()
    for module in net.modules():
        if isinstance(module, nn.Linear) and module.out_features == 10:
            module.register_forward_hook(lambda module, given, out: alive.append(int((out > 0).any(0).sum())))
    with torch.inference_mode():
        net(torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(1)))
    assert alive and min(alive) >= 4


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made.film_folder(tmp_path_factory.mktemp("films"))


def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of four films of 64 x 64, so that a run takes a second."""
    monkeypatch.setattr(recipe, "SIDE", 64)
    for function, name in (("dense", "cxnet-binary"), ("base", "cxnet-base")):
        form = Form(name, FORMS[name][1], epochs=1, batch=4)
        monkeypatch.setattr(recipe, function, recipe.partial(recipe.train, form))


@pytest.mark.parametrize("name", list(FORMS))
def test_the_recipe_makes_weights_that_the_system_runs_on(
    name: str, films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small(monkeypatch)
    run = tmp_path / "run"
    assert main(name, films, run, device="cpu") == 0
    told = made.installed_from(name, run, tmp_path)
    assert told.settings["side"] == 64 and 0.25 <= told.settings["temperature"] <= 8.01
    assert "auroc_covid19 = { value = " in told.text and "cases = 9 }" in told.text  # no pneumonia among the 12
    found = FORMS[name][0](told, "cpu").predict(made.film(), made.field((256, 256), told))
    assert found.model.system == name
    assert [path.name for path in (run / "cache").glob("cxnet-*")] == ["cxnet-64-33.npz"]  # shared, with pneumonia


def test_a_source_can_be_left_out(films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small(monkeypatch)
    assert main("cxnet-base", films, tmp_path, device="cpu", without=("jsrt",)) == 0
    told = tomllib.loads((tmp_path / "cxnet-base.figures.toml").read_text(encoding="utf-8"))
    assert told["accuracy"]["cases"] == told["auroc_pneumonia_against_normal"]["cases"] == 6


def test_illness_it_never_learnt_is_compared_inside_one_source() -> None:
    kinds = [("normal", "a"), ("pneumonia", "a"), ("normal", "b"), ("covid19", "a"), ("pneumonia", "a")]
    films = [FilmCase(Path("x"), label, source, "", "test") for label, source in kinds]
    films.append(dataclasses.replace(films[1], split="train"))
    asked: list[list[int]] = []
    found = recipe.unknown_illness(lambda numbers: asked.append(list(numbers)) or torch.tensor([1.0, 3.0, 0.0]), films)
    assert asked == [[0, 1, 4]] and found["auroc_pneumonia_against_normal"].value == 0.5
    assert recipe.unknown_illness(torch.tensor, films[2:4]) == {}


def test_every_recipe_has_its_function_and_says_what_it_needs() -> None:
    for value in RECIPES.values():
        module, _, function = value.partition(":")
        found = door.importlib.import_module(f"models.training.{module}")
        assert callable(getattr(found, function or "train")) and found.NEEDS
    assert all(getattr(recipe, RECIPES[name].partition(":")[2]).args[0].system == name for name in FORMS)


@pytest.fixture(scope="module")
def three_classes(tmp_path_factory: pytest.TempPathFactory) -> Card:
    torch.manual_seed(2)
    return made.installed("cxnet", CXNet(3), tmp_path_factory.mktemp("cxnet"), {"side": 48.0, "temperature": 1.0})


def leaning_to(card: Card, class_index: int) -> CXNetSystem:
    system = CXNetSystem(card, "cpu")
    with torch.no_grad():
        system._net.classes.bias[class_index] += 5
    return system


@pytest.mark.parametrize(("leaning", "asked"), [(0, 2), (1, 1), (2, 2)], ids=["normal", "pneumonia", "covid19"])
def test_superpixels_explain_the_decided_class_or_covid(leaning: int, asked: int, three_classes: Card) -> None:  # 7.8
    """As LIME of the probability by the network itself, with an input made here."""
    system, image = leaning_to(three_classes, leaning), made.film()
    lungs = made.field(image.shape, three_classes)
    assert system.predict(image, lungs).decided_class == three_classes.classes[leaning]
    explained = system.superpixels(image, lungs, samples=40)
    found = explained.pieces
    assert explained.class_name == three_classes.classes[asked]

    def probability(batch: np.ndarray) -> np.ndarray:
        x = torch.from_numpy(np.stack([preparation.as_tensor_array(one) for one in batch]))
        with torch.inference_mode():
            return np.asarray(system._net(x).double().softmax(1)[:, asked].numpy())

    picture = preparation.cxnet_input(preparation.harmonised(preparation.film_u8(image), lungs.mask, 48))
    wanted = lime.explain(picture, probability, samples=40)
    assert explained.probability == pytest.approx(float(probability(picture[None])[0]), abs=1e-5)
    assert explained.box == lung_box(lungs.mask) and found.labels.shape == (48, 48)
    assert np.array_equal(found.labels, wanted.labels) and found.weights.any()
    assert np.allclose(found.weights, wanted.weights, atol=1e-3 * np.abs(wanted.weights).max())


def test_superpixels_repeat_themselves_and_are_asked_in_batches(three_classes: Card) -> None:
    system, image = leaning_to(three_classes, 2), made.film()
    lungs, sizes = made.field(image.shape, three_classes), []
    system._net.register_forward_pre_hook(lambda net, given: sizes.append(len(given[0])))
    one, two = (system.superpixels(image, lungs, samples=70).pieces for _ in range(2))
    assert np.array_equal(one.weights, two.weights) and one.top == two.top
    assert sizes == [1, 64, 6] * 2


def test_superpixels_are_refused_as_predictions_are(three_classes: Card) -> None:
    system = CXNetSystem(three_classes, "cpu")
    for image, lungs in ((made.film(), None), (made.nothing_to_judge()[0], made.field((20, 300), three_classes))):
        with pytest.raises(RefusedInput, match=r"\.$"):
            system.superpixels(image, lungs, samples=40)
