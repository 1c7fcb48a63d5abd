"""How many workers a node has and which GPU each: as torch says, and as CUDA_VISIBLE_DEVICES leaves of them.

torch is answered for here; what it says of a machine without a GPU is asked once. Not covered: a machine with GPUs.
"""

from __future__ import annotations

import dataclasses
import os

import pytest
import torch

from node.composition import workers
from node.composition.workers import Workers, workers_of
from node.core import settings
from node.core.errors import Misconfigured
from node.core.settings import Settings


def wanted(device: str, count: int = 1, role: str = "all", url: str = "") -> Settings:
    flags = {
        ("analysis", "device"): device, ("node", "workers"): count, ("queue", "roles"): [role], ("database", "url"): url
    }  # fmt: skip
    return settings.load(flags=flags)


def seen(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(workers, "_seen", lambda environment: count)


@pytest.mark.parametrize(
    "device, there, visible, gpus",
    [
        ("cpu", 4, "", ()),
        ("auto", 0, "", ()),
        ("auto", 2, "", ("0", "1")),
        ("cuda", 3, "", ("0", "1", "2")),
        ("cuda", 2, "3,5", ("3", "5")),
        ("cuda", 2, "GPU-aa, MIG-bb", ("GPU-aa", "MIG-bb")),
        ("cuda", 1, "2,9", ("2",)),
    ],
)
def test_each_gpu_that_torch_sees_has_one_worker(
    device: str, there: int, visible: str, gpus: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen(monkeypatch, there)
    found = workers_of(wanted(device, count=2), {"CUDA_VISIBLE_DEVICES": visible})
    assert (found.gpus, found.count) == (gpus, max(len(gpus), 2)), "more workers than GPUs share them"


def test_each_worker_is_started_with_its_own() -> None:
    """Also the one that takes the place of another."""
    made = Workers(2, ("3", "GPU-aa"), 1)
    flags = [made.flags(f"worker-{number}") for number in (1, 2, 3, 4)]
    assert flags == [["--gpu", "3"], ["--gpu", "GPU-aa"]] * 2
    assert Workers(2, (), 1).flags("worker-1") == []


def test_a_gpu_that_is_asked_for_and_not_there_refuses_to_start(monkeypatch: pytest.MonkeyPatch) -> None:
    seen(monkeypatch, 0)
    with pytest.raises(Misconfigured, match="torch sees no GPU"):
        workers_of(wanted("cuda"), {})


@pytest.mark.parametrize("device", ["cuda", "auto"])
def test_who_analyses_nothing_asks_for_no_gpu(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen(monkeypatch, -1)
    assert workers_of(wanted(device, count=0), {}).count == 0
    assert workers_of(wanted(device, role="receiver", url="postgresql://db/x"), {}) == Workers(
        0, (), os.cpu_count() or 1
    )


def test_the_cores_are_divided_among_the_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    seen(monkeypatch, 2)
    monkeypatch.setattr(os, "cpu_count", lambda: 9)
    assert workers_of(wanted("cuda"), {}).environment()["OMP_NUM_THREADS"] == "4"
    own = dataclasses.replace(wanted("cuda"), node=dataclasses.replace(wanted("cuda").node, threads_per_worker=3))
    assert workers_of(own, {}).threads == 3


def test_torch_itself_is_asked() -> None:
    assert workers._seen(os.environ) == torch.cuda.device_count()


def test_a_torch_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers.sys, "executable", "/no/python")
    with pytest.raises(Misconfigured, match="torch cannot be asked"):
        workers_of(wanted("auto"), {})


@pytest.mark.parametrize(
    "key, value", [("studies", 0), ("studies", 65), ("batch", 0), ("memory_mib", -1), ("wait_milliseconds", -1.0)]
)
def test_lanes_that_cannot_be_are_refused(key: str, value: float) -> None:
    with pytest.raises(Misconfigured, match=f"lanes.{key}"):
        settings.load(flags={("lanes", key): value})
