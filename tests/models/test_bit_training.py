"""Training of the CT systems: schedule, mixup, splits, BiT weights from .npz; recipes on small made-up data.

Numbers are those of the models specification (N13, N14, N16). No real run is repeated here.
"""

from __future__ import annotations

import csv
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file
from torch.nn import functional

from models.evaluation import bootstrap
from models.nets.bit import UNITS, BiTResNet50
from models.nets.bit_import import load_bit
from models.systems.bit import slice_tensor
from models.training import bit, cnncf_ct, mixup
from models.training.fit import Order


def test_learning_rate_of_bit() -> None:  # N13
    wanted = {0: 0, 1: 6e-6, 250: 0.0015, 499: 0.002994, 500: 0.003, 3000: 0.003, 3001: 3e-4, 6001: 3e-5, 9001: 3e-6}
    for step, value in (wanted | {9999: 3e-6}).items():
        assert bit.learning_rate(step) == pytest.approx(value, rel=1e-9)
    assert bit.learning_rate(10000) is None
    assert bit.learning_rate(150, schedule=(100, 200, 300, 400, 500)) == 0.003
    assert [bit.rate(p) for p in (0, 0.025, 0.05, 0.3, 0.31, 0.61, 0.91)] == pytest.approx(
        [0, 0.5, 1, 1, 0.1, 0.01, 0.001]
    )


def test_learning_rate_of_cnncf() -> None:  # N14; the first epoch warms up
    rates = [0.01 * cnncf_ct.rate(epoch / 40) for epoch in (1, 9, 10, 20, 30, 39)]
    assert rates == pytest.approx([0.01, 0.01, 0.001, 1e-4, 1e-5, 1e-5])
    assert [cnncf_ct.rate(p) for p in (0, 0.0125)] == pytest.approx([0.1, 0.55])


def test_mixup() -> None:  # N16
    order = torch.tensor([1, 0])
    found = mixup.mixed(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), order, 0.3)
    torch.testing.assert_close(found, torch.tensor([[0.3, 0.7], [0.7, 0.3]]))
    logits, target = torch.tensor([[1.0, 0.0], [2.0, -1.0]]), torch.tensor([0, 1])
    soft = mixup.mixed(functional.one_hot(target, 2).float(), order, 0.3)
    torch.testing.assert_close(
        mixup.mixed_cross_entropy(logits, target, order, 0.3), functional.cross_entropy(logits, soft)
    )


def test_shares_of_mixup_are_seeded_and_mostly_near_the_ends() -> None:
    def shares(seed: int) -> list[float]:
        random = torch.Generator().manual_seed(seed)
        return [mixup.draw_share(random) for _ in range(400)]

    found = np.array(shares(0))
    assert shares(0) == found.tolist() != shares(1)
    assert found.min() >= 0 and found.max() <= 1 and found.mean() == pytest.approx(0.5, abs=0.08)
    assert 0.1 < ((found > 0.1) & (found < 0.9)).mean() < 0.3  # Beta(0.1, 0.1): 0.19


def test_views_are_cut_and_mirrored_at_random() -> None:
    x = torch.arange(7 * 7, dtype=torch.float32).reshape(1, 1, 7, 7).expand(64, 3, -1, -1)
    found = bit.random_view(x, 5, torch.Generator().manual_seed(0))
    assert found.shape == (64, 3, 5, 5) and torch.equal(found[:, 0], found[:, 2])
    plain = found[:, 0, :, 1] > found[:, 0, :, 0]
    assert 0.3 < plain.float().mean() < 0.7
    corners = torch.minimum(found[:, 0, 0, 0], found[:, 0, 0, -1])
    assert set(corners.tolist()) == {7 * r + c for r in range(3) for c in range(3)}
    assert torch.equal(found, bit.random_view(x, 5, torch.Generator().manual_seed(0)))


def published_layout(net: BiTResNet50) -> dict[str, NDArray[np.float32]]:
    """The arrays of a published .npz, spelt out from the network's modules."""

    def kernel(conv: torch.nn.Conv2d) -> NDArray[np.float32]:
        return conv.weight.detach().permute(2, 3, 1, 0).numpy()

    out = {"resnet/root_block/standardized_conv2d/kernel": kernel(net.root[0])}  # type: ignore[arg-type]
    for block in range(4):
        for number, unit in enumerate(net.blocks[block], start=1):  # type: ignore[arg-type]
            name = f"resnet/block{block + 1}/unit{number:02d}"
            steps = ((unit.norm1, unit.conv1), (unit.norm2, unit.conv2), (unit.norm3, unit.conv3))
            for step, (norm, conv) in zip("abc", steps, strict=True):
                out[f"{name}/{step}/standardized_conv2d/kernel"] = kernel(conv)
                out[f"{name}/{step}/group_norm/gamma"] = norm.weight.detach().numpy()
                out[f"{name}/{step}/group_norm/beta"] = norm.bias.detach().numpy()
            if unit.projection is not None:
                out[f"{name}/a/proj/standardized_conv2d/kernel"] = kernel(unit.projection)
    out["resnet/group_norm/gamma"] = net.norm.weight.detach().numpy()
    out["resnet/group_norm/beta"] = net.norm.bias.detach().numpy()
    out["resnet/head/conv2d/kernel"] = kernel(net.head)
    out["resnet/head/conv2d/bias"] = net.head.bias.detach().numpy()  # type: ignore[union-attr]
    return out


def random_bit(seed: int) -> BiTResNet50:
    torch.manual_seed(seed)
    net = BiTResNet50(3)
    for p in net.parameters():
        torch.nn.init.normal_(p)
    return net


def test_published_weights_come_back_to_the_bit(tmp_path: Path) -> None:
    net = random_bit(3)
    arrays = published_layout(net)
    assert len(arrays) == 1 + 16 * 9 + 4 + 4 and sum(UNITS) == 16
    np.savez(tmp_path / "bit.npz", **arrays)
    whole, body = (
        load_bit(BiTResNet50(3), tmp_path / "bit.npz", head=True),
        load_bit(BiTResNet50(2), tmp_path / "bit.npz"),
    )
    for name, value in net.state_dict().items():
        assert torch.equal(value, whole.state_dict()[name]), name
        if not name.startswith("head"):
            assert torch.equal(value, body.state_dict()[name]), name
    assert not body.head.weight.any()
    with pytest.raises(ValueError, match="shape"):
        load_bit(BiTResNet50(2), tmp_path / "bit.npz", head=True)
    del arrays["resnet/block3/unit06/b/group_norm/beta"]
    np.savez(tmp_path / "bit.npz", **arrays)
    with pytest.raises(ValueError, match="block3/unit06/b"):
        load_bit(BiTResNet50(3), tmp_path / "bit.npz")


def made_up_slices(folder: Path, trainval: int = 40, test: int = 10) -> Path:
    """Dark slices with a bright patch for covid19."""
    random = np.random.default_rng(0)
    (folder / "ct_slices" / "images").mkdir(parents=True)
    rows = []
    for n in range(trainval + test):
        label = bit.CLASSES[n % 2]
        picture = random.integers(40, 90, (50, 50))
        picture[15:35, 15:35] += 120 * (n % 2)
        Image.fromarray(picture.astype(np.uint8)).save(folder / "ct_slices" / "images" / f"{n}.png")
        rows.append((f"images/{n}.png", label, "trainval" if n < trainval else "test"))
    write_labels(folder / "ct_slices", ("file", "label", "split"), rows)
    return folder


def write_labels(folder: Path, header: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])


def test_a_few_steps_of_bit_lower_the_loss() -> None:  # N38
    torch.manual_seed(0)
    net, random = BiTResNet50(2), np.random.default_rng(0)
    y = torch.arange(16) % 2
    pictures = random.integers(40, 90, (16, 32, 32)).astype(np.uint8)
    pictures[1::2, 10:22, 10:22] += 120
    x = slice_tensor(pictures)
    optimiser = torch.optim.SGD(net.parameters(), 0.003, momentum=0.9)
    losses = []
    for _ in range(10):
        loss = functional.cross_entropy(net(x), y)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(np.log(2), abs=1e-5) and min(losses[-3:]) < 0.8 * losses[0]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bit, "SIDE", 32)
    monkeypatch.setattr(bit, "BATCH", 8)
    monkeypatch.setattr(cnncf_ct, "SIDE", 64)
    monkeypatch.setattr(cnncf_ct, "BATCH", 4)
    monkeypatch.setattr(bootstrap, "RESAMPLES", 20)


def test_the_first_slices_of_each_class_are_held_out(tmp_path: Path) -> None:
    one = bit.slice_cases(made_up_slices(tmp_path))
    for label in bit.CLASSES:
        numbers = {s: [int(c.path.stem) for c in one if c.split == s and c.label == label] for s in ("train", "val")}
        assert numbers["val"] and max(numbers["val"]) < min(numbers["train"])
    assert [sum(c.split == name for c in one) for name in ("train", "val", "test")] == [36, 4, 10]
    assert all((int(c.path.stem) >= 40) == (c.split == "test") for c in one)


def test_a_stopped_run_of_bit_goes_on_as_if_it_had_not_been(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: None
) -> None:
    folder = made_up_slices(tmp_path / "data")
    bit.train(folder, tmp_path / "whole", Order("cpu", 2, seed=5, resume=False))
    plain, calls = bit.predict, []

    def stopping(*given: object) -> torch.Tensor:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return plain(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(bit, "predict", stopping)
    with pytest.raises(KeyboardInterrupt):
        bit.train(folder, tmp_path / "part", Order("cpu", 2, seed=5, resume=False))
    monkeypatch.setattr(bit, "predict", plain)
    bit.train(folder, tmp_path / "part", Order("cpu", 2, seed=5, resume=True))
    told = [(tmp_path / name / "bit-ct.figures.toml").read_text() for name in ("whole", "part")]
    assert told[0] == told[1]
    tree = tomllib.loads(told[0])
    assert tree["side"] == 32 and tree["imported_start"] == 0 and 0.25 <= tree["temperature"] <= 8
    names = ("accuracy", "auroc_covid19", "sensitivity_covid19", "specificity_covid19")
    assert [tree[name]["cases"] for name in names] == [10] * 4
    assert load_file(tmp_path / "whole" / "bit-ct.safetensors")["head.weight"].any()


def test_bit_begins_from_published_weights_where_they_lie(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: None
) -> None:
    folder, read = made_up_slices(tmp_path / "data", 20, 4), []
    (folder / "bit").mkdir()
    (folder / bit.START).touch()
    monkeypatch.setattr(bit, "load_bit", lambda net, path: read.append(path))
    bit.train(folder, tmp_path / "out", Order("cpu", 1, seed=5, resume=False))
    assert read == [folder / bit.START]
    assert tomllib.loads((tmp_path / "out" / "bit-ct.figures.toml").read_text())["imported_start"] == 1


def test_figures() -> None:
    score, positive = np.array([0.9, 0.5, 0.2, 0.6, 0.1, 0.3]), np.array([1, 1, 1, 0, 0, 0], bool)
    found = {name: one.value for name, one in bit.figures(score, positive).items()}
    assert found == pytest.approx(
        {"accuracy": 4 / 6, "auroc_covid19": 6 / 9, "sensitivity_covid19": 2 / 3, "specificity_covid19": 2 / 3}
    )


def made_up_volumes(folder: Path, train: int = 8) -> list[tuple[str, ...]]:
    """Body with lungs; solid patches in the lungs for covid19. Studies of different depth."""
    random = np.random.default_rng(0)
    (folder / "ct_volumes").mkdir(parents=True)
    rows: list[tuple[str, ...]] = []
    for n in range(train + 8):
        voxels = np.full((5 + n % 3, 64, 64), -1000, np.float32)
        voxels[:, 10:54, 6:58] = 40
        voxels[:, 16:48, 10:28] = voxels[:, 16:48, 36:54] = -850
        if n % 2:
            voxels[:, 32:48, 10:28] = voxels[:, 32:48, 36:54] = 20
        voxels += random.normal(0, 15, voxels.shape).astype(np.float32)
        np.save(folder / "ct_volumes" / f"{n}.npy", voxels.astype(np.int16))
        split = "train" if n < train else "val" if n < train + 4 else "test"
        rows.append((f"{n}.npy", cnncf_ct.CLASSES[n % 2], f"p{n}", split))
    write_labels(folder / "ct_volumes", ("file", "label", "patient", "split"), rows)
    return rows


def test_the_recipe_of_cnncf_lowers_the_loss(tmp_path: Path, small: None) -> None:
    made_up_volumes(tmp_path)
    cnncf_ct.train(tmp_path, tmp_path / "out", Order("cpu", 8, seed=1, resume=False))
    run = torch.load(tmp_path / "out" / "cnncf-ct.checkpoint", weights_only=True)
    assert min(run["losses"][1:]) < 0.7 * run["losses"][0]
    state = load_file(tmp_path / "out" / "cnncf-ct.safetensors")
    assert state["reduce.reduce.weight"].shape == (3, 100, 1, 1)
    told = tomllib.loads((tmp_path / "out" / "cnncf-ct.figures.toml").read_text())
    assert told["side"] == 64 and told["gate_open"] == float(state["cnncf.gate.is_open"])
    assert told["accuracy"]["cases"] == 4


def test_what_is_wrong_with_the_volumes_is_said(tmp_path: Path) -> None:
    rows = made_up_volumes(tmp_path)
    header = ("file", "label", "patient", "split")
    assert len(cnncf_ct.volume_cases(tmp_path)) == 16
    write_labels(tmp_path / "ct_volumes", header, [*rows, ("x.npy", "covid19", "p0", "test")])
    with pytest.raises(ValueError, match="two splits"):
        cnncf_ct.volume_cases(tmp_path)
    write_labels(tmp_path / "ct_volumes", header, [row for row in rows if row[3] != "val" or row[1] != "covid19"])
    with pytest.raises(ValueError, match="split val"):
        cnncf_ct.volume_cases(tmp_path)
