"""Stored results as frozen records: findings, lesions, deliveries. Read only; every filter is optional.

Results of superseded analyses are left out unless asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Select, select
from sqlalchemy.orm import Session

from node.db.tables import Analysis, Delivery, Finding, LesionRow, Output, Patient, Series, Study


@dataclass(frozen=True)
class Filter:
    """since, until: of the analysis, aware; since included, until not. Texts match exactly."""

    since: datetime | None = None
    until: datetime | None = None
    modality: str | None = None
    system: str | None = None
    class_name: str | None = None
    min_probability: float | None = None
    patient_id: str | None = None
    accession: str | None = None
    study_uid: str | None = None
    superseded_too: bool = False


@dataclass(frozen=True)
class FindingRecord:
    study_uid: str
    series_uid: str
    sop_instance_uid: str
    modality: str
    system: str
    class_name: str
    code: str
    probability: float
    decision: bool
    threshold: float
    model_version: str
    weights_sha256: str
    analysed_at: datetime
    patient_id: str
    accession: str
    superseded: bool


@dataclass(frozen=True)
class LesionRecord:
    """Coordinates as in ``models.api``: pixels from the first pixel's centre; mm only where spacing is stated."""

    study_uid: str
    series_uid: str
    sop_instance_uid: str
    frame: int | None
    system: str
    class_name: str
    number: int
    tracking_uid: str
    x_px: float
    y_px: float
    x_unit: float
    y_unit: float
    x_mm: float | None
    y_mm: float | None
    area_px: float
    dbscan_size: int
    major_axis_px: float
    minor_axis_px: float
    angle_deg: float
    peak_heat: float
    inside_lung: bool
    lung_share: float
    analysed_at: datetime


@dataclass(frozen=True)
class DeliveryRecord:
    study_uid: str
    output_uid: str
    sop_class_uid: str
    kind: str
    destination: str
    state: str
    attempts: int
    last_status: int | None
    comment: str
    last_attempt_at: datetime | None
    delivered_at: datetime | None
    committed_at: datetime | None


def findings(session: Session, wanted: Filter) -> list[FindingRecord]:
    """One record per (study, image, system, class), oldest analysis first."""
    conditions = _common(wanted)
    if wanted.modality:
        conditions.append(Finding.modality == wanted.modality)
    if wanted.system:
        conditions.append(Finding.system == wanted.system)
    if wanted.class_name:
        conditions.append(Finding.class_name == wanted.class_name)
    if wanted.min_probability is not None:
        conditions.append(Finding.probability >= wanted.min_probability)
    statement = (
        select(Finding, Analysis, Study, Patient)
        .join(Analysis, Finding.analysis_id == Analysis.id)
        .join(Study, Analysis.study_id == Study.id)
        .join(Patient, Study.patient_id == Patient.id)
        .where(*conditions)
        .order_by(Analysis.analysed_at, Finding.id)
    )
    return [_finding(*row) for row in session.execute(statement).tuples()]


def _finding(finding: Finding, analysis: Analysis, study: Study, patient: Patient) -> FindingRecord:
    return FindingRecord(
        study_uid=study.study_uid,
        series_uid=finding.series_uid,
        sop_instance_uid=finding.sop_uid,
        modality=finding.modality,
        system=finding.system,
        class_name=finding.class_name,
        code=f"{finding.code_scheme}:{finding.code_value}",
        probability=finding.probability,
        decision=finding.decision,
        threshold=finding.threshold,
        model_version=finding.model_version,
        weights_sha256=finding.weights_sha256,
        analysed_at=analysis.analysed_at,
        patient_id=patient.patient_id,
        accession=study.accession_number,
        superseded=analysis.superseded,
    )


def lesions(session: Session, wanted: Filter) -> list[LesionRecord]:
    """One record per lesion centre, oldest analysis first."""
    conditions = _common(wanted)
    if wanted.system:
        conditions.append(LesionRow.system == wanted.system)
    if wanted.class_name:
        conditions.append(LesionRow.class_name == wanted.class_name)
    if wanted.modality:
        conditions.append(Series.modality == wanted.modality)
    statement = (
        select(LesionRow, Analysis, Study)
        .join(Analysis, LesionRow.analysis_id == Analysis.id)
        .join(Study, Analysis.study_id == Study.id)
        .join(Patient, Study.patient_id == Patient.id)
        .join(Series, (Series.study_id == Study.id) & (Series.series_uid == LesionRow.series_uid))
        .where(*conditions)
        .order_by(Analysis.analysed_at, LesionRow.id)
    )
    return [_lesion(*row) for row in session.execute(statement).tuples()]


_SAME = tuple(
    name for name in LesionRecord.__dataclass_fields__ if name not in ("study_uid", "sop_instance_uid", "analysed_at")
)


def _lesion(lesion: LesionRow, analysis: Analysis, study: Study) -> LesionRecord:
    return LesionRecord(
        study_uid=study.study_uid,
        sop_instance_uid=lesion.sop_uid,
        analysed_at=analysis.analysed_at,
        **{name: getattr(lesion, name) for name in _SAME},
    )


def deliveries(session: Session, wanted: Filter) -> list[DeliveryRecord]:
    """The ledger: one record per output and destination, with the last answer."""
    statement: Select[tuple[Delivery, Output, Study]] = (
        select(Delivery, Output, Study)
        .join(Output, Delivery.output_id == Output.id)
        .join(Analysis, Output.analysis_id == Analysis.id)
        .join(Study, Analysis.study_id == Study.id)
        .join(Patient, Study.patient_id == Patient.id)
        .where(*_common(wanted))
        .order_by(Delivery.id)
    )
    return [
        DeliveryRecord(
            study_uid=study.study_uid,
            output_uid=output.sop_uid,
            sop_class_uid=output.sop_class_uid,
            kind=output.kind,
            destination=delivery.destination,
            state=delivery.state,
            attempts=delivery.attempts,
            last_status=delivery.last_status,
            comment=delivery.comment,
            last_attempt_at=delivery.last_attempt_at,
            delivered_at=delivery.delivered_at,
            committed_at=delivery.committed_at,
        )
        for delivery, output, study in session.execute(statement).tuples()
    ]


def _common(wanted: Filter) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if not wanted.superseded_too:
        conditions.append(Analysis.superseded.is_(False))
    if wanted.since:
        conditions.append(Analysis.analysed_at >= wanted.since)
    if wanted.until:
        conditions.append(Analysis.analysed_at < wanted.until)
    if wanted.patient_id is not None:
        conditions.append(Patient.patient_id == wanted.patient_id)
    if wanted.accession is not None:
        conditions.append(Study.accession_number == wanted.accession)
    if wanted.study_uid is not None:
        conditions.append(Study.study_uid == wanted.study_uid)
    return conditions
