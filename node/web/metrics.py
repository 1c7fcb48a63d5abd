"""Metrics for Prometheus: one table of names, and what each scrape reads.

Names follow the conventions of Prometheus: base units, ``_total`` for what only grows. What the database holds outlives
any restart; what is of this run alone says so. No label holds anything of a patient: destinations, systems, classes,
states and words of ours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, InfoMetricFamily
from prometheus_client.core import Metric as Family
from prometheus_client.registry import Collector

from node import __version__
from node.db.figures import Figures, Recent
from node.db.tallies import Histogram, Labels

Value = int | float | Histogram
Rows = Mapping[Labels, Value]
REASONS = {  # of a refusal, by the status that was answered: PS3.4 Table B.2-1, PS3.7 Annex C, PS3.18 Table I.2-2
    "0xA700": "out_of_resources",
    "0xA900": "data_set_mismatch",
    "0xC000": "cannot_understand",
    "0xC122": "transfer_syntax_not_supported",
    "0x0110": "processing_failure",
    "0x0111": "duplicate_instance",
    "0x0122": "sop_class_not_supported",
    "0x0124": "not_authorized",
}


@dataclass(frozen=True)
class Room:
    """Of one disk, in bytes. floor: below so much free nothing is taken."""

    free: int
    size: int
    floor: int


@dataclass(frozen=True)
class Processes:
    wanted: int
    running: int
    died: int  # since the start of the node


@dataclass(frozen=True)
class Readings:
    """All that one scrape tells. ages: of what waits longest, seconds by kind of job. recent: results of the last day.
    archive_bytes: of received objects, None until they have been counted."""

    figures: Figures | None = None
    ages: Mapping[str, float] = field(default_factory=dict)
    rejections: Mapping[str, int] = field(default_factory=dict)
    associations: int = 0
    disks: Mapping[str, Room] = field(default_factory=dict)
    processes: Mapping[str, Processes] = field(default_factory=dict)
    recent: Sequence[Recent] = ()
    archive_bytes: int | None = None
    ready: bool = True


@dataclass(frozen=True)
class Metric:
    """kind: counter, gauge, histogram or info. name: without the suffix of its kind. rows: of one scrape, by labels."""

    name: str
    kind: str
    meaning: str
    labels: Labels
    rows: Callable[[Readings], Rows]

    @property
    def full_name(self) -> str:
        return self.name + {"counter": "_total", "info": "_info"}.get(self.kind, "")

    def family(self, readings: Readings) -> Family:
        rows = self.rows(readings)
        if self.kind == "info":
            return InfoMetricFamily(self.name, self.meaning, value={"version": __version__})
        if self.kind == "histogram":
            return self._histogram(rows)
        kind = CounterMetricFamily if self.kind == "counter" else GaugeMetricFamily
        found: Family = kind(self.name, self.meaning, labels=self.labels)
        for labels, number in rows.items():
            found.add_metric(labels, number)  # type: ignore[attr-defined]
        return found

    def _histogram(self, rows: Rows) -> Family:
        found = HistogramMetricFamily(self.name, self.meaning, labels=self.labels)
        for labels, taken in rows.items():
            if isinstance(taken, Histogram):
                found.add_metric(labels, taken.cumulative(), taken.seconds)
        return found


def _of(pick: Callable[[Figures], Rows]) -> Callable[[Readings], Rows]:
    """Of what the database holds; nothing where it was not asked."""
    return lambda readings: pick(readings.figures) if readings.figures else {}


def _by_name(numbers: Mapping[str, Value]) -> Rows:
    """With one label."""
    return {(name,): number for name, number in numbers.items()}


def _recent(pick: Callable[[Recent], float]) -> Callable[[Readings], Rows]:
    return lambda readings: {(one.system, one.version, one.class_name): pick(one) for one in readings.recent}


def _refused(figures: Figures) -> Rows:
    found = dict.fromkeys((*REASONS.values(), "other"), 0)  # from the first scrape on, so that an increase is seen
    for status, number in figures.refusals.items():
        reason = REASONS.get(status, "other")
        found[reason] += number
    return _by_name(found)


def _disks(pick: Callable[[Room], int]) -> Callable[[Readings], Rows]:
    return lambda readings: _by_name({name: pick(room) for name, room in readings.disks.items()})


def _processes(pick: Callable[[Processes], int]) -> Callable[[Readings], Rows]:
    return lambda readings: _by_name({kind: pick(one) for kind, one in readings.processes.items()})


def _archive(readings: Readings) -> Rows:
    return {} if readings.archive_bytes is None else {(): readings.archive_bytes}


DRIFT = ("system", "version", "class")
METRICS = (
    Metric("lungnode", "info", "Version of the node.", (), lambda _: {(): 1}),
    Metric("lungnode_ready", "gauge", "1 where /health/ready answers 200, else 0.", (), lambda r: {(): int(r.ready)}),
    Metric("lungnode_instances_stored", "counter", "Instances that were ever stored.", (),
           _of(lambda f: {(): f.instances})),
    Metric("lungnode_instances_refused", "counter", "Data sets that were answered with a failure status, by reason.",
           ("reason",), _of(_refused)),
    Metric("lungnode_associations_rejected", "counter",
           "Associations rejected by the receivers of this run, by reason.", ("reason",),
           lambda r: _by_name(r.rejections)),
    Metric("lungnode_associations_open", "gauge", "Associations and STOW-RS requests that are open now.", (),
           lambda r: {(): r.associations}),
    Metric("lungnode_studies_received", "counter", "Studies of which something was ever stored.", (),
           _of(lambda f: {(): f.studies})),
    Metric("lungnode_studies", "gauge", "Studies that have no result yet, or whose analysis was given up, by state.",
           ("state",), _of(lambda f: _by_name(f.studies_under_way))),
    Metric("lungnode_jobs", "gauge", "Jobs that have not ended, by kind and state; parked: given up.",
           ("kind", "state"), _of(lambda f: f.jobs)),
    Metric("lungnode_job_oldest_seconds", "gauge", "Age of the oldest job that waits, by kind; 0 where none does.",
           ("kind",), lambda r: _by_name(r.ages)),
    Metric("lungnode_analysis_seconds", "histogram", "From the end of receipt to committed results, waiting included.",
           (), _of(lambda f: {(): f.analyses_took})),
    Metric("lungnode_stage_seconds", "histogram",
           "A stage of one analysis, over all its images; system: of the stage model, else empty.",
           ("stage", "system"), _of(lambda f: f.stages)),
    Metric("lungnode_deliveries", "gauge", "Results that a destination does not have yet, by state; failed and refused "
           "wait for an operator.", ("destination", "state"), _of(lambda f: f.deliveries)),
    Metric("lungnode_delivery_attempts", "counter", "Attempts to deliver one result; outcome waiting: it will be tried "
           "again; committing: taken, not yet committed.", ("destination", "outcome"), _of(lambda f: f.attempts)),
    Metric("lungnode_delivery_seconds", "histogram", "From a result to its delivery, pauses and outages included.",
           ("destination",), _of(lambda f: _by_name(f.deliveries_took))),
    Metric("lungnode_archive_bytes", "gauge", "Received objects in the archive, counted every ten minutes; results are "
           "not in it.", (), _archive),
    Metric("lungnode_disk_free_bytes", "gauge", "Free room on the disk of the archive, and of the database where that "
           "is another.", ("holds",), _disks(lambda room: room.free)),
    Metric("lungnode_disk_size_bytes", "gauge", "Size of that disk.", ("holds",), _disks(lambda room: room.size)),
    Metric("lungnode_disk_floor_bytes", "gauge", "Below so much free room nothing is taken.", ("holds",),
           _disks(lambda room: room.floor)),
    Metric("lungnode_processes", "gauge", "Processes that run, by kind.", ("kind",),
           _processes(lambda one: one.running)),
    Metric("lungnode_processes_wanted", "gauge", "Processes that should run.", ("kind",),
           _processes(lambda one: one.wanted)),
    Metric("lungnode_process_deaths", "counter", "Processes that died in this run and were started again.", ("kind",),
           _processes(lambda one: one.died)),
    Metric("lungnode_recent_results", "gauge", "Results of the last 24 hours, counted every 15 seconds.", DRIFT,
           _recent(lambda one: one.results)),
    Metric("lungnode_recent_positive_ratio", "gauge", "Share of them where the system decided for the class.", DRIFT,
           _recent(lambda one: one.positive / one.results)),
    Metric("lungnode_recent_probability_mean", "gauge", "Mean of their probabilities.", DRIFT,
           _recent(lambda one: one.mean_probability)),
)  # fmt: skip


@dataclass(frozen=True)
class NodeMetrics(Collector):
    """Read at each scrape; nothing is kept in between."""

    read: Callable[[], Readings]

    def collect(self) -> Iterator[Family]:
        readings = self.read()
        yield from (metric.family(readings) for metric in METRICS)

    def describe(self) -> Iterable[Family]:
        """Nothing is asked of the node when it is registered."""
        return ()
