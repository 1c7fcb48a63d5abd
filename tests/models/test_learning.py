"""Every network learns (N38), and a run that is killed and resumed ends as one that was never stopped.

The networks of cxnet, cnncf-xr, its teachers, fcdensenet, two-step and bit-ct learn in the tests of their systems. The
killed process trains on drawn films, with lung fields that were not searched for.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from models.nets.basemodel import BaseModel, two_classes
from models.nets.cnnrf import CNNRF
from models.systems.cnncf_ct import StudyNet
from models.systems.patches import build as patch_network
from models.training import cxnet_binary, data, lungs
from models.training.cnnrf import masked_mse
from models.training.losses import dice_and_bce
from models.training.train import main
from tests.models import made
from tests.peers import wait_until

Built = tuple[nn.Module, Callable[[nn.Module], Tensor]]
LABELS = torch.arange(8) % 2


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def two_kinds(channels: int, side: int) -> Tensor:
    """(8, channels, side, side): dark and bright pictures with noise."""
    noise = torch.rand(8, channels, side, side, generator=torch.Generator().manual_seed(0))
    return 0.2 * noise + 0.6 * LABELS[:, None, None, None]


def lung_field() -> Built:
    x = two_kinds(1, 32)[:2]
    y = torch.from_numpy(made.two_lungs((32, 32))).float().expand(2, 1, 32, 32)
    return lungs.build(), lambda net: dice_and_bce(net(x - 0.5 * y), y)


def patches() -> Built:
    x = two_kinds(3, 48)
    return patch_network(2), lambda net: functional.cross_entropy(net(x), LABELS)


def base_model() -> Built:
    x, net = two_kinds(3, 64), cxnet_binary._ready_to_learn(BaseModel(1, 64))
    return net, lambda net: functional.cross_entropy(two_classes(net(x)), LABELS)


def indicators() -> Built:
    x, wanted = two_kinds(3, 32), torch.stack((LABELS.float(), 1 - LABELS.float()), 1)
    wanted[0, 0] = float("nan")
    return CNNRF(2), lambda net: masked_mse(net(x), wanted)


def whole_studies() -> Built:
    x = two_kinds(300, 64)
    return StudyNet(2, 64), lambda net: torch.stack([functional.cross_entropy(z, LABELS) for z in net(x)]).sum()


@pytest.mark.parametrize("make", [lung_field, patches, base_model, indicators, whole_studies], ids=lambda m: m.__name__)
def test_a_few_steps_lower_the_loss(make: Callable[[], Built]) -> None:
    """N38."""
    torch.manual_seed(0)
    net, loss_of = make()
    optimiser, losses = torch.optim.Adam(net.parameters(), 1e-3), []
    for _ in range(12):
        loss = loss_of(net)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert min(losses[-3:]) < 0.8 * losses[0]


EPOCHS = 20  # of one batch each


def in_a_process(folder: Path, out: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "models.training", "two-step", "--data", str(folder), "--out", str(out)]
    return subprocess.Popen(
        [*command, "--device", "cpu", "--epochs", str(EPOCHS)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        cwd=Path(__file__).parents[2],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def test_killed_and_resumed_it_has_the_losses_and_weights_of_a_run_never_stopped(tmp_path: Path) -> None:
    folder = made.film_folder(tmp_path / "data", each=8)  # 32 to train on, one batch
    count = len(data.classifier_cases(folder))
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    (whole / "cache").mkdir(parents=True)
    fields = np.repeat(made.two_lungs((256, 256))[None], count, axis=0)
    np.savez(whole / "cache" / f"fields-films-{count}.npz", allow_pickle=False, fields=fields)
    assert main("two-step", folder, whole, device="cpu", epochs=EPOCHS) == 0
    shutil.copytree(whole / "cache", broken / "cache")
    checkpoint = broken / "two-step.checkpoint"
    first = in_a_process(folder, broken)
    wait_until(lambda: checkpoint.exists() or first.poll() is not None, 120, "a checkpoint", every=0.01)
    first.send_signal(signal.SIGKILL)
    assert first.wait() == -signal.SIGKILL
    done = int(torch.load(checkpoint, weights_only=True)["epoch"])
    assert not (broken / "two-step.safetensors").exists()
    assert main("two-step", folder, broken, device="cpu", epochs=EPOCHS, resume=True) == 0
    one, other = (torch.load(out / "two-step.checkpoint", weights_only=True) for out in (whole, broken))
    assert 0 < done < one["epoch"] == other["epoch"] == len(one["losses"]) == EPOCHS
    assert one["losses"] == other["losses"]
    assert (whole / "two-step.safetensors").read_bytes() == (broken / "two-step.safetensors").read_bytes()
