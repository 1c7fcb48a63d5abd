"""The use-case of a worker: one closed study becomes findings, DICOM objects and deliveries, all in one transaction.

Files are written before the transaction and are the same on every run, so a crash leaves nothing to clean up. A study
that cannot be analysed gets a report that says why: silence is never a result.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime

from pydicom import Dataset
from sqlalchemy.orm import Session

from models.api import ImageInput, LungField, Prediction, RefusedInput, Registry, WeightsMismatch
from node.archive import Archive
from node.core import log
from node.core.errors import InternalError, Refused
from node.core.job import Job
from node.core.settings import Settings
from node.core.study import StoredInstance, StudyState
from node.db import intake as study_rows
from node.db import jobs
from node.db import results as rows
from node.db.session import Database
from node.pipeline import chest, film
from node.pipeline.intake import digest_of
from node.pipeline.select import Taken, select_films
from node.results.build import build
from node.results.common import tracking_uid
from node.results.record import AnalysisRecord, BuiltObject, ImageOutcome, LeftOut, SystemRefusal

logger = logging.getLogger(__name__)
TURNED = "The pixels are those of a negative, though the header does not say so; they were inverted before analysis."


@dataclass
class _Stages:
    """Seconds spent by stage."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        begun = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = round(self.seconds.get(name, 0.0) + time.perf_counter() - begun, 4)


@dataclass
class _Work:
    """What is known of the study while it is analysed."""

    study_id: int
    study_uid: str
    instances: list[rows.InstanceRow]
    images: list[ImageOutcome] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    reasons: dict[str, str] = field(default_factory=dict)  # why an image was taken
    reason: str = ""  # why nothing was analysed


class ClaimLost(InternalError):
    """Somebody else has the job now; nothing of this run is kept."""


@dataclass(frozen=True)
class Analyse:
    """Call it with a claimed job. ``still_ours`` is asked before the commit: false when the supervisor is gone."""

    database: Database
    archive: Archive
    registry: Registry
    settings: Settings
    software_version: str
    clock: Callable[[], datetime]
    still_ours: Callable[[], bool] = lambda: True

    def __call__(self, job: Job) -> None:
        stages = _Stages()
        work = self._begin(job)
        if work is None:
            return
        if job.attempts > self.settings.analysis.max_attempts:
            work.reason = self._gave_up(job)
            work.left_out = [_left(i, work.reason) for i in work.instances if not i.is_own_result]
        else:
            self._look(work, stages)
        record = self._record(job, work)
        with stages.timed("build"):
            objects = build(record)
        with stages.timed("write"):
            outputs = [self._write(item) for item in objects]
        if not self.still_ours():
            raise ClaimLost("the supervisor is gone")
        self._commit(job, work, outputs, stages)

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

    def _is_same_set(self, session: Session, job: Job) -> bool:
        return digest_of(study_rows.instance_set(session, job.subject_id)) == job.payload

    def _gave_up(self, job: Job) -> str:
        with self.database.read() as session:
            last = jobs.last_error(session, job)
        return f"The analysis broke off {job.attempts - 1} times ({last or 'no reason was recorded'})."

    def _look(self, work: _Work, stages: _Stages) -> None:
        """Select, load, segment, predict."""
        stored = [self._stored(work.study_uid, instance) for instance in work.instances]
        with stages.timed("select"):
            selection = select_films(stored)
        work.left_out = list(selection.left_out)
        for taken in selection.taken:
            try:
                work.images.append(self._image(taken, stages))
                work.reasons[taken.instance.sop_instance_uid] = taken.reason
            except (Refused, RefusedInput) as error:
                work.left_out.append(_left(taken.instance, str(error)))
        if not work.images:
            work.reason = _why_nothing(work.left_out)

    def _stored(self, study_uid: str, instance: rows.InstanceRow) -> StoredInstance:
        facts = {**vars(instance), "path": self.archive.path(instance.path), "study_instance_uid": study_uid}
        del facts["arrival"]
        return StoredInstance(**facts)

    def _image(self, taken: Taken, stages: _Stages) -> ImageOutcome:
        with stages.timed("load"):
            header, image = film.load_film(taken.instance.path)
            if chest.looks_like_noise(image):
                raise RefusedInput("The pixels are noise rather than a radiograph.")
            image, notes = _upright(image)
            if taken.needs_pixel_check and (objection := chest.looks_like_frontal_chest(image)):
                raise RefusedInput(objection)
        with stages.timed("segment"):
            lungs, refusal = self._lungs(image, notes)
        predictions: list[Prediction] = []
        refusals = [refusal] if refusal else []
        for system in self.settings.analysis.systems:
            with stages.timed(f"model.{system}"):
                answer = self._predict(system, image, lungs)
            if isinstance(answer, Prediction):
                predictions.append(dataclasses.replace(answer, notes=(*notes, *answer.notes)))
            else:
                refusals.append(answer)
        if not predictions:
            raise RefusedInput(" ".join(dict.fromkeys(refusal.reason for refusal in refusals)))
        return ImageOutcome(header, image, lungs, tuple(predictions), tuple(refusals))

    def _lungs(self, image: ImageInput, notes: tuple[str, ...]) -> tuple[LungField | None, SystemRefusal | None]:
        system = self.settings.analysis.segmenter
        try:
            return self.registry.load_segmenter(system, self.settings.analysis.device).segment(image), None
        except (RefusedInput, WeightsMismatch) as error:
            return None, SystemRefusal(system, str(error))

    def _predict(self, system: str, image: ImageInput, lungs: LungField | None) -> Prediction | SystemRefusal:
        model = next((card.identity for card in self.registry.cards() if card.system == system), None)
        try:
            return self.registry.load_film_system(system, self.settings.analysis.device).predict(image, lungs)
        except (RefusedInput, WeightsMismatch) as error:
            return SystemRefusal(system, str(error), model)

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
        )

    def _reference(self, work: _Work) -> Dataset:
        """The header that carries patient and study: of the first analysed image, else of what arrived first.

        Delivery holds back whatever does not carry the patient of the first arrival.
        """
        if work.images:
            return work.images[0].header
        first = min(work.instances, key=lambda instance: (instance.is_own_result, instance.arrival))
        return film.read_header(self.archive.path(first.path))

    def _config_digest(self) -> str:
        parts = [dataclasses.asdict(self.settings.analysis), dataclasses.asdict(self.settings.results)]
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

    def _commit(self, job: Job, work: _Work, outputs: list[rows.NewOutput], stages: _Stages) -> None:
        now = self.clock()
        with self.database.write() as session:
            if not jobs.finish(session, job, now):
                raise ClaimLost("the claim on the job was lost")
            _, state = rows.study_state(session, work.study_id)
            reopened = state is not StudyState.ANALYSING or not self._is_same_set(session, job)
            analysis_id = rows.add_analysis(session, self._analysis(job, work, reopened, now, stages))
            self._add_children(session, analysis_id, work)
            destinations = () if reopened else self.settings.delivery.destinations
            for output in outputs:
                rows.add_output(session, analysis_id, output, destinations, now)
            if reopened:
                sentence = "Analysed, but more had arrived meanwhile: the result is kept and not delivered."
            else:
                study_rows.move_study(session, work.study_id, StudyState.ANALYSING, StudyState.ANALYSED)
                sentence = f"Not analysed: {work.reason}" if work.reason else _done(work)
            study_rows.add_event(session, work.study_id, now, sentence)
        log.event(
            logger, "study.analysed", study_instance_uid=work.study_uid, images=len(work.images), seconds=stages.seconds
        )

    def _analysis(self, job: Job, work: _Work, superseded: bool, now: datetime, stages: _Stages) -> rows.NewAnalysis:
        return rows.NewAnalysis(
            study_id=work.study_id,
            job_key=job.key,
            instance_set_digest=job.payload,
            config_digest=self._config_digest(),
            reason=work.reason,
            superseded=superseded,
            instances_used=len(work.images),
            instances_left_out=len(work.left_out),
            started_at=job.created_at,
            analysed_at=now,
            stage_seconds=json.dumps(stages.seconds),
        )

    def _add_children(self, session: Session, analysis_id: int, work: _Work) -> None:
        by_uid = {instance.sop_instance_uid: instance for instance in work.instances}
        for left in work.left_out:
            rows.add_selection(session, analysis_id, left.series_uid, left.sop_instance_uid, False, left.reason)
        for outcome in work.images:
            instance = by_uid[outcome.image.uid]
            reason = work.reasons[instance.sop_instance_uid]
            rows.add_selection(
                session, analysis_id, instance.series_instance_uid, instance.sop_instance_uid, True, reason
            )
            if outcome.lungs is not None:
                rows.add_model(session, analysis_id, outcome.lungs.model)
            for refusal in outcome.refusals:
                if refusal.model is not None:
                    rows.add_model(session, analysis_id, refusal.model, refusal.reason)
            for prediction in outcome.predictions:
                rows.add_model(session, analysis_id, prediction.model)
                _add_prediction(session, analysis_id, work.study_uid, instance, outcome.image, prediction)


def _upright(image: ImageInput) -> tuple[ImageInput, tuple[str, ...]]:
    """The image, inverted when only its negative looks like a chest film, and what to say of it."""
    return (chest.inverted(image), (TURNED,)) if chest.looks_negative(image) else (image, ())


def _add_prediction(
    session: Session,
    analysis_id: int,
    study_uid: str,
    instance: rows.InstanceRow,
    image: ImageInput,
    prediction: Prediction,
) -> None:
    spacing = image.spacing_mm
    lesions = [
        rows.NewLesion(
            tracking_uid(study_uid, instance.sop_instance_uid, prediction.model.system, lesion.number),
            lesion.centre_px[0] * spacing[1] if spacing else None,
            lesion.centre_px[1] * spacing[0] if spacing else None,
        )
        for lesion in prediction.lesions
    ]
    details = dict(prediction.details)
    if prediction.heat_in_lung is not None:
        details["heat_in_lung"] = prediction.heat_in_lung
    rows.add_prediction(session, analysis_id, instance, prediction, lesions, details)


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
    return f"Analysed: {used} image{'' if used == 1 else 's'} used, {left} left out."
