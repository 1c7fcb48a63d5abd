"""Where the memory of a device does not suffice: smaller batches, then the CPU; the answer and the story say so.

With systems that raise as torch does. Not covered: a real device that is full; that batches of another size give the
same answer (they hold whole slices or patches, which no layer mixes).
"""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

import numpy as np
import pytest
import torch

from models import registry as registries
from models.api import LITTLE_MEMORY, Card, ImageInput, LungField, Prediction, RefusedInput
from models.frugal import Frugal
from node.core.job import JobKind
from node.db import jobs
from node.pipeline.analyse import Analyse
from tests.films import Film, drawn
from tests.pipeline.fakes import Fake
from tests.pipeline.test_judge import registry
from tests.pipeline.test_superseding import wishes
from tests.pipeline.waiting import Room

FILM = ImageInput(np.zeros((64, 64), np.float32), "1.2.3")


class Tiny:
    """A system on a device with room for ``room`` pictures at once; the CPU has room for all."""

    def __init__(self, device: str, room: int, batch: int | None) -> None:
        self.fake, self.room, self.device = Fake("one", "film", 0.9), room, device
        self.card: Card = self.fake.card
        self.tried: list[int] = []
        if batch is not None:
            self.batch = batch

    def predict(self, image: ImageInput, lungs: LungField | None) -> Prediction:
        self.tried.append(getattr(self, "batch", 1))
        if self.device != "cpu" and self.tried[-1] > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return self.fake.predict(image, lungs)


def frugal(room: int, batch: int | None) -> tuple[Frugal, dict[str, Tiny]]:
    """The system, and what was built for it by device."""
    built: dict[str, Tiny] = {}

    def build(device: str) -> Tiny:
        built[device] = Tiny(device, room, batch)
        return built[device]

    return Frugal(build, "cuda"), built


@pytest.mark.parametrize("room, tried", [(50, [50]), (20, [50, 25, 12]), (1, [50, 25, 12, 6, 3, 1])])
def test_the_batch_is_halved_until_it_fits(room: int, tried: list[int]) -> None:
    system, built = frugal(room, 50)
    answer = system.predict(FILM, None)
    assert built["cuda"].tried == tried and "cpu" not in built
    assert answer.decided_class == "covid19"
    said = f"{LITTLE_MEMORY}: one judged in batches of {tried[-1]}."
    assert answer.notes == (() if len(tried) == 1 else (said,))
    assert system.predict(FILM, None).notes == (), "the smaller batch is kept"
    assert built["cuda"].tried == [*tried, tried[-1]]


@pytest.mark.parametrize("batch", [4, None])
def test_where_nothing_fits_the_cpu_judges_this_one(batch: int | None, caplog: pytest.LogCaptureFixture) -> None:
    system, built = frugal(0, batch)
    with caplog.at_level(logging.WARNING):
        answer = system.predict(FILM, None)
        again = system.predict(FILM, None)
    assert answer.notes == again.notes == (f"{LITTLE_MEMORY}: one judged on the CPU.",)
    assert built["cpu"].tried == [batch or 1] * 2 and len(built["cuda"].tried) == (4 if batch else 2)
    events = [record.__dict__["fields"] for record in caplog.records if record.message == "model.little_memory"]
    assert events[-1] == {"system": "one", "batch": 0}


def test_a_film_that_is_refused_is_not_tried_again() -> None:
    system, built = frugal(50, 50)
    built["cuda"].fake.refuses = "It is no film."
    with pytest.raises(RefusedInput, match="no film"):
        system.predict(FILM, None)
    assert built["cuda"].tried == [50]


def test_the_registry_watches_over_every_device_but_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    card = dataclasses.replace(Fake("one", "film").card, entry_point="tests.models.test_frugal:made")
    monkeypatch.setattr(registries, "read_cards", lambda _: [card])
    found = registries.Registry(Path("none"))
    assert isinstance(found.load_film_system("one", "cuda"), Frugal)
    assert isinstance(found.load_film_system("one", "cpu"), Tiny)


def made(card: Card, device: str) -> Tiny:
    """As an entry point."""
    return Tiny(device, 1, None)


def test_the_story_of_the_study_says_what_was_done(tmp_path: Path) -> None:
    room = Room(tmp_path)
    room.receive(Film(drawn(1, 96), "full"))
    room.clock.pass_by(100)
    room.close()
    with room.database.write() as session:
        job = jobs.claim(session, JobKind.ANALYSE, "w", "t", room.clock())
    assert job is not None
    systems = registry()
    system, _ = frugal(0, None)
    monkey = systems.load_film_system
    systems.load_film_system = lambda name, device="cpu": system if name == "one" else monkey(name, device)  # type: ignore[method-assign,assignment,return-value]
    Analyse(room.database, room.archive, systems, wishes(), "0.1.0", room.clock)(job)
    assert f"{LITTLE_MEMORY}: one judged on the CPU." in room.events() and "Analysed:" in room.events()
