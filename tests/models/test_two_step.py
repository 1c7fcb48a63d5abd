"""The two-step network of paper 002: decision tree, what it says without step 2, recipe (N11, N18, 5.2 to 5.5).

The weights are drawn by a seed, so nothing here is about accuracy.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from models.api import Card, ImageInput, LungField, RefusedInput, WeightsMismatch
from models.images.geometry import lung_box
from models.nets.twostep import TwoStepNet
from models.systems import twostep
from models.systems.preparation import grey_batch
from models.systems.twostep import Probabilities, TwoSteps, TwoStepSystem, decide
from models.training import twostep as recipe
from models.training.train import main
from tests.models import made

SETTINGS = {"side": 64.0, "temperature": 1.0}
FOURTH = """
[[classes]]
name = "other_virus"
scheme = "SCT"
value = "75570004"
meaning = "Viral pneumonia"

[settings]"""


def network(second: bool = False) -> TwoSteps:
    torch.manual_seed(0)
    return TwoSteps(second).eval()


def leaning(net: TwoStepNet, number: int) -> None:
    """Make the network say one class, whatever it sees."""
    with torch.no_grad():
        net.dense[7].bias[number] += 3.0


def four_classes(folder: Path, net: TwoSteps) -> Card:
    card = made.installed("two-step", net, folder, SETTINGS)
    text = card.text.replace("\n[settings]", FOURTH, 1)
    (folder / "two-step.toml").write_text(text, encoding="utf-8")
    return made.read_card(folder / "two-step.toml")


@pytest.fixture(scope="module")
def card(tmp_path_factory: pytest.TempPathFactory) -> Card:
    return made.installed("two-step", network(), tmp_path_factory.mktemp("two-step"), SETTINGS)


@pytest.fixture(scope="module")
def system(card: Card) -> TwoStepSystem:
    return TwoStepSystem(card, "cpu")


def given(*values: float) -> Probabilities:
    return np.array(values)


def never() -> Probabilities:
    raise AssertionError("step 2 must not run")


def test_both_steps_have_the_published_size() -> None:  # N11
    assert [sum(p.numel() for p in TwoStepNet(k).parameters()) for k in (2, 3, 4)] == [234_002, 234_131, 234_260]
    assert sum(p.numel() for p in network(second=True).parameters()) == 2 * 234_131


def test_the_map_explained_is_the_third_convolution() -> None:  # 5.5
    net, seen = network().step1, []
    net.last_map.register_forward_hook(lambda module, x, out: seen.append(out.shape))
    net(torch.rand(1, 3, 64, 64))
    assert seen == [(1, 128, 16, 16)]


def test_viral_then_covid() -> None:  # N18
    found = decide(given(0.2, 0.3, 0.5), lambda: given(0.1, 0.6, 0.3))
    assert found.decided == 2 and not found.conflict
    assert found.p == pytest.approx([0.2, 0.35, 0.3, 0.15])


def test_viral_then_other_virus() -> None:
    assert decide(given(0.2, 0.3, 0.5), lambda: given(0.1, 0.3, 0.6)).decided == 3


def test_step_two_is_not_asked_of_a_normal_film() -> None:  # N18
    found = decide(given(0.5, 0.3, 0.2), never)
    assert found.decided == 0 and found.two is None
    assert found.p == pytest.approx([0.5, 0.3, 0.1, 0.1])


def test_the_steps_may_disagree() -> None:  # N18
    found = decide(given(0.1, 0.2, 0.7), lambda: given(0.6, 0.3, 0.1))
    assert found.decided == 1 and found.conflict
    assert found.p == pytest.approx([0.1, 0.62, 0.21, 0.07])


def test_ties_go_to_the_lower_index() -> None:
    assert decide(given(0.4, 0.4, 0.2), never).decided == 0
    assert decide(given(0.2, 0.4, 0.4), never).decided == 1
    assert decide(given(0.0, 0.0, 1.0), lambda: given(0.4, 0.4, 0.2)).conflict
    assert decide(given(0.0, 0.0, 1.0), lambda: given(0.2, 0.4, 0.4)).decided == 2
    assert decide(given(0.2, 0.4, 0.4), None).decided == 1


def test_probabilities_sum_to_one_and_name_what_is_decided() -> None:
    random = np.random.default_rng(0)
    for one, two in zip(random.dirichlet((1, 1, 1), 200), random.dirichlet((1, 1, 1), 200), strict=True):
        found = decide(one, lambda two=two: two)
        assert found.p.sum() == pytest.approx(1)
        assert found.decided == int(np.argmax(found.p)) or found.two is not None


def test_without_step_two_viral_is_reported_as_covid_and_said_so(tmp_path: Path) -> None:
    net = network()
    leaning(net.step1, 2)
    made_card = made.installed("two-step", net, tmp_path, SETTINGS)
    image = made.film()
    found = TwoStepSystem(made_card, "cpu").predict(image, made.field(image.shape, made_card))
    assert found.decided_class == "covid19" and found.heat_class == "covid19"
    assert twostep.UNTRAINED in found.notes and "stands for COVID-19" in found.rule
    assert found.details["step2_ran"] == 0 and not any(name.startswith("step2.") for name in found.details)
    assert {s.name: s.probability for s in found.scores}["covid19"] == pytest.approx(found.details["step1.viral"])


@pytest.mark.parametrize(("kind", "decided"), [(0, "pneumonia"), (1, "covid19"), (2, "other_virus")])
def test_both_steps(kind: int, decided: str, tmp_path: Path) -> None:
    net = network(second=True)
    leaning(net.step1, 2)
    assert net.step2 is not None
    leaning(net.step2, kind)
    four = four_classes(tmp_path, net)
    image = made.film()
    found = TwoStepSystem(four, "cpu").predict(image, made.field(image.shape, four))
    assert found.decided_class == decided and found.details["step2_ran"] == 1
    assert found.details["conflict"] == float(kind == 0) and (twostep.CONFLICT in found.notes) == (kind == 0)
    d = found.details
    assert [s.probability for s in found.scores] == pytest.approx(
        [
            d["step1.normal"],
            d["step1.pneumonia"] + d["step1.viral"] * d["step2.non_viral"],
            d["step1.viral"] * d["step2.covid19"],
            d["step1.viral"] * d["step2.other_virus"],
        ]
    )


def test_with_both_steps_a_normal_film_is_not_asked_further(tmp_path: Path) -> None:
    net = network(second=True)
    leaning(net.step1, 0)
    four = four_classes(tmp_path, net)
    image = made.film()
    found = TwoStepSystem(four, "cpu").predict(image, made.field(image.shape, four))
    assert found.decided_class == "normal" and found.details["step2_ran"] == 0 and twostep.NOT_ASKED in found.notes
    assert sum(score.probability for score in found.scores) == pytest.approx(1)


def test_weights_without_the_step_that_the_classes_need_are_not_used(tmp_path: Path) -> None:
    with pytest.raises(WeightsMismatch, match="do not hold the steps"):
        TwoStepSystem(four_classes(tmp_path, network()), "cpu")


def test_no_weights_no_system(tmp_path: Path) -> None:
    with pytest.raises(WeightsMismatch, match="can be trained"):
        TwoStepSystem(made.untrained("two-step", tmp_path), "cpu")


def test_a_prediction_is_complete_and_repeats_itself(system: TwoStepSystem) -> None:
    image = ImageInput(made.film(300).pixels[:240].copy(), "1.2.3")
    lungs = made.field(image.shape, system.card)
    one, two = system.predict(image, lungs), system.predict(image, lungs)
    assert one.scores == two.scores and one.lesions == two.lesions
    assert one.heat is not None and two.heat is not None and np.array_equal(one.heat, two.heat)
    assert [score.name for score in one.scores] == ["normal", "pneumonia", "covid19"]
    assert sum(score.probability for score in one.scores) == pytest.approx(1)
    assert one.heat.shape == (240, 300) and one.heat.min() >= 0 and 0 < one.heat.max() <= 1
    top, left, bottom, right = lung_box(lungs.mask)
    one.heat[top:bottom, left:right] = 0
    assert one.heat.max() == 0


def test_only_the_lung_region_is_judged(system: TwoStepSystem) -> None:
    image = made.film()
    lungs = made.field(image.shape, system.card)
    marked = image.pixels.copy()
    marked[:12, :60] = marked.max()  # a burned-in mark
    other = dataclasses.replace(image, pixels=marked)
    assert system.predict(image, lungs).scores == system.predict(other, lungs).scores


def test_refusals_are_sentences(system: TwoStepSystem) -> None:
    lungs = made.field((256, 256), system.card)
    empty = LungField(np.zeros((256, 256), bool), (), system.card.identity)
    cases = [(image, lungs) for image in made.nothing_to_judge()] + [(made.film(), empty), (made.film(), None)]
    for image, where in cases:
        with pytest.raises(RefusedInput, match=r"\.$"):
            system.predict(image, where)


def test_two_films_at_once_are_as_each_alone() -> None:  # N38
    net = network().step1
    x = grey_batch(np.random.default_rng(0).integers(0, 256, (2, 64, 64), dtype=np.uint8))
    with torch.inference_mode():
        torch.testing.assert_close(torch.cat([net(x[:1]), net(x[1:])]), net(x), rtol=1e-4, atol=1e-4)


def test_a_few_steps_lower_the_loss() -> None:  # N38
    torch.manual_seed(0)
    net, labels = TwoStepNet(2), torch.arange(16) % 2
    x = (torch.rand(16, 3, 64, 64) * 0.3 + 0.5 * labels[:, None, None, None]).float()
    optimiser, losses = torch.optim.Adam(net.parameters(), 1e-3), []
    for _ in range(25):
        loss = torch.nn.functional.cross_entropy(net(x), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert min(losses[-3:]) < 0.8 * losses[0]


def test_salt_and_pepper_spoils_one_pixel_in_fifty() -> None:  # 5.1
    x = torch.full((8, 3, 64, 64), 0.5)
    y = recipe.salt_and_pepper(x, torch.Generator().manual_seed(0))
    assert torch.equal(y[:, :1].expand_as(y), y)
    assert float((y != 0.5).float().mean()) == pytest.approx(0.02, abs=0.003)
    assert float((y == 1).float().mean()) == pytest.approx(0.01, abs=0.002)


def test_the_recipe_makes_weights_that_the_system_runs_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipe, "BATCH", 4)
    assert main("two-step", made.film_folder(tmp_path / "data"), tmp_path / "run", device="cpu", epochs=1) == 0
    told = made.installed_from("two-step", tmp_path / "run", tmp_path)
    assert "accuracy" in told.text and told.settings["side"] == 64
    image = made.film()
    assert TwoStepSystem(told, "cpu").predict(image, made.field(image.shape, told)).model.system == "two-step"
