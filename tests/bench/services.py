"""What a film and a CT cost the shipped pipeline: processor time of one worker with one thread, by a real node.

Processor time, since a worker with a core of its own takes as long as that, and a machine that does other work at the
same time does not change it much. Which part of it is the models' is said by the worker's own stages.
"""

from __future__ import annotations

import contextlib
import csv
import json
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
from PIL import Image
from pydicom import Dataset

from tests.bench.costing import took
from tests.conftest import DATA
from tests.films import CR, Film, drawn, encoded, grey, wrap
from tests.peers import Storescp, wait_until
from tests.pipeline.slices import Scan, scan, thorax
from tests.sending import store
from tests.served import LungnodeProcess

FILMS, SLICES = 4, (60, 120)
FILM_SIDE, CT_SIDE = 2048, 512
SETTINGS = "[node]\nthreads_per_worker = 1\n\n[completeness]\nquiet_seconds = 0.5\nquiet_seconds_film = 0.5\n"


@dataclass(frozen=True)
class Service:
    """seconds: of a worker's processor; models: the share of them that its models took; after: from the end of the
    analysis to the last result delivered, by the clock."""

    what: str
    kind: str
    seconds: float
    models: float
    after: float

    def with_models(self, speedup: float) -> float:
        """Seconds where the models are so many times as fast and all else stays."""
        return self.seconds * (1 - self.models + self.models / speedup)


def measure(quick: bool = False) -> list[Service]:
    with (
        Storescp("--ignore") as pacs,
        LungnodeProcess(settings=SETTINGS, send_to=[pacs.address], environment={"OMP_NUM_THREADS": "1"}) as node,
    ):
        wait_until(lambda: node.events("worker.ready"), 240, "the worker is ready")
        _one(node, "first", "film", [_drawn("first")])
        found = [_one(node, what, "film", [film]) for what, film in _films(2 if quick else FILMS)]
        for slices in (24,) if quick else SLICES:
            side = 128 if quick else CT_SIDE
            series = scan(Scan(f"capacity {slices}", voxels=thorax(slices, side)))
            found.append(_one(node, f"CT of {slices} slices of {side} x {side}", "ct", series))
    return found


def _one(node: LungnodeProcess, what: str, kind: str, images: list[Dataset]) -> Service:
    worker = _worker(node)
    before = _processor(worker)
    assert set(store(node.dicom_port, [encoded(image) for image in images])) == {0x0000}
    uid = str(images[0].StudyInstanceUID)
    node.wait_settled([uid], 600)
    seconds = _processor(worker) - before
    (row,) = node.rows(
        "SELECT stage_seconds FROM analyses JOIN studies ON studies.id = study_id WHERE study_uid = ?", uid
    )
    stages = {name: float(value) for name, value in json.loads(row["stage_seconds"]).items()}
    models = sum(value for name, value in stages.items() if name.startswith(("segment", "model", "biomarkers")))
    (moments,) = took(node, [uid])
    sys.stderr.write(f"{what}: {seconds:.1f} s of processor, {moments.service:.1f} s by the clock\n")
    return Service(what, kind, seconds, models / sum(stages.values()), moments.delivered - moments.done)


def _worker(node: LungnodeProcess) -> psutil.Process:
    for process in node.processes():
        with contextlib.suppress(psutil.NoSuchProcess):
            if "worker" in process.cmdline():
                return process
    raise AssertionError("no worker runs")


def _processor(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _drawn(name: str) -> Dataset:
    return wrap(Film(drawn(1, FILM_SIDE), name, sop_class=CR))


def _films(count: int) -> list[tuple[str, Dataset]]:
    """Real ones where they are, drawn ones elsewhere."""
    labels = DATA / "cxr" / "labels.csv"
    if not labels.is_file():
        return [(f"drawn film of {FILM_SIDE} x {FILM_SIDE}", _drawn(f"capacity {n}")) for n in range(count)]
    with labels.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "test"]
    chosen = [DATA / "cxr" / row["file"] for row in rows[:: max(1, len(rows) // count)][:count]]
    return [_real(path) for path in chosen]


def _real(path: Path) -> tuple[str, Dataset]:
    """Those of the public sets are small: enlarged to what a detector gives."""
    small = grey(path)
    rows = round(FILM_SIDE * small.shape[0] / small.shape[1])
    picture = np.asarray(Image.fromarray(small).resize((FILM_SIDE, rows)))
    return f"film of {FILM_SIDE} x {rows}", wrap(Film(picture, f"capacity {path.stem}", sop_class=CR))


def table(services: list[Service]) -> str:
    """Markdown: films together, each CT by itself."""
    lines = ["| study | processor seconds of a worker | of which models | delivered after, s |", "|---|---|---|---|"]
    films = [one for one in services if one.kind == "film"]
    seconds = [one.seconds for one in films]
    lines.append(
        f"| {len(films)} films, {films[0].what.removeprefix('film of ')} and alike: mean (least..most) |"
        f" {statistics.mean(seconds):.2f} ({min(seconds):.2f}..{max(seconds):.2f}) |"
        f" {100 * statistics.mean(one.models for one in films):.0f} % |"
        f" {statistics.median(one.after for one in films):.2f} (median) |"
    )
    for one in services:
        if one.kind == "ct":
            lines.append(f"| {one.what} | {one.seconds:.2f} | {100 * one.models:.0f} % | {one.after:.2f} |")
    return "\n".join(lines)
