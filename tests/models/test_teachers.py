"""Teachers of CNNCF and distillation from them: plans, folds, soft targets; of the facts N14 to N16 what concerns the
training of CNNCF. Real teachers are not trained here.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from models.nets.cnncf import CNNCF, ControlGate, FusionBlock
from models.nets.teachers import PLANS, BottleneckFusion, Teacher
from models.training import distillation, losses
from models.training.distillation import Films, Run, SoftTargets, distil_loss, folds_of, fuse, train_teachers


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("a", "b", "wanted"), [(64, 256, 755_200), (128, 128, 312_064), (512, 512, 4_983_808), (128, 256, 919_040)]
)
def test_blocks_that_only_teachers_and_regressor_have(a: int, b: int, wanted: int) -> None:  # N10
    assert count(FusionBlock(a, b, 1)) == wanted


def test_basic_teachers_are_cnncf_with_one_block_more() -> None:
    """Without CNNCF's predictor, which no teacher has."""
    student = CNNCF()
    bare = count(student) - count(student.predictor)
    assert count(Teacher(PLANS["ts1"])) == bare + count(FusionBlock(256, 256, 1))
    assert count(Teacher(PLANS["ts2"])) == bare + count(FusionBlock(128, 128, 1))


def test_bottleneck_teachers_differ_by_one_block() -> None:
    assert count(Teacher(PLANS["ts4"])) - count(Teacher(PLANS["ts3"])) == count(BottleneckFusion(512, 128, 1))
    # 1x1 64 -> 64, 3x3, 1x1 -> 256, pooled 1x1 -> 256, four normalisations
    assert count(BottleneckFusion(64, 64, 2)) == 4_096 + 36_864 + 16_384 + 16_384 + 2 * (64 + 64 + 256 + 256)


@pytest.mark.parametrize("name", list(PLANS))
def test_every_teacher_divides_the_side_by_64_and_gives_logits(name: str) -> None:
    torch.manual_seed(0)
    net = Teacher(PLANS[name], classes=3).eval()
    blocks = [len(group.blocks) for group in net.groups]
    assert tuple(blocks) == PLANS[name].blocks
    x = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        assert net.maps(x).shape == (2, 2048 if PLANS[name].bottleneck else 512, 1, 1)
        whole = net(x)
        assert whole.shape == (2, 3)
        torch.testing.assert_close(torch.cat([net(x[:1]), net(x[1:])]), whole, rtol=1e-4, atol=1e-5)


def test_odd_sides_meet_in_a_bottleneck_block() -> None:
    out1, out2 = BottleneckFusion(4, 2, 2).eval()(torch.randn(1, 4, 11, 11), torch.randn(1, 4, 11, 11))
    assert out1.shape == (1, 8, 6, 6) and (out1 < 0).any() and torch.equal(out2, out1.relu())


def test_kind_b_gives_its_rectified_map_twice() -> None:
    net = Teacher(PLANS["ts2"]).eval()
    with torch.inference_mode():
        x1, x2 = net.groups[0](*[net.stem(torch.rand(1, 3, 32, 32))] * 2)
        assert not torch.equal(x1, x2)
        x1, x2 = net.groups[1](x1, x2)
        assert torch.equal(x1, x2) and (x1 >= 0).all()


@pytest.mark.parametrize("alpha, temperature, expected", [
    (0.5, 4.5, 0.390024), (0.95, 6, 0.472515), (0, 3, 0.313262), (1, 4, 0.458525),
])  # fmt: skip
def test_one_teacher_is_plain_distillation(alpha: float, temperature: float, expected: float) -> None:
    """N16."""
    student, teacher, target = torch.tensor([[1.0, 0.0]]), torch.tensor([[2.0, -1.0]]), torch.tensor([0])
    found = distil_loss(student, fuse(teacher[None], temperature), target, alpha, temperature)
    assert float(found) == pytest.approx(expected, abs=1e-6)
    torch.testing.assert_close(found, losses.distillation(student, teacher, target, alpha, temperature))


def test_teachers_are_averaged_after_softening() -> None:
    logits = torch.tensor([[[6.0, 0.0]], [[-6.0, 0.0]], [[0.0, 0.0]]])
    assert torch.allclose(fuse(logits, 6.0), torch.tensor([[0.5, 0.5]]))
    two = fuse(logits[[0, 2]], 6.0)
    assert torch.allclose(two, torch.tensor([[(0.7310586 + 0.5) / 2, (0.2689414 + 0.5) / 2]]))
    assert not torch.allclose(two, (logits[[0, 2]].mean(0) / 6).softmax(1), atol=1e-4)


def test_a_student_that_says_what_the_teachers_say_has_no_soft_loss() -> None:
    fused = torch.tensor([[0.8, 0.2]])
    same = fused.log() * 6
    assert float(distil_loss(same, fused, torch.tensor([0]), alpha=1)) == pytest.approx(0, abs=1e-6)
    assert float(distil_loss(-same, fused, torch.tensor([0]), alpha=1)) > 1


def test_weighted_cross_entropy() -> None:
    """N16: weights 1 to 5."""
    logits, weight = torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([1.0, 5.0])
    found = functional.cross_entropy(logits, torch.tensor([0, 1]), weight)
    assert float(found) == pytest.approx(1.146595, abs=1e-6)


@pytest.mark.parametrize("passed, before, num, g", [
    (False, 0, 0, False), (False, 2, 0, False), (False, 7, 0, False),
    (True, 0, 1, False), (True, 1, 2, False), (True, 2, 3, True), (True, 7, 8, True),
])  # fmt: skip
def test_gate_truth_table(passed: bool, before: int, num: int, g: bool) -> None:
    """N15, the literal rule."""
    gate = ControlGate(latch=False)
    gate.num.fill_(before)
    assert (gate.observe(0.9 if passed else 0.8999), int(gate.num)) == (g, num)


def test_folds_are_by_patient_and_alike_in_class() -> None:
    truth = np.array([0, 1] * 50)
    patients = [f"p{number // 4}" for number in range(80)] + [""] * 20
    found = folds_of(truth, patients, 5, 666)
    assert np.array_equal(found, folds_of(truth, patients, 5, 666))
    assert sorted(set(found.tolist())) == [0, 1, 2, 3, 4]
    for patient in {p for p in patients if p}:
        assert len({found[n] for n, p in enumerate(patients) if p == patient}) == 1
    assert len(set(found[80:].tolist())) > 1  # films of patients unknown are not one patient
    for fold in range(5):
        assert 0.4 <= truth[found == fold].mean() <= 0.6


class Mean(nn.Module):
    """Stands in for a teacher: what is learnt here is the wiring."""

    def __init__(self, plan: object, classes: int = 2) -> None:
        super().__init__()
        self.line = nn.Linear(3, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.line(x.mean((2, 3)))  # type: ignore[no-any-return]


def films(count: int = 240) -> Films:
    """Bright against dark pictures of four channels, the last of which the network must not see."""
    random = np.random.default_rng(0)
    truth = torch.arange(count) % 2
    pictures = random.integers(0, 60, (count, 8, 8, 4)).astype(np.uint8)
    pictures[truth.numpy() == 1, ..., :3] += 180
    chosen = torch.arange(0, count, 1)[: count - 20].flip(0)

    def augmented(batch: torch.Tensor, random: torch.Generator) -> torch.Tensor:
        assert batch.shape[1] == 4
        return batch[:, :3] + 0.01 * torch.randn(batch[:, :3].shape, generator=random)

    patients = [f"p{number // 2}" for number in range(len(chosen))]
    sampling = torch.ones(len(chosen), dtype=torch.float64)
    return Films(pictures, truth, chosen, patients, augmented, lambda batch: batch[:, :3], sampling)


def run(out: Path, resume: bool = False, epochs: int = 6) -> Run:
    return Run(out, epochs, 666, torch.device("cpu"), resume, lambda progress: 10.0)


@pytest.fixture(scope="module", autouse=True)
def quick() -> Iterator[None]:
    """Two threads on a line of six weights only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distillation, "Teacher", Mean)
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> tuple[Films, SoftTargets, Path]:
    out = tmp_path_factory.mktemp("teachers")
    return films(), train_teachers(films(), run(out)), out


@pytest.fixture
def taught(first: tuple[Films, SoftTargets, Path], tmp_path: Path) -> tuple[Films, SoftTargets, Path]:
    """What one run left, to be changed at will."""
    given, soft, out = first
    shutil.copytree(out, tmp_path / "run")
    return given, soft, tmp_path / "run"


def test_soft_targets_of_every_training_film(taught: tuple[Films, SoftTargets, Path]) -> None:
    given, soft, _ = taught
    assert soft.logits.shape == (4, 220, 2)
    places = torch.tensor([0, 7, 219])
    fused = soft.of(places)
    torch.testing.assert_close(fused.sum(1), torch.ones(3))
    assert torch.equal(fused.argmax(1), given.truth[given.chosen[places]])
    assert list(soft.accuracy) == list(PLANS)
    assert all(figure.value > 0.9 and 35 <= figure.cases <= 55 for figure in soft.accuracy.values())


def test_each_teacher_leaves_its_own_fold_out(taught: tuple[Films, SoftTargets, Path]) -> None:
    _, soft, out = taught
    with np.load(out / "cache" / "cnncf-teachers.npz") as arrays:
        sizes = [int((arrays["folds"] == number).sum()) for number in range(4)]
    assert [figure.cases for figure in soft.accuracy.values()] == sizes
    assert not torch.equal(soft.logits[0], soft.logits[1])


def test_what_is_taught_is_used_again_and_only_for_the_same_films(
    taught: tuple[Films, SoftTargets, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    given, soft, out = taught

    def refuse(*_: object) -> None:
        raise AssertionError("taught again")

    monkeypatch.setattr(distillation, "_teach", refuse)
    again = train_teachers(given, run(out))
    assert torch.equal(again.logits, soft.logits) and again.accuracy == soft.accuracy
    with pytest.raises(AssertionError, match="taught again"):
        train_teachers(given, run(out, epochs=3))
    other = dataclasses.replace(given, truth=1 - given.truth)
    with pytest.raises(AssertionError, match="taught again"):
        train_teachers(other, run(out))


def test_finished_teachers_are_not_trained_again_after_a_kill(taught: tuple[Films, SoftTargets, Path]) -> None:
    """The checkpoints alone, without the cache, give the same targets to the bit."""
    given, soft, out = taught
    (out / "cache" / "cnncf-teachers.npz").unlink()
    before = {path: path.stat().st_mtime_ns for path in out.glob("*.checkpoint")}
    assert len(before) == 4
    assert torch.equal(train_teachers(given, run(out, resume=True)).logits, soft.logits)
    assert {path: path.stat().st_mtime_ns for path in out.glob("*.checkpoint")} == before


def test_a_teacher_learns() -> None:
    torch.manual_seed(0)
    net = Teacher(PLANS["ts3"])
    y = torch.arange(8) % 2
    x = 0.1 * torch.rand(8, 3, 64, 64, generator=torch.Generator().manual_seed(0)) + 0.8 * y[:, None, None, None]
    optimiser = torch.optim.SGD(net.parameters(), 0.01, momentum=0.9)
    losses_seen = []
    for _ in range(5):
        loss = functional.cross_entropy(net(x), y)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses_seen.append(loss.item())
    assert losses_seen[-1] < 0.8 * losses_seen[0]
