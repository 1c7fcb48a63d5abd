"""Networks that several lanes ask together: everyone gets what it would have got alone, in fewer passes.

A network that keeps count stands in where the passes matter; the systems that ship where their answers do. Not covered:
a GPU; how much is won (``python -m tests.bench lanes``).
"""

from __future__ import annotations

import dataclasses
import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from models import registry as registries
from models.api import LITTLE_MEMORY, Card, ImageInput, LungField, Prediction
from models.registry import Registry
from models.systems.cnncf import CNNCFXray
from models.systems.cxnet import CXNetSystem
from models.systems.twostep import TwoStepSystem
from models.systems.unet_lung import UNetLung
from models.together import Attended, Company, Gathering, Outputs, Together
from tests.models import made
from tests.pipeline.fakes import Fake

FOR_EVER = 60.0  # seconds that no test waits


class Counting:
    """Twice and thrice the pictures; ``sizes`` of all passes. A picture below 0 breaks the pass that it is in, and more
    than ``room`` pictures do not fit."""

    def __init__(self, room: int = 1000) -> None:
        self.sizes: list[int] = []
        self.room = room

    def __call__(self, x: Tensor) -> Outputs:
        if len(x) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        if bool((x < 0).any()):
            raise ValueError("a negative picture")
        self.sizes.append(len(x))
        return 2 * x, 3 * x


def company(inside: int) -> Company:
    found = Company()
    found.add(inside=inside)
    return found


def ask_all(asks: list[tuple[Together, Tensor]]) -> list[Outputs | Exception]:
    """Each from a thread of its own."""

    def one(ask: Together, x: Tensor) -> Outputs | Exception:
        try:
            return ask(x)
        except Exception as error:  # noqa: BLE001 - it is what is looked at
            return error

    with ThreadPoolExecutor(len(asks)) as threads:
        return list(threads.map(one, *zip(*asks, strict=True)))


def picture(value: float, count: int = 1, side: int = 2) -> Tensor:
    return torch.full((count, 3, side, side), value)


def is_of(answer: Outputs | Exception, x: Tensor) -> bool:
    return isinstance(answer, tuple) and all(torch.equal(a, n * x) for n, a in zip((2, 3), answer, strict=True))


def test_one_alone_does_not_wait() -> None:
    net = Counting()
    assert is_of(Together(net, 8, FOR_EVER, company(1))(picture(1)), picture(1))
    assert net.sizes == [1]


def test_a_batch_closes_when_all_who_may_come_have_come() -> None:
    net, given = Counting(), [picture(n) for n in range(4)]
    together = Together(net, 8, FOR_EVER, company(4))
    answers = ask_all([(together, x) for x in given])
    assert all(is_of(answer, x) for answer, x in zip(answers, given, strict=True))
    assert net.sizes == [4] and (together.passes, together.pictures) == (1, 4)


def test_a_batch_closes_when_it_is_full() -> None:
    """Somebody else is inside a system and asks nothing."""
    net = Counting()
    together = Together(net, 2, FOR_EVER, company(9))
    ask_all([(together, picture(n)) for n in range(4)])
    assert net.sizes == [2, 2]


def test_a_batch_closes_after_its_time() -> None:
    net = Counting()
    assert is_of(Together(net, 8, 0.001, company(2))(picture(1)), picture(1))


def test_pictures_of_other_shapes_do_not_meet() -> None:
    """They would not fit into one batch."""
    given = [picture(1), picture(2, side=4), picture(3), picture(4, side=4)]
    together = Together(Counting(), 8, 0.05, company(4))
    answers = ask_all([(together, x) for x in given])
    assert all(is_of(answer, x) for answer, x in zip(answers, given, strict=True))


@pytest.mark.parametrize("seed", range(4))
def test_whoever_asks_gets_its_own(seed: int) -> None:
    """Several networks, calls of several pictures, bad ones among them: any order, no answer goes astray."""
    chance = random.Random(seed)
    nets, shared = [Counting(), Counting()], Company()
    asked = [Together(net, 6, 0.002, shared) for net in nets]
    given = [picture(n, chance.randint(1, 5), chance.choice((2, 4))) for n in range(60)]
    bad = set(chance.sample(range(60), 6))
    given = [-x - 1 if n in bad else x for n, x in enumerate(given)]
    to = [chance.choice(asked) for _ in given]

    def one(together: Together, x: Tensor) -> Outputs | Exception:
        shared.add(inside=1)
        try:
            return together(x)
        except ValueError as error:
            return error
        finally:
            shared.add(inside=-1)

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(one, to, given))
    assert {n for n, answer in enumerate(answers) if isinstance(answer, ValueError)} == bad
    assert all(is_of(answers[n], given[n]) for n in range(60) if n not in bad)
    assert max(max(net.sizes) for net in nets) <= 6
    assert sum(sum(net.sizes) for net in nets) == sum(len(given[n]) for n in range(60) if n not in bad)
    assert (shared.inside, shared.asking) == (0, 0)


def test_one_pass_at_a_time_is_on_the_device() -> None:
    gate = threading.Barrier(2, timeout=0.05)
    met: list[bool] = []

    def net(x: Tensor) -> Outputs:
        try:
            gate.wait()
            met.append(True)
        except threading.BrokenBarrierError:
            met.append(False)
        return (x,)

    shared = Company()
    ask_all([(Together(net, 1, 0.0, shared), picture(1)), (Together(net, 1, 0.0, shared), picture(2))])
    assert met == [False, False]


def test_a_batch_that_does_not_fit_is_halved_and_stays_so() -> None:
    net, given = Counting(room=3), [picture(n) for n in range(8)]
    together = Together(net, 8, FOR_EVER, company(8))
    answers = ask_all([(together, x) for x in given])
    assert all(is_of(answer, x) for answer, x in zip(answers, given, strict=True))
    assert sum(net.sizes) == 8 and max(net.sizes) <= 3 and together.most == 2


def test_a_picture_that_fits_nowhere_is_the_callers_own() -> None:
    together = Together(Counting(room=0), 8, FOR_EVER, company(2))
    answers = ask_all([(together, picture(n)) for n in range(2)])
    assert all(isinstance(answer, torch.OutOfMemoryError) for answer in answers) and together.most == 1


class Small:
    """A system whose network has no room on any device but the CPU."""

    def __init__(self, card: Card, device: str) -> None:
        self.card, self._fake = card, Fake("one", "film", 0.9)
        self._net = Counting(room=1000 if device == "cpu" else 0)
        self.ask: Callable[[Tensor], Outputs] = self._net

    def predict(self, image: ImageInput, lungs: LungField | None) -> Prediction:
        self.ask(picture(1))
        return self._fake.predict(image, lungs)


def test_where_one_picture_does_not_fit_the_cpu_judges_its_study(monkeypatch: pytest.MonkeyPatch) -> None:
    card = dataclasses.replace(Fake("one", "film").card, entry_point="tests.models.test_together:Small")
    monkeypatch.setattr(registries, "read_cards", lambda _: [card])
    system = Registry(Path("none"), lanes=2).load_film_system("one", "cuda")
    found = system.predict(ImageInput(np.zeros((64, 64), np.float32), "1.2.3"), None)
    assert found.notes == (f"{LITTLE_MEMORY}: one judged on the CPU.",)


def test_a_single_lane_asks_its_networks_itself() -> None:
    """So that without lanes nothing is as it would be with them."""
    single = Registry(made.WEIGHTS).load_film_system("two-step")
    several: Any = Registry(made.WEIGHTS, lanes=2).load_film_system("two-step")
    assert isinstance(single, TwoStepSystem) and not isinstance(single.ask, Together)
    assert isinstance(several, Attended) and isinstance(several._system.ask, Together)


FILMS = [made.film(256, f"1.2.{seed}", seed) for seed in (1, 2, 3)]
CARDS = {card.system: card for card in Registry(made.WEIGHTS).cards()}


def at_once(system: Any, question: Callable[[ImageInput], Any]) -> list[Any]:
    """Of all films, in one batch: it is full with the last of them."""
    gathering = Gathering(len(FILMS), FOR_EVER)
    together = gathering.shared(system).ask
    gathering._company.add(inside=len(FILMS) + 1)
    with ThreadPoolExecutor(len(FILMS)) as threads:
        found = list(threads.map(question, FILMS))
    assert together.pictures == together.passes * len(FILMS)
    return found


@pytest.mark.parametrize("name, kind", [("cxnet", CXNetSystem), ("cnncf-xr", CNNCFXray), ("two-step", TwoStepSystem)])
def test_a_film_in_a_batch_is_judged_as_one_alone(name: str, kind: type) -> None:
    system = kind(CARDS[name], "cpu")

    def judged(film: ImageInput) -> Prediction:
        found: Prediction = system.predict(film, made.field(film.shape, CARDS[name]))
        return found

    alone = [judged(film) for film in FILMS]
    for one, other in zip(alone, at_once(system, judged), strict=True):
        assert [a.probability for a in one.scores] == pytest.approx([b.probability for b in other.scores], abs=1e-5)
        assert one.heat is not None and other.heat is not None and np.allclose(one.heat, other.heat, atol=1e-3)
        assert one.decided_class == other.decided_class and len(one.lesions) == len(other.lesions)


def test_the_lungs_of_a_film_in_a_batch_are_those_of_one_alone() -> None:
    system = UNetLung(CARDS["unet-lung"], "cpu")
    alone = [system.probability(film) for film in FILMS]
    for one, other in zip(alone, at_once(system, system.probability), strict=True):
        assert np.allclose(one, other, atol=1e-5)
