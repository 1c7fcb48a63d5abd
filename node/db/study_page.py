"""Everything that one study's page shows, as frozen records. Read only; None where the study is unknown."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from node.core.study import StudyState
from node.db import layers, story
from node.db.key_tables import StudyKeys
from node.db.layers import Named
from node.db.tables import (
    Analysis,
    AnalysisModel,
    Delivery,
    Detail,
    Event,
    Finding,
    Instance,
    LesionRow,
    Output,
    Patient,
    SelectionRow,
    Series,
    Study,
)


@dataclass(frozen=True)
class Image:
    """One received object. taken: None where no analysis looked at it; reason: why it was taken or left out."""

    sop_instance_uid: str
    series_uid: str
    modality: str
    series_description: str
    instance_number: int | None
    view: str
    rows: int
    columns: int
    frames: int
    taken: bool | None
    reason: str


@dataclass(frozen=True)
class Score:
    sop_instance_uid: str
    modality: str
    system: str
    version: str
    class_name: str
    meaning: str
    probability: float
    threshold: float
    decision: bool


@dataclass(frozen=True)
class Focus:
    sop_instance_uid: str
    frame: int
    system: str
    class_name: str
    number: int
    x_px: float
    y_px: float
    x_mm: float | None
    y_mm: float | None
    area_px: float
    peak_heat: float
    inside_lung: bool


@dataclass(frozen=True)
class Number:
    sop_instance_uid: str
    frame: int
    system: str
    name: str
    value: float


@dataclass(frozen=True)
class Model:
    system: str
    name: str
    version: str
    refused: str  # the sentence why, where it did


@dataclass(frozen=True)
class Sent:
    """One object at one destination. destination: empty for an object that is owed to nobody."""

    kind: str
    sop_instance_uid: str
    series_uid: str
    is_removed: bool
    destination: str
    state: str
    attempts: int
    last_status: int | None
    comment: str
    at: datetime | None


@dataclass(frozen=True)
class AnalysisView:
    number: int
    outcome: str
    reason: str
    superseded: bool
    analysed_at: datetime
    used: int
    left_out: int
    scores: tuple[Score, ...]
    foci: tuple[Focus, ...]
    numbers: tuple[Number, ...]
    models: tuple[Model, ...]
    layers: tuple[Named, ...]


@dataclass(frozen=True)
class Said:
    at: datetime
    sentence: str


@dataclass(frozen=True)
class StudyView:
    study_uid: str
    state: StudyState
    sentence: str
    modalities: str
    study_date: str
    accession_number: str
    patient_id: str
    issuer: str
    patient_name: str
    birth_date: str
    sex: str
    description: str
    last_received_at: datetime
    images: tuple[Image, ...]
    analysis: AnalysisView | None  # that stands
    sent: tuple[Sent, ...]
    events: tuple[Said, ...]


def read(session: Session, study_uid: str) -> StudyView | None:
    found = (
        session.execute(
            select(Study, Patient, StudyKeys)
            .join(Patient, Study.patient_id == Patient.id)
            .outerjoin(StudyKeys, StudyKeys.study_id == Study.id)
            .where(Study.study_uid == study_uid)
        )
        .tuples()
        .first()
    )
    if found is None:
        return None
    study, patient, keys = found
    line = story.study_line(session, study_uid)
    standing = select(Analysis).where(Analysis.study_id == study.id, ~Analysis.superseded)
    analysis = session.scalars(standing.order_by(Analysis.id.desc()).limit(1)).first()
    return StudyView(
        study_uid=study_uid,
        state=StudyState(study.state),
        sentence=line.sentence if line else "",
        modalities=study.modalities.replace("\\", ", "),
        study_date=study.study_date,
        accession_number=study.accession_number,
        patient_id=patient.patient_id,
        issuer=patient.issuer,
        patient_name=keys.patient_name if keys else "",
        birth_date=keys.birth_date if keys else "",
        sex=keys.sex if keys else "",
        description=keys.description if keys else "",
        last_received_at=study.last_received_at,
        images=tuple(_images(session, study.id, analysis.id if analysis else 0)),
        analysis=_analysis(session, analysis) if analysis else None,
        sent=tuple(_sent(session, analysis.id)) if analysis else (),
        events=tuple(_events(session, study.id)),
    )


def _images(session: Session, study_id: int, analysis_id: int) -> list[Image]:
    """Those that were analysed in the order of the analysis (a CT from the feet), then the others by number."""
    chosen = select(SelectionRow).where(SelectionRow.analysis_id == analysis_id).order_by(SelectionRow.id)
    looked: dict[str, tuple[int, SelectionRow | None]] = {}
    for number, one in enumerate(session.scalars(chosen)):
        if one.sop_uid not in looked or one.taken:
            looked[one.sop_uid] = (number, one)
    received = (
        select(Instance, Series)
        .join(Series, Instance.series_id == Series.id)
        .where(Series.study_id == study_id, ~Instance.is_own_result)
        .order_by(Series.id, Instance.instance_number, Instance.id)
    )
    found = []
    for order, (instance, series) in enumerate(session.execute(received).tuples()):
        place, row = looked.get(instance.sop_uid) or (order, None)
        image = Image(
            sop_instance_uid=instance.sop_uid,
            series_uid=series.series_uid,
            modality=series.modality,
            series_description=series.description,
            instance_number=instance.instance_number,
            view=instance.view_position,
            rows=instance.rows or 0,
            columns=instance.columns or 0,
            frames=instance.frames or 1,
            taken=row.taken if row else None,
            reason=row.reason if row else "",
        )
        found.append((not image.taken, place, image))
    return [image for _, _, image in sorted(found, key=lambda one: one[:2])]


def _analysis(session: Session, row: Analysis) -> AnalysisView:
    scores = session.scalars(select(Finding).where(Finding.analysis_id == row.id).order_by(Finding.id))
    foci = session.scalars(select(LesionRow).where(LesionRow.analysis_id == row.id).order_by(LesionRow.id))
    numbers = session.scalars(select(Detail).where(Detail.analysis_id == row.id).order_by(Detail.id))
    models = session.scalars(
        select(AnalysisModel).where(AnalysisModel.analysis_id == row.id).order_by(AnalysisModel.id)
    )
    return AnalysisView(
        number=row.id,
        outcome=row.outcome,
        reason=row.reason,
        superseded=row.superseded,
        analysed_at=row.analysed_at,
        used=row.instances_used,
        left_out=row.instances_left_out,
        scores=tuple(_score(one) for one in scores),
        foci=tuple(_focus(one) for one in foci),
        numbers=tuple(Number(one.sop_uid, one.frame or 0, one.system, one.name, one.value) for one in numbers),
        models=tuple(Model(one.system, one.name, one.version, one.reason) for one in models),
        layers=tuple(layers.of_analysis(session, row.id)),
    )


def _score(row: Finding) -> Score:
    return Score(
        row.sop_uid, row.modality, row.system, row.model_version, row.class_name, row.code_meaning,
        row.probability, row.threshold, row.decision,
    )  # fmt: skip


def _focus(row: LesionRow) -> Focus:
    return Focus(
        row.sop_uid, row.frame or 0, row.system, row.class_name, row.number, row.x_px, row.y_px, row.x_mm, row.y_mm,
        row.area_px, row.peak_heat, row.inside_lung,
    )  # fmt: skip


def _sent(session: Session, analysis_id: int) -> list[Sent]:
    rows = session.execute(
        select(Output, Delivery)
        .outerjoin(Delivery, Delivery.output_id == Output.id)
        .where(Output.analysis_id == analysis_id)
        .order_by(Output.id, Delivery.destination)
    ).tuples()
    return [_of_delivery(output, delivery) for output, delivery in rows]


def _of_delivery(output: Output, delivery: Delivery | None) -> Sent:
    which = (output.kind, output.sop_uid, output.series_uid, output.removed_at is not None)
    if delivery is None:
        return Sent(*which, "", "", 0, None, "", None)
    at = delivery.delivered_at or delivery.last_attempt_at
    return Sent(
        *which, delivery.destination, delivery.state, delivery.attempts, delivery.last_status, delivery.comment, at
    )  # fmt: skip


def _events(session: Session, study_id: int) -> list[Said]:
    """What happened, oldest first, each analysis with its number among them."""
    found = [
        Said(row.at, row.sentence)
        for row in session.scalars(select(Event).where(Event.study_id == study_id).order_by(Event.at, Event.id))
    ]
    return sorted(found, key=lambda one: one.at)


def files_of_results(session: Session, study_uid: str) -> list[tuple[str, str, str]]:
    """(kind, SOP Instance UID, path) of what the analysis that stands made and is still here."""
    rows = (
        select(Output.kind, Output.sop_uid, Output.path)
        .join(Analysis, Output.analysis_id == Analysis.id)
        .join(Study, Analysis.study_id == Study.id)
        .where(Study.study_uid == study_uid, ~Analysis.superseded, Output.removed_at.is_(None))
        .order_by(Output.id)
    )
    return list(session.execute(rows).tuples())
