"""The rows below an analysis: what was selected, which models took part, what each found. The caller commits.

A statement on a CT series stands under the middle one of its key slices, since a series has no instance of its own;
what is known of a single slice stands under that slice. Predicted values and biomarkers are details: system, name,
value.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from models.api import Measured, Prediction, Quantity
from node.db import results as rows
from node.results.common import tracking_uid
from node.results.record import AnalysisRecord, ImageOutcome, SeriesOutcome, SystemRefusal, judged_slices
from node.results.references import frame_of

Spacing = tuple[float, float]  # between rows, between columns, mm


@dataclass(frozen=True)
class Children:
    """Writes them. ``reasons``: SOP Instance UID -> why it was taken."""

    session: Session
    analysis_id: int
    study_uid: str
    instances: Mapping[str, rows.InstanceRow]
    reasons: Mapping[str, str]

    def write(self, record: AnalysisRecord) -> None:
        for left in record.left_out:
            rows.add_selection(
                self.session, self.analysis_id, left.series_uid, left.sop_instance_uid, False, left.reason
            )
        with self.session.no_autoflush:  # all of them go to the database together
            for image in record.images:
                self._image(image)
            for series in record.series:
                self._series(series)

    def _image(self, outcome: ImageOutcome) -> None:
        instance = self._taken(outcome.image.uid)
        if outcome.lungs is not None:
            rows.add_model(self.session, self.analysis_id, outcome.lungs.model)
        self._refusals(outcome.refusals)
        for prediction in outcome.predictions:
            rows.add_model(self.session, self.analysis_id, prediction.model)
            self._prediction(instance, prediction, outcome.image.spacing_mm)
        for measured in (*outcome.biomarkers, *outcome.indicators):
            self._measured(instance, measured)

    def _series(self, outcome: SeriesOutcome) -> None:
        for uid in dict.fromkeys(outcome.volume.slice_uids):
            self._taken(uid)
        if outcome.lungs is not None:
            rows.add_model(self.session, self.analysis_id, outcome.lungs.model)
        self._refusals(outcome.refusals)
        spacing = outcome.volume.spacing_mm
        plane = spacing[1:] if spacing is not None else None
        for prediction in outcome.predictions:
            rows.add_model(self.session, self.analysis_id, prediction.model)
            self._prediction(self.instances[_place(outcome, prediction)], prediction, None)
            for found in prediction.slices:
                of_slice = dataclasses.replace(
                    prediction, scores=(), details={}, heat_in_lung=None, lesions=found.lesions
                )
                frame = frame_of(outcome.headers[found.index])
                self._prediction(self.instances[found.uid], of_slice, plane, frame)
            for found in judged_slices(prediction):
                names = (f"slice.{score.name}" for score in prediction.scores)
                told = dict(zip(names, found.probabilities, strict=True))
                self._details(found.uid, prediction.model.system, told, frame_of(outcome.headers[found.index]))

    def _taken(self, uid: str) -> rows.InstanceRow:
        instance = self.instances[uid]
        rows.add_selection(
            self.session, self.analysis_id, instance.series_instance_uid, uid, True, self.reasons[uid]
        )  # fmt: skip
        return instance

    def _refusals(self, refusals: Sequence[SystemRefusal]) -> None:
        for refusal in refusals:
            if refusal.model is not None:
                rows.add_model(self.session, self.analysis_id, refusal.model, refusal.reason)

    def _measured(self, instance: rows.InstanceRow, measured: Measured) -> None:
        rows.add_model(self.session, self.analysis_id, measured.model)
        self._quantities(instance, measured.model.system, measured.quantities)

    def _quantities(self, instance: rows.InstanceRow, system: str, quantities: Sequence[Quantity]) -> None:
        self._details(instance.sop_instance_uid, system, {q.kind.name: float(q.value) for q in quantities})

    def _details(self, sop_uid: str, system: str, details: Mapping[str, float], frame: int = 0) -> None:
        rows.add_details(self.session, self.analysis_id, sop_uid, system, details, frame)

    def _prediction(
        self, instance: rows.InstanceRow, prediction: Prediction, spacing: Spacing | None, frame: int = 0
    ) -> None:
        """frame: of a multi-frame object, from 1; 0 for an object of one image."""
        lesions = [
            rows.NewLesion(
                tracking_uid(self.study_uid, instance.sop_instance_uid, prediction.model.system, lesion.number, frame),
                lesion.centre_px[0] * spacing[1] if spacing else None,
                lesion.centre_px[1] * spacing[0] if spacing else None,
            )
            for lesion in prediction.lesions
        ]
        details = dict(prediction.details)
        if prediction.heat_in_lung is not None:
            details["heat_in_lung"] = prediction.heat_in_lung
        rows.add_prediction(self.session, self.analysis_id, instance, prediction, lesions, details, frame)


def _place(outcome: SeriesOutcome, prediction: Prediction) -> str:
    """The slice that a statement on the series stands under: the middle one of its key slices, or of the series."""
    uids = [found.uid for found in outcome.key_slices(prediction)] or outcome.volume.slice_uids
    return uids[len(uids) // 2]
