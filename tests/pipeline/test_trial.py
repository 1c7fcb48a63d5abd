"""What ``lungnode select`` foresees is what an analysis does: the same images, taken or left, in the same words.

Systems are made up (``fakes``); what a real system refuses on sight is not foreseen and not covered.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from pydicom import Dataset

from node.core import settings
from node.core.job import JobKind
from node.core.settings import Analysis
from node.db import jobs
from node.pipeline.analyse import Analyse
from node.pipeline.rules import Rules, load
from node.pipeline.trial import Trial
from tests.films import Film, drawn, wrap
from tests.pipeline.fakes import Fake, FakeRegistry
from tests.pipeline.slices import Scan, change, scan, stored
from tests.pipeline.waiting import Room

WANTED = Analysis("lungs", "lungs", ("one",), ("slices",), (), False, "cpu", 3)


def systems() -> FakeRegistry:
    old = Fake("slices", "ct")
    old.card = dataclasses.replace(old.card, minimum_age_years=30)
    return FakeRegistry(Fake("lungs", "lungs"), Fake("one", "film"), old)


def films() -> list[Dataset]:
    """Frontal, lateral, the frontal once more, one overexposed."""
    whole = drawn(3, 128)
    burnt = (whole.astype(int) * 4).clip(0, 4095).astype(whole.dtype)
    return [
        wrap(Film(whole, "frontal", "mixed")),
        wrap(Film(drawn(4, 128), "lateral", "mixed", view="LL")),
        wrap(Film(whole, "again", "mixed")),
        wrap(Film(burnt, "burnt", "mixed")),
    ]


def study(**ct: object) -> list[Dataset]:
    slices = scan(Scan("thin", "mixed"), **ct)
    change(slices[0], ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    return [*films(), *slices, *scan(Scan("thick", "mixed", 4), **ct)]


def done(folder: Path, data_sets: list[Dataset], rules: Rules) -> set[tuple[str, bool, str]]:
    """(SOP Instance UID, taken, sentence), as an analysis stores it."""
    room = Room(folder)
    for ds in data_sets:
        room.take(ds)
    room.clock.pass_by(100)
    room.close()
    with room.database.write() as session:
        job = jobs.claim(session, JobKind.ANALYSE, "w", "t", room.clock())
    assert job is not None
    whole = dataclasses.replace(settings.load(), analysis=WANTED)
    Analyse(room.database, room.archive, systems(), whole, "0.1.0", room.clock, rules=rules)(job)
    rows = room.rows("SELECT sop_uid, taken, reason FROM selections")
    return {(str(row["sop_uid"]), bool(row["taken"]), str(row["reason"])) for row in rows}


def foreseen(folder: Path, data_sets: list[Dataset], rules: Rules) -> set[tuple[str, bool, str]]:
    ordered = sorted(data_sets, key=lambda ds: (ds.SeriesInstanceUID, ds.InstanceNumber, ds.SOPInstanceUID))
    instances = [stored(ds, folder) for ds in ordered]
    trial = Trial(WANTED, rules, systems().cards())
    alone = [trial.said(instances)[instance.sop_instance_uid] for instance in instances]
    return {(i.sop_instance_uid, one.taken, one.sentence) for i, one in zip(instances, alone, strict=True)}


@pytest.mark.parametrize(
    "text, ct",
    [
        ("", {}),
        ("", {"PatientAge": "029Y"}),
        ('[choice]\norder = ["number"]\n[picture.duplicate]\ndoes = "nothing"\n[image.view]\ndoes = "say"\n', {}),
        ("[image.thickness]\nmost = 3\n", {}),
    ],
)
def test_an_analysis_does_what_was_foreseen(text: str, ct: dict[str, object], tmp_path: Path) -> None:
    file = tmp_path / "site.toml"
    file.write_text(text, encoding="utf-8")
    rules = load(file)
    (tmp_path / "foreseen").mkdir()
    expected = foreseen(tmp_path / "foreseen", study(**ct), rules)
    assert done(tmp_path, study(**ct), rules) == expected
    assert {taken for _, taken, _ in expected} == {True, False} and len(expected) == 14
