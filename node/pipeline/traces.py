"""The way of a study as spans: which there are, what they are called, how they hang together.

One trace a study. Its id and those of its spans are digests, so that processes which never speak to each other write
one trace, and a job that is done again writes its spans under the ids that they had. Nothing of the patient, and no
UID, stands in a span: who has a study's UID finds its trace by ``trace_id``. Knows no exporter:
``node.composition.otlp`` has one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

Value = str | int | float | bool
ROOT, ANALYSIS = "study", "analysis"


@dataclass(frozen=True)
class Run:
    """One pass of a study through the node. key: of its analyse job; a study that grew has another."""

    study_uid: str
    key: str

    @property
    def trace_id(self) -> int:
        return trace_id(self.study_uid)

    def span_id(self, name: str, which: str = "") -> int:
        return _number(f"lungnode/span/{self.study_uid}\n{self.key}\n{name}\n{which}", 8)


@dataclass(frozen=True)
class Span:
    """which: tells spans of one name apart. parent: the name of another; empty for ROOT. failed: why, in our words."""

    run: Run
    name: str
    began: datetime
    ended: datetime
    attributes: Mapping[str, Value] = field(default_factory=dict)
    which: str = ""
    parent: str = ROOT
    failed: str = ""

    @property
    def span_id(self) -> int:
        return self.run.span_id(self.name, self.which)


@dataclass(frozen=True)
class Moment:
    """A stage of an analysis. after: seconds from its begin; took: seconds."""

    stage: str
    after: float
    took: float


Trace = Callable[[Iterable[Span]], None]


def untraced(_: Iterable[Span]) -> None:
    """Where no collector is configured."""


def trace_id(study_uid: str) -> int:
    """As 32 hexadecimal digits: ``printf 'lungnode/study/UID' | sha256sum | cut -c -32``."""
    return _number(f"lungnode/study/{study_uid}", 16)


def _number(text: str, size: int) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:size]) or 1  # 0 is no id


def received(run: Run, opened_at: datetime, last_at: datetime, closed_at: datetime) -> list[Span]:
    """Of a study that was found complete. All others hang on the first of them, and may end after it."""
    return [
        Span(run, ROOT, opened_at, closed_at, parent=""),
        Span(run, "receipt", opened_at, last_at),
        Span(run, "completeness", last_at, closed_at),
    ]


def analysed(run: Run, queued_at: datetime, began: datetime, ended: datetime, moments: Sequence[Moment]) -> list[Span]:
    """Of an analysis whose results are committed."""
    stages = [
        Span(
            run,
            one.stage,
            began + timedelta(seconds=one.after),
            began + timedelta(seconds=one.after + one.took),
            which=str(place),
            parent=ANALYSIS,
        )
        for place, one in enumerate(moments)
    ]
    committing = max((one.ended for one in stages), default=began)
    return [
        Span(run, "queue", queued_at, began),
        Span(run, ANALYSIS, began, ended),
        *stages,
        Span(run, "results", committing, ended, parent=ANALYSIS),
    ]


def delivered(
    run: Run, which: str, began: datetime, ended: datetime, attributes: Mapping[str, Value], failed: str
) -> Span:
    """Of one attempt to deliver one object; which: the object, the destination and the number of the attempt."""
    return Span(run, "delivery", began, ended, attributes, which, failed=failed)
