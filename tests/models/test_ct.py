"""CT: windows, slices, body crop, lung rule, study rule, and both systems with random networks.

Numbers are those of the models specification (N1 to N3, N33, N35, N36). What the systems are worth is not judged here.
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from models.api import CTSystem, Prediction, RefusedInput, VolumeInput, WeightsMismatch
from models.cards import read_card
from models.images import volume as ct
from models.images.geometry import in_film
from models.nets.bit import BiTResNet50
from models.registry import Registry
from models.systems.bit import slice_picture, slice_tensor, study_rule
from models.systems.cnncf_ct import StudyNet, middle_slice
from models.training import cards, weights
from tests.models.chests import chest, ellipse
from tests.models.made import monais_heat

WEIGHTS = Path(__file__).parents[2] / "models" / "weights"
PNEUMONIA = '[[classes]]\nname = "pneumonia"\nscheme = "SCT"\nvalue = "233604007"\nmeaning = "Pneumonia"\n\n'


def install(folder: Path, system: str, net: torch.nn.Module, side: int, text: str | None = None) -> CTSystem:
    """The system with these weights, by the way a training run is installed."""
    shipped = (WEIGHTS / f"{system}.toml").read_text(encoding="utf-8")
    (folder / f"{system}.toml").write_text(text or shipped, encoding="utf-8")
    weights.write(net, folder / "out" / f"{system}.safetensors", {}, {"side": side, "temperature": 2.0})
    cards.install(system, folder / "out", folder)
    return Registry(folder).load_ct_system(system)


def bit_net(classes: int, leaning: int) -> BiTResNet50:
    torch.manual_seed(1)
    net = BiTResNet50(classes)
    torch.nn.init.normal_(net.head.weight, std=0.02)
    with torch.no_grad():
        net.head.bias[leaning] += 8  # type: ignore[index]
    return net


BIT, CNNCF = ("negative", "positive", "three classes"), ("gate open", "gate closed")


@pytest.fixture(scope="module", params=BIT)
def bit(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> CTSystem:
    classes = 3 if request.param == "three classes" else 2
    text = (WEIGHTS / "bit-ct.toml").read_text(encoding="utf-8")
    if classes == 3:
        text = re.sub(r'(?=\[\[classes\]\]\nname = "covid19")', PNEUMONIA, text)
    leaning = {"negative": 0, "positive": 1, "three classes": 2}[request.param]
    return install(tmp_path_factory.mktemp("bit"), "bit-ct", bit_net(classes, leaning), 64, text)


@pytest.fixture(scope="module", params=CNNCF)
def cnncf(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> CTSystem:
    torch.manual_seed(2)
    net = StudyNet(2, 64)
    net.cnncf.gate.is_open.fill_(request.param == "gate open")
    return install(tmp_path_factory.mktemp("cnncf"), "cnncf-ct", net, 64)


def test_window_of_the_study() -> None:  # N1
    hu = np.array([-3000, -1600, -1350, -1100, -1000, -600, -100, 0, 40, 150, 400, 1000], np.float32)
    wanted = [0, 0, 31.875, 63.75, 76.5, 127.5, 191.25, 204, 209.1, 223.125, 255, 255]
    np.testing.assert_allclose(ct.window_float(hu), wanted, atol=1e-4)


def test_window_of_the_slice_truncates() -> None:  # N2
    hu = np.array([-1350, -1100, -1000, -600, -100, 0, 40, 150], np.float32)
    assert ct.window_u8(hu).tolist() == [0, 42, 59, 127, 212, 229, 236, 255]
    whole = np.arange(-1350, 151, 100)  # every 17th grey level is a whole number there, and stays it
    assert ct.window_u8(whole).tolist() == list(range(0, 256, 17))


def test_slices_are_resampled_to_300() -> None:  # N3
    for count, places, wanted in (
        (60, [0, 1, 2, 3, 100, 200, 299], [0, 0.1973244, 0.3946488, 0.5919732, 19.7324415, 39.4648829, 59]),
        (379, [99, 100, 299], [125.157191, 126.421405, 378]),
        (300, [0, 150, 299], [0, 150, 299]),
    ):
        ramp = np.broadcast_to(np.arange(count, dtype=np.float32)[:, None, None], (count, 2, 3))
        found = ct.resample_slices(ramp)
        assert found.shape == (300, 2, 3) and found.dtype == np.float32
        np.testing.assert_allclose(found[places, 1, 2], wanted, rtol=1e-6)


def test_the_body_is_cropped_and_the_table_left_out() -> None:  # N35
    picture = np.full((512, 512), 5, np.uint8)
    picture[ellipse(512, 256, 270, 200, 140)] = 120
    for x in (180, 330):
        picture[ellipse(512, x, 260, 60, 80)] = 30
    picture[440:446, 60:460] = 140
    top, left, bottom, right = ct.body_box(picture)
    np.testing.assert_allclose((left, top, right, bottom), (59, 133, 454, 408), atol=2)


@pytest.mark.parametrize("value", [0, 7, 255])
def test_a_slice_in_which_nothing_stands_out_is_kept_whole(value: int) -> None:
    assert ct.body_box(np.full((70, 90), value, np.uint8)) == (0, 0, 70, 90)


def test_a_line_of_covidx() -> None:  # N36
    found = ct.covidx_line("NCP_1013_2577_0000.png 2 0 173 512 404")
    assert found == ct.CovidxLine("NCP_1013_2577_0000.png", "NCP", (173, 0, 404, 512))
    for wrong in ("", "a.png 2 0 173 512", "a.png 3 0 173 512 404", "a.png 1 9 0 9 4", "a.png x 0 1 2 3"):
        with pytest.raises(ValueError):
            ct.covidx_line(wrong)


def test_slices_with_lung_are_found_and_airways_alone_are_none() -> None:
    assert ct.lung_slices(chest()).tolist() == list(range(4, 20))
    assert ct.lung_share(np.full((80, 80), -1000, np.float32)) == 0


def test_noise_is_no_ct() -> None:
    voxels = np.random.default_rng(0).uniform(-1000, 500, (6, 128, 128)).astype(np.float32)
    with pytest.raises(RefusedInput, match="noise"):
        ct.lung_slices(VolumeInput(voxels, tuple("abcdef"), "1"))


def test_the_lung_of_a_slice_is_whole_but_for_its_wall() -> None:
    study = chest()
    lung = ct.lung_mask(study.voxels[10])
    drawn = ellipse(128, 42, 58, 15, 22) | ellipse(128, 86, 58, 15, 22)
    assert (lung & drawn).sum() / (lung | drawn).sum() > 0.9
    assert not ct.lung_mask(study.voxels[0]).any() or ct.lung_mask(study.voxels[0]).mean() < 0.01


def test_slices_with_lung_of_a_real_study(data_folder: Path) -> None:
    """50 slices from the shoulders to the stomach, here from 8-bit values of the window -600/1500."""
    files = sorted((data_folder / "ct_volume_covid").glob("*.jpg"))
    grey = np.stack([np.asarray(Image.open(file).convert("L"), dtype=np.float32) for file in files])
    study = VolumeInput(grey / 255 * 1500 - 1350, tuple(file.stem for file in files), "1.2")
    found = ct.lung_slices(study)
    assert set(range(12, 37)) <= set(found.tolist()) and 49 not in found
    for number in found:
        top, left, bottom, right = slice_picture(study.voxels[number], 96)[1]
        assert right - left > 300 and 150 < bottom - top < 420  # the body, without most of the air and the table


def test_the_rule_for_the_study() -> None:  # N33
    ncp = np.array([0.9, 0.8, 0.7, 0.1, 0, 0, 0.05, 0.02, 0.3, 0.2])
    found = study_rule(np.stack((1 - ncp, 0 * ncp, ncp), 1))
    assert found.top == 3 and found.decided == 2 and found.scores == pytest.approx((0.2, 0, 0.8))
    assert study_rule(np.stack((1 - ncp, ncp), 1)).decided == 1
    assert study_rule(np.stack((1 - 0.6 * ncp, 0.6 * ncp), 1)).decided == 0
    both = study_rule(np.array([[0.1, 0.9, 0.0]] * 4 + [[0.2, 0.0, 0.8]] * 4))
    assert both.decided == 1 and both.scores == pytest.approx((0.1, 0.9, 0.8))
    assert study_rule(np.full((4, 2), 0.5)).decided == 1  # at the threshold is positive
    assert [study_rule(np.full((n, 2), 0.5)).top for n in (1, 2, 30, 31, 300)] == [1, 2, 3, 4, 30]


def test_pictures_are_scaled_to_minus_one_to_one() -> None:
    x = slice_tensor(np.array([[[0, 255]]], np.uint8))
    assert x.shape == (1, 3, 1, 2) and x[0, :, 0].tolist() == [[-1, 1]] * 3


def complete(found: Prediction, system: CTSystem, volume: VolumeInput) -> None:
    assert [score.name for score in found.scores] == list(system.card.classes)
    assert [score.name for score in found.scores if score.decision] == [found.decided_class]
    assert found.heat is None and found.heat_class in system.card.classes[1:]
    assert [one.index for one in found.slices] == sorted({one.index for one in found.slices})
    for one in found.slices:
        assert one.uid == volume.slice_uids[one.index] and sum(one.probabilities) == pytest.approx(1)
        if one.heat is not None:
            assert one.heat.shape == volume.voxels.shape[1:] and one.heat.dtype == np.float32
            assert one.heat.min() >= 0 and one.heat.max() <= 1
        for lesion in one.lesions:
            assert 0 <= lesion.centre_px[0] < volume.voxels.shape[2]
            assert 0 <= lesion.centre_px[1] < volume.voxels.shape[1]


def test_bit_judges_every_slice_with_lung(bit: CTSystem) -> None:
    volume = chest()
    found = bit.predict(volume)
    complete(found, bit, volume)
    assert [one.index for one in found.slices] == list(range(4, 20))
    assert found.details == {"slices_judged": 16, "slices_averaged": 3}
    assert any("8 of 24 slices" in note for note in found.notes)
    p = np.array([one.probabilities for one in found.slices])
    assert tuple(s.probability for s in found.scores) == pytest.approx(study_rule(p).scores)
    explained = bit.card.classes.index(found.heat_class or "")
    keys = [one.index for one in found.slices if one.key]
    assert sorted(keys) == sorted((np.argsort(-p[:, explained])[:3] + 4).tolist())
    if found.decided_class == "non_covid":
        assert not any(one.lesions for one in found.slices)
    else:
        assert found.heat_class == found.decided_class and any(one.lesions for one in found.slices)


@pytest.mark.parametrize("bit", ["positive"], indirect=True)
def test_bit_shows_heat_wherever_a_slice_says_yes_and_leads_to_few(bit: CTSystem) -> None:
    """Leaning to COVID-19, every slice says yes: all have heat, no more than five are key slices with lesions."""
    found = bit.predict(chest())
    assert all(one.probabilities[1] >= 0.5 and one.heat is not None for one in found.slices)
    assert sum(one.key for one in found.slices) == 3
    assert not any(one.lesions for one in found.slices if not one.key)


@pytest.mark.parametrize("bit", ["negative"], indirect=True)
def test_bit_shows_no_heat_where_neither_slice_nor_study_says_yes(bit: CTSystem) -> None:
    found = bit.predict(chest())
    assert all(one.probabilities[1] < 0.5 for one in found.slices)
    assert [one.key for one in found.slices] == [one.heat is not None for one in found.slices]


def test_bits_heat_is_the_grad_cam_of_the_slice_alone(bit: CTSystem) -> None:
    """The heat comes from maps kept of the first pass; here it is MONAI's, slice by slice."""
    volume = chest()
    net = bit._net  # type: ignore[attr-defined]
    found = bit.predict(volume)
    explained = bit.card.classes.index(found.heat_class or "")
    for one in (one for one in found.slices if one.key):
        picture, box = slice_picture(volume.voxels[one.index], 64)
        small = monais_heat(net, "blocks.3", slice_tensor(picture[None]), explained)
        assert one.heat is not None
        np.testing.assert_allclose(one.heat, in_film(small, box, volume.voxels.shape[1:]), atol=2e-3)


def test_bit_lays_heat_on_the_body(bit: CTSystem) -> None:
    volume = chest()
    heats = [one.heat for one in bit.predict(volume).slices if one.heat is not None]
    assert any(heat.any() for heat in heats)
    for heat in heats:
        assert not heat[104:].any() and not heat[:18].any() and not heat[:, :8].any()  # the table; the air


@pytest.mark.parametrize("bit", ["negative"], indirect=True)
def test_bit_sends_no_slice_alone(bit: CTSystem) -> None:
    sizes: list[int] = []
    root = bit._net.root  # type: ignore[attr-defined]
    hook = root.register_forward_pre_hook(lambda net, given: sizes.append(len(given[0])))
    bit.predict(chest(36, 64, 1, 34))
    hook.remove()
    assert sizes == [17, 16]


def test_cnncf_judges_the_study_and_shows_one_slice(cnncf: CTSystem) -> None:
    volume = chest()
    found = cnncf.predict(volume)
    complete(found, cnncf, volume)
    (one,) = found.slices
    assert one.index in {middle_slice(group, 24) for group in range(3)} and one.heat is not None
    assert one.probabilities == tuple(score.probability for score in found.scores)
    stage = "2" if found.details["gate_open"] else "1"
    assert found.details[f"stage{stage}.covid19"] == pytest.approx(one.probabilities[1])
    assert found.details["stage1.covid19"] != pytest.approx(found.details["stage2.covid19"], abs=1e-6)
    assert any("judged as a whole" in note for note in found.notes)


def test_the_middle_of_each_group() -> None:
    assert [middle_slice(group, 300) for group in range(3)] == [50, 150, 250]
    assert [middle_slice(group, 60) for group in range(3)] == [10, 30, 49]
    assert [middle_slice(group, 3) for group in range(3)] == [0, 1, 2]


@pytest.mark.parametrize("group", [0, 1, 2])
def test_the_key_slice_lies_in_the_group_that_had_effect(tmp_path: Path, group: int) -> None:
    torch.manual_seed(4)
    net = StudyNet(2, 64)
    net.cnncf.gate.is_open.fill_(True)
    with torch.no_grad():
        for other in {0, 1, 2} - {group}:
            net.cnncf.stem[0].weight[:, other] = 0  # type: ignore[index]
    (one,) = install(tmp_path, "cnncf-ct", net, 64).predict(chest()).slices
    assert one.index == middle_slice(group, 24)


def test_predictions_of_bit_repeat_themselves_to_the_bit(bit: CTSystem) -> None:
    repeats(bit)


def test_predictions_of_cnncf_repeat_themselves_to_the_bit(cnncf: CTSystem) -> None:
    repeats(cnncf)


def repeats(system: CTSystem) -> None:
    one, two = system.predict(chest()), system.predict(chest())
    assert one.scores == two.scores and one.details == two.details
    for a, b in zip(one.slices, two.slices, strict=True):
        assert a.probabilities == b.probabilities and a.lesions == b.lesions
        assert (a.heat is None) == (b.heat is None)
        assert a.heat is None or (b.heat is not None and np.array_equal(a.heat, b.heat))


def without(volume: VolumeInput, **change: object) -> VolumeInput:
    return dataclasses.replace(volume, **change)  # type: ignore[arg-type]


@pytest.mark.parametrize(("bit", "cnncf"), [("positive", "gate open")], indirect=True)
def test_refusals_are_sentences(bit: CTSystem, cnncf: CTSystem) -> None:
    good = chest()
    holed = good.voxels.copy()
    holed[7, 3, 3] = np.nan
    cases = {
        "2 slices": without(good, voxels=good.voxels[8:10], slice_uids=good.slice_uids[8:10]),
        "60 x 128": without(good, voxels=good.voxels[:, :, :60]),
        "not finite": without(good, voxels=holed),
        "No slice": chest(first=0, last=0),
        "shows lung": without(good, voxels=np.full_like(good.voxels, -1000)),
    }
    for system in (bit, cnncf):
        for words, volume in cases.items():
            with pytest.raises(RefusedInput, match=words) as refused:
                system.predict(volume)
            assert str(refused.value).endswith(".")


@pytest.mark.parametrize(("bit", "cnncf"), [("positive", "gate open")], indirect=True)
def test_three_slices_are_enough(bit: CTSystem, cnncf: CTSystem) -> None:
    volume = chest(3, 64, 1, 2)
    found = bit.predict(volume)
    assert [one.index for one in found.slices] == [1] and any("rests on 1" in note for note in found.notes)
    cnncf.predict(volume)


@pytest.mark.parametrize("system", ["bit-ct", "cnncf-ct"])
def test_without_weights_no_system(tmp_path: Path, system: str) -> None:
    text = (WEIGHTS / f"{system}.toml").read_text(encoding="utf-8")
    (tmp_path / f"{system}.toml").write_text(re.sub('weights_sha256 = ".*"', 'weights_sha256 = ""', text))
    with pytest.raises(WeightsMismatch, match="can be trained"):
        Registry(tmp_path).load_ct_system(system)


def test_the_cards() -> None:
    bit, cnncf = read_card(WEIGHTS / "bit-ct.toml"), read_card(WEIGHTS / "cnncf-ct.toml")
    assert (bit.kind, bit.classes, bit.threshold) == ("ct", ("non_covid", "covid19"), 0.5)
    assert (bit.codes[0].scheme, bit.codes[0].value) == ("99LUNGNODE", "non-covid")
    assert (cnncf.kind, cnncf.classes, cnncf.codes[1]) == ("ct", ("normal", "covid19"), bit.codes[1])
