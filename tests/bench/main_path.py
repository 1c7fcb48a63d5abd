"""How long a film takes from the last C-STORE response to the last delivered result, beside the models' own time.

One node with one worker, one Orthanc as destination, films one after another; a first film that loads the models is
left out of the table and named apart. Overhead is all that is neither quiet time (a setting) nor a model at work.
"""

from __future__ import annotations

import csv
import json
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tests.conftest import DATA
from tests.films import CR, Film, Picture, drawn, encoded, grey, wrap
from tests.peers import Orthanc
from tests.sending import store
from tests.served import LungnodeProcess

QUIET_SECONDS = 0.5
SETTINGS = f"[completeness]\nquiet_seconds_film = {QUIET_SECONDS}\n"


@dataclass(frozen=True)
class Timing:
    """Seconds of one film. ``whole``: from the C-STORE response to the destination's last C-STORE response."""

    film: str
    whole: float
    models: float
    stages: dict[str, float]

    @property
    def overhead(self) -> float:
        return self.whole - QUIET_SECONDS - self.models


def measure(count: int = 10) -> list[Timing]:
    """The timings; the first one includes loading the models."""
    with Orthanc() as orthanc, LungnodeProcess(settings=SETTINGS, send_to=[orthanc.address]) as node:
        return [_one(node, name, picture) for name, picture in _pictures(count + 1)]


def table(timings: list[Timing]) -> str:
    """Markdown: one line a film, then the mean and the worst."""
    first, rest = timings[0], timings[1:]
    lines = ["| film | response to delivered, s | quiet time, s | models, s | all else, s |", "|---|---|---|---|---|"]
    for one in rest:
        lines.append(_line(one.film, one.whole, one.models, one.overhead))
    mean = [sum(getattr(one, name) for one in rest) / len(rest) for name in ("whole", "models", "overhead")]
    worst = [max(getattr(one, name) for one in rest) for name in ("whole", "models", "overhead")]
    lines += [_line("**mean**", *mean), _line("**worst**", *worst), ""]
    lines.append(f"The first film, which waits for the models to load: {first.whole:.2f} s.")
    names = sorted({name for one in rest for name in one.stages})
    stages = ", ".join(f"{name} {sum(one.stages.get(name, 0) for one in rest) / len(rest):.3f}" for name in names)
    lines.append(f"Mean seconds by stage: {stages}.")
    return "\n".join(lines)


def _line(name: str, whole: float, models: float, overhead: float) -> str:
    return f"| {name} | {whole:.2f} | {QUIET_SECONDS:.2f} | {models:.2f} | {overhead:.2f} |"


def _one(node: LungnodeProcess, name: str, picture: Picture) -> Timing:
    film = Film(picture, f"bench {name} {time.time_ns()}", sop_class=CR)
    statuses = store(node.dicom_port, [encoded(wrap(film))])
    answered = datetime.now(UTC)
    assert statuses == [0x0000]
    node.wait_settled([film.study_uid], 300)
    (row,) = node.rows(
        "SELECT stage_seconds, max(delivered_at) AS delivered_at FROM deliveries JOIN outputs ON outputs.id = output_id"
        " JOIN analyses ON analyses.id = analysis_id JOIN studies ON studies.id = study_id WHERE study_uid = ?",
        film.study_uid,
    )
    delivered = datetime.fromisoformat(row["delivered_at"]).replace(tzinfo=UTC)
    stages = {str(stage): float(seconds) for stage, seconds in json.loads(row["stage_seconds"]).items()}
    models = sum(seconds for stage, seconds in stages.items() if _is_model(stage))
    return Timing(name, (delivered - answered).total_seconds(), models, stages)


def _is_model(stage: str) -> bool:
    return stage.startswith(("segment", "predict", "model"))


def _pictures(count: int) -> list[tuple[str, Picture]]:
    """Real films where they are, drawn ones elsewhere."""
    labels = DATA / "cxr" / "labels.csv"
    if not labels.is_file():
        return [(f"drawn {n}", drawn(n)) for n in range(count)]
    with labels.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "test"]
    chosen = rows[:: max(1, len(rows) // count)][:count]
    return [(Path(row["file"]).stem, grey(DATA / "cxr" / row["file"])) for row in chosen]
