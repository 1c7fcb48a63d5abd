"""The use-case of a worker: one closed study becomes findings, DICOM objects and deliveries, all in one transaction.

Files are written before the transaction, under the same names on every run, so a crash leaves nothing to clean up. A
study that cannot be analysed gets a report that says why: silence is never a result.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

from pydicom import Dataset
from sqlalchemy.orm import Session

from models.api import LITTLE_MEMORY, RefusedInput, Registry
from node.archive import Archive
from node.core import log
from node.core.errors import InternalError, Refused
from node.core.job import MOST_KILLS, Job
from node.core.settings import Settings
from node.core.study import StoredInstance, StudyState
from node.db import fallback as other_forms
from node.db import intake as study_rows
from node.db import jobs, quarantine, retention, tallies
from node.db import layers as layer_rows
from node.db import results as rows
from node.db.session import Database
from node.pipeline import layers, traces
from node.pipeline.address import Addressed, address
from node.pipeline.children import Children
from node.pipeline.fallback import REPORTS
from node.pipeline.intake import digest_of
from node.pipeline.judge import Judge, Stages
from node.pipeline.reference import patient_of, reference_of
from node.pipeline.rules import Rules, load
from node.pipeline.select import select_images
from node.results.record import AnalysisRecord, BuiltObject, ImageOutcome, LeftOut, SeriesOutcome

logger = logging.getLogger(__name__)
REMOVED = "It was removed from the archive of this node before, and did not come again."
REPEATED = "It is the same as another image of the series, at the same place."


@dataclass
class _Work:
    """What is known of the study while it is analysed."""

    study_id: int
    study_uid: str
    instances: list[rows.InstanceRow]
    images: list[ImageOutcome] = field(default_factory=list)
    series: list[SeriesOutcome] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    reasons: dict[str, str] = field(default_factory=dict)  # SOP Instance UID -> why it was taken
    reason: str = ""  # why nothing was analysed
    notes: list[str] = field(default_factory=list)  # how it was judged and written, one sentence each
    layers: list[layer_rows.Layer] = field(default_factory=list)  # for the pages


class ClaimLost(InternalError):
    """Somebody else has the job now; nothing of this run is kept."""


@dataclass(frozen=True)
class Analyse:
    """Call it with a claimed job. ``still_ours`` is asked before the commit: false when the supervisor is gone.

    rules: of selection; the shipped ones where none are given. refusal: why no study that comes to this one is
    analysed; empty: each is.
    """

    database: Database
    archive: Archive
    registry: Registry
    settings: Settings
    software_version: str
    clock: Callable[[], datetime]
    still_ours: Callable[[], bool] = lambda: True
    rules: Rules = field(default_factory=load)
    trace: traces.Trace = traces.untraced
    refusal: str = ""

    def __call__(self, job: Job) -> None:
        stages, began = Stages(), self.clock()
        work = self._begin(job)
        if work is None:
            return
        if self.refusal or job.kills >= MOST_KILLS or job.attempts > self.settings.analysis.max_attempts:
            work.reason = self.refusal or self._gave_up(job)
            work.left_out = [_left(i, work.reason) for i in work.instances if not i.is_own_result]
        else:
            with self.archive.reading(instance.path for instance in work.instances):
                self._look(work, stages)
        work.left_out += self._removed(work.study_id)
        record = self._record(job, work)
        with stages.timed("build"):
            objects = self._build(record, work)
            work.layers = list(layers.of(record))
        self._check_claim(job)
        with stages.timed("write"):
            outputs = [(self._write(addressed.item), addressed) for addressed in objects]
        if not self.still_ours():
            raise ClaimLost("the supervisor is gone")
        self._commit(job, work, record, outputs, stages)
        run = traces.Run(work.study_uid, job.key)
        self.trace(traces.analysed(run, job.created_at, began, self.clock(), stages.moments))

    def _begin(self, job: Job) -> _Work | None:
        """None when the study has grown since the job was made: another job will come for the larger set."""
        with self.database.write() as session:
            study_uid, state = rows.study_state(session, job.subject_id)
            if not self._is_same_set(session, job):
                jobs.finish(session, job, self.clock())
                return None
            if state is StudyState.QUEUED:
                study_rows.move_study(session, job.subject_id, StudyState.QUEUED, StudyState.ANALYSING)
            return _Work(job.subject_id, study_uid, rows.instances_of(session, job.subject_id))

    def _check_claim(self, job: Job) -> None:
        """Before files take the place of others: of two runs with other devices or batches the last bits may differ."""
        with self.database.read() as session:
            if not jobs.holds(session, job):
                raise ClaimLost("the claim on the job was lost")

    def _is_same_set(self, session: Session, job: Job) -> bool:
        return digest_of(study_rows.instance_set(session, job.subject_id)) == job.payload

    def _gave_up(self, job: Job) -> str:
        with self.database.read() as session:
            last = jobs.last_error(session, job)
        return quarantine.sentence(job.attempts - 1, last)

    def _look(self, work: _Work, stages: Stages) -> None:
        """Select, then judge one image or series after the other."""
        stored = [self._stored(work.study_uid, instance) for instance in work.instances]
        with stages.timed("select"):
            as_received = partial(patient_of, self.database, work.study_uid)
            selection = select_images(stored, bool(self.settings.analysis.ct_systems), self.rules, as_received)
        work.left_out = list(selection.left_out)
        judge = Judge(self.registry, self.settings.analysis, self.software_version, self.rules)
        for taken in selection.taken:
            try:
                work.images.append(judge.film(taken, stages, work.images))
                work.reasons[taken.instance.sop_instance_uid] = taken.reason
            except (Refused, RefusedInput) as error:
                work.left_out.append(_left(taken.instance, str(error)))
        for run in selection.series:
            try:
                outcome, repeated = judge.series(run, stages)
            except (Refused, RefusedInput) as error:
                work.left_out += [_left(instance, str(error)) for instance in run.instances]
                continue
            work.series.append(outcome)
            work.reasons |= dict.fromkeys(outcome.volume.slice_uids, run.reason)
            work.left_out += [
                _left(item.instance, REPEATED)
                for item in repeated
                if item.instance.sop_instance_uid not in work.reasons  # a frame may repeat another of its object
            ]
        answers = [p for image in work.images for p in image.predictions]
        answers += [p for run in work.series for p in run.predictions]
        said = (note for answer in answers for note in answer.notes if note.startswith(LITTLE_MEMORY))
        work.notes += dict.fromkeys(said)
        if not work.images and not work.series:
            work.reason = _why_nothing(work.left_out)

    def _removed(self, study_id: int) -> list[LeftOut]:
        """What the study had before retention removed it, and what did not come again: a part is never the whole."""
        with self.database.read() as session:
            absent = retention.absent(session, study_id)
        return [
            LeftOut(one.series_instance_uid, one.sop_instance_uid, one.sop_class_uid, one.modality, REMOVED)
            for one in absent
        ]

    def _stored(self, study_uid: str, instance: rows.InstanceRow) -> StoredInstance:
        facts = {**vars(instance), "path": self.archive.path(instance.path), "study_instance_uid": study_uid}
        del facts["arrival"]
        return StoredInstance(**facts)

    def _record(self, job: Job, work: _Work) -> AnalysisRecord:
        return AnalysisRecord(
            reference=self._reference(work),
            images=tuple(work.images),
            left_out=tuple(work.left_out),
            reason=work.reason,
            started_at=job.created_at,
            instance_set_digest=job.payload,
            config_digest=self._config_digest(),
            software_version=self.software_version,
            settings=self.settings.results,
            wanted=self.settings.objects,
            series=tuple(work.series),
        )

    def _build(self, record: AnalysisRecord, work: _Work) -> list[Addressed]:
        with self.database.read() as session:
            earlier = rows.objects_of(session, work.study_id)
            names = [peer.name for peer in self.settings.peers]
            sure = [name for name in names if other_forms.takes_reports(session, name, REPORTS)]
        found, said = address(record, self.settings, earlier, sure)
        work.notes += said
        return found

    def _reference(self, work: _Work) -> Dataset:
        """The header that carries patient and study: of the first film or slice analysed, else see ``reference``."""
        if work.images:
            return work.images[0].header
        if work.series:
            return work.series[0].headers[0]
        arrived = sorted(work.instances, key=lambda instance: (instance.is_own_result, instance.arrival))
        others = (self._stored(work.study_uid, item) for item in arrived[1:] if not item.is_own_result)
        return reference_of(self.database, self._stored(work.study_uid, arrived[0]), others)

    def _config_digest(self) -> str:
        analysis, results = dataclasses.asdict(self.settings.analysis), dataclasses.asdict(self.settings.results)
        parts = [{**analysis, "selection": self.rules.digest}, results]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def _write(self, item: BuiltObject) -> rows.NewOutput:
        return rows.NewOutput(
            kind=item.kind,
            sop_instance_uid=item.sop_instance_uid,
            sop_class_uid=item.sop_class_uid,
            series_instance_uid=item.series_instance_uid,
            sha256=hashlib.sha256(item.content).hexdigest(),
            path=self.archive.put_bytes(item.sop_instance_uid, item.content),
        )

    def _commit(
        self,
        job: Job,
        work: _Work,
        record: AnalysisRecord,
        outputs: list[tuple[rows.NewOutput, Addressed]],
        stages: Stages,
    ) -> None:
        now = self.clock()
        with self.database.write() as session:
            if not jobs.finish(session, job, now):
                raise ClaimLost("the claim on the job was lost")
            _, state = rows.study_state(session, work.study_id)
            reopened = state is not StudyState.ANALYSING or not self._is_same_set(session, job)
            analysis_id = rows.add_analysis(session, self._analysis(job, work, record, reopened, now, stages))
            instances = {instance.sop_instance_uid: instance for instance in work.instances}
            Children(session, analysis_id, work.study_uid, instances, work.reasons).write(record)
            layer_rows.add(session, analysis_id, work.layers)
            for output, to in outputs:
                owed, kept = ((), ()) if reopened else (to.owed_to, to.kept_for)
                rows.add_output(session, analysis_id, output, owed, now, kept)
            if reopened:
                sentence = "Analysed, but more had arrived meanwhile: the result is kept and not delivered."
            else:
                study_rows.move_study(session, work.study_id, StudyState.ANALYSING, StudyState.ANALYSED)
                sentence = f"Not analysed: {work.reason}" if work.reason else _done(work)
            for said in (*work.notes, sentence):
                study_rows.add_event(session, work.study_id, now, said)
            tallies.analysis(session, stages.seconds, (now - job.created_at).total_seconds())
        log.event(
            logger,
            "study.analysed",
            study_instance_uid=work.study_uid,
            images=len(work.images),
            series=len(work.series),
            seconds=stages.seconds,
        )

    def _analysis(
        self, job: Job, work: _Work, record: AnalysisRecord, superseded: bool, now: datetime, stages: Stages
    ) -> rows.NewAnalysis:
        return rows.NewAnalysis(
            study_id=work.study_id,
            job_key=job.key,
            instance_set_digest=job.payload,
            config_digest=record.config_digest,
            reason=work.reason,
            superseded=superseded,
            instances_used=record.instances_used,
            instances_left_out=len(work.left_out),
            started_at=job.created_at,
            analysed_at=now,
            stage_seconds=json.dumps(stages.seconds),
        )


def _left(instance: StoredInstance | rows.InstanceRow, reason: str) -> LeftOut:
    return LeftOut(
        instance.series_instance_uid, instance.sop_instance_uid, instance.sop_class_uid, instance.modality, reason
    )


def _why_nothing(left_out: list[LeftOut]) -> str:
    """One sentence for the study: the only reason, or how many reasons there are and the first."""
    reasons = list(dict.fromkeys(left.reason for left in left_out if left.reason != "It is a result of this node."))
    if not reasons:
        return "The study holds no image."
    return reasons[0] if len(reasons) == 1 else f"No image could be analysed, for {len(reasons)} reasons; {reasons[0]}"


def _done(work: _Work) -> str:
    used, left = len(work.images), len(work.left_out)
    parts = [f"{used} image{'' if used == 1 else 's'}"] if used or not work.series else []
    parts += [f"a CT series of {len(outcome.headers)} slices" for outcome in work.series]
    return f"Analysed: {' and '.join(parts)} used, {left} left out."
