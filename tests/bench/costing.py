"""A node whose models cost what is asked and nothing else, and what its studies took: the ground of ``scale`` and
``arrivals``.

The models are those of ``tests/bench/standin``; all else is the node as it is, with DCMTK storescp as destination.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Self

import psutil
from pydicom import Dataset

from tests.films import CR, Film, Picture, drawn, wrap
from tests.peers import Storescp, wait_until
from tests.pipeline.slices import Scan, scan, thorax
from tests.served import LungnodeProcess

ROOT = Path(__file__).parents[2]
STANDIN = Path(__file__).parent / "standin"
QUIET_SECONDS = 0.2
SETTINGS = f"""
[receive]
processes = 1

[completeness]
quiet_seconds = {QUIET_SECONDS}
quiet_seconds_film = {QUIET_SECONDS}

[analysis]
segmenter = "standin-lungs"
biomarkers = ""
systems = ["standin-film"]
ct_systems = ["standin-ct"]
indicators = []
ensemble = false
"""


@dataclass(frozen=True)
class Cost:
    """Seconds of one study in the models. works: of processor time; else the worker waits."""

    film: float
    ct: float = 0.0
    works: bool = False


@dataclass(frozen=True)
class Took:
    """Moments of one analysis, seconds since the epoch: its job was made, claimed, done; its last result delivered."""

    study_uid: str
    queued: float
    claimed: float
    done: float
    delivered: float

    @property
    def waited(self) -> float:
        return self.claimed - self.queued

    @property
    def service(self) -> float:
        return self.done - self.claimed


class Patient(LungnodeProcess):
    """Started on a machine that is busy with something else too."""

    def start(self, seconds: float = 240) -> Self:
        return super().start(seconds)


@contextmanager
def node(cost: Cost, workers: int, lanes: int = 1, **more: str) -> Iterator[LungnodeProcess]:
    """A node with one receiver and so many workers, ready; each worker with so many lanes. more: of its environment."""
    environment = {
        "STANDIN": json.dumps(vars(cost)), "PYTHONPATH": f"{STANDIN}:{ROOT}", "LUNGNODE_LANES_STUDIES": str(lanes),
        **more,
    }  # fmt: skip
    flags = ("--workers", str(workers))
    with (
        Storescp("--ignore") as pacs,
        Patient(*flags, settings=SETTINGS, send_to=[pacs.address], environment=environment) as running,
    ):
        wait_until(lambda: len(running.events("worker.ready")) == workers, 120, f"{workers} workers are ready")
        yield running


def film(name: str, picture: Picture) -> Dataset:
    return wrap(Film(picture, name, sop_class=CR))


def films(prefix: str, count: int, size: int) -> list[Dataset]:
    picture = drawn(1, size)
    return [film(f"{prefix} {number}", picture) for number in range(count)]


def ct(name: str) -> list[Dataset]:
    """A small drawn thorax: its cost lies in the models."""
    return scan(Scan(name, voxels=thorax(24, 128)))


def took(running: LungnodeProcess, study_uids: list[str]) -> list[Took]:
    """In the order in which their jobs were made."""
    rows = running.rows(
        "SELECT study_uid, jobs.created_at AS queued, jobs.claimed_at AS claimed, jobs.finished_at AS done,"
        " max(deliveries.delivered_at) AS delivered FROM jobs JOIN studies ON studies.id = jobs.subject_id"
        " JOIN analyses ON analyses.study_id = studies.id JOIN outputs ON outputs.analysis_id = analyses.id"
        " JOIN deliveries ON deliveries.output_id = outputs.id WHERE jobs.kind = 'analyse'"
        " GROUP BY jobs.id ORDER BY jobs.created_at, jobs.id"
    )
    wanted = set(study_uids)
    moments = [
        Took(row["study_uid"], *(_seconds(row[name]) for name in ("queued", "claimed", "done", "delivered")))
        for row in rows
        if row["study_uid"] in wanted
    ]
    assert len(moments) == len(wanted), "every study is analysed once"
    return moments


def _seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()


def processor_seconds(running: LungnodeProcess) -> float:
    """Of all processes of the node until now."""
    total = 0.0
    for process in running.processes():
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system
    return total


def stages(running: LungnodeProcess) -> dict[str, float]:
    """Mean seconds of each stage of the analyses so far."""
    found = [json.loads(row["stage_seconds"]) for row in running.rows("SELECT stage_seconds FROM analyses")]
    return {name: sum(one.get(name, 0.0) for one in found) / len(found) for name in found[0]}
