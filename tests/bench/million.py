"""``python -m tests.bench million``: a node with 1,000,000 instances in its database beside one that began empty.

Ingest of CT slices to both in turn, then C-FIND at both, by one association that asks again and again. The empty node
holds what the measurement itself sent.
"""

from __future__ import annotations

import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pynetdicom.association import Association

from tests.bench import comparison, ingest
from tests.bench.comparison import Wanted, Which
from tests.bench.filled import Made, fill
from tests.bench.receivers import Candidate, Receiver, node
from tests.bench.series import CT
from tests.dimse.asking import PATIENT_ROOT, STUDY_ROOT, asking, identifier

INSTANCES = 1_000_000
PENDING = (0xFF00, 0xFF01)  # PS3.4 Table C.4-1
TIMES = 20  # each query
EMPTY, FULL = "began empty", f"{INSTANCES:,} instances"
WANTED = tuple(Wanted(Which(FULL, number), Which(EMPTY, number), 0.8) for number in (1, 4))


@dataclass(frozen=True)
class Query:
    what: str
    level: str
    keys: Mapping[str, str]

    @property
    def root(self) -> str:
        return PATIENT_ROOT if self.level == "PATIENT" else STUDY_ROOT


@dataclass(frozen=True)
class Answered:
    """milliseconds: from each request to its last response."""

    matches: int
    milliseconds: tuple[float, ...]

    @property
    def words(self) -> str:
        return f"{statistics.median(self.milliseconds):.1f}, {max(self.milliseconds):.1f}"


def measured(quick: bool) -> str:
    """Markdown."""
    with tempfile.TemporaryDirectory(prefix="lungnode-million-") as folder:
        data = Path(folder) / "data"
        began = time.monotonic()
        made = fill(data, INSTANCES // 100 if quick else INSTANCES)
        size = (data / "lungnode.sqlite").stat().st_size / 1e6
        sys.stderr.write(f"filled in {time.monotonic() - began:.0f} s, {size:.0f} MB\n")
        answered: dict[str, list[Answered]] = {}

        @contextmanager
        def opened(name: str, data: Path | None) -> Iterator[Receiver]:
            """Asked when everything has been sent."""
            with node(queries=True, data=data) as receiver:
                yield receiver
                answered[name] = [_answer(receiver.port, query) for query in _queries(made)]

        candidates = [
            Candidate(EMPTY, lambda: opened(EMPTY, None), (1, 4)),
            Candidate(FULL, lambda: opened(FULL, data), (1, 4)),
        ]
        plan = ingest.Plan((CT.fewer(16) if quick else CT,), (1, 4), ("replay",), 1 if quick else 7)
        rates = ingest.measure(plan, candidates)
    return (
        f"{comparison.speeds(rates)}\n\n{comparison.ratios(rates, WANTED)}\n\n"
        f"{comparison.verdict(rates, WANTED)} The database file of {len(made):,} studies has {size:.0f} MB.\n\n"
        f"{_table(_queries(made), answered)}"
    )


def _queries(made: list[Made]) -> list[Query]:
    """Of a CT study in the middle."""
    one = next(one for one in made[len(made) // 2 :] if one.is_ct)
    uid, asked = {"StudyInstanceUID": one.uid}, {"StudyInstanceUID": "", "PatientName": ""}
    return [
        Query("Patient ID", "STUDY", {"PatientID": one.patient_id, **asked}),
        Query("Patient ID, the patient", "PATIENT", {"PatientID": one.patient_id, "PatientName": ""}),
        Query("Accession Number", "STUDY", {"AccessionNumber": one.accession_number, **asked}),
        Query(
            "Study Instance UID, with its number of instances", "STUDY", {**uid, "NumberOfStudyRelatedInstances": ""}
        ),
        Query("Study Instance UID: its series", "SERIES", {**uid, "SeriesInstanceUID": "", "Modality": ""}),
        Query("Study Date, one day", "STUDY", {"StudyDate": one.date, **asked}),
        Query("Patient's Name with a wild card", "STUDY", {**asked, "PatientName": f"Name{one.patient:06d}*"}),
    ]


def _answer(port: int, query: Query) -> Answered:
    with asking(port, query.root) as association:
        wire = association.dul.socket
        assert wire is not None and wire.socket is not None
        wire.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # else pynetdicom waits 40 ms at each request
        found = [_ask(association, query) for _ in range(TIMES)]
    return Answered(found[0][0], tuple(milliseconds for _, milliseconds in found))


def _ask(association: Association, query: Query) -> tuple[int, float]:
    """Matches, milliseconds."""
    asked, began = identifier(query.level, **query.keys), time.perf_counter()
    statuses = [int(answer.Status) for answer, _ in association.send_c_find(asked, query.root)]
    milliseconds = 1000 * (time.perf_counter() - began)
    assert statuses[-1] == 0, f"C-FIND ended with {statuses[-1]:#06x}"
    return sum(status in PENDING for status in statuses), milliseconds


def _table(queries: list[Query], answered: Mapping[str, list[Answered]]) -> str:
    lines = [f"| C-FIND by | matches | {FULL}: ms | {EMPTY}: ms |", "|---|---|---|---|"]
    for query, full, empty in zip(queries, answered[FULL], answered[EMPTY], strict=True):
        lines.append(f"| {query.what} | {full.matches} | {full.words} | {empty.words} |")
    return "\n".join([*lines, "", f"Of {TIMES} queries, one after another: median, longest."])
