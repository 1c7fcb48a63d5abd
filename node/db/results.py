"""Rows of one analysis: what was looked at, found and made. The caller owns the transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import bindparam, func, insert, select, update
from sqlalchemy.orm import Session

from node.core.study import StudyState
from node.db import deliveries, told
from node.db.driver import Rendered
from node.db.query_tables import place
from node.db.tables import (
    Analysis,
    AnalysisModel,
    Base,
    Delivery,
    Detail,
    Finding,
    Instance,
    LesionRow,
    Output,
    Reserve,
    SelectionRow,
    Series,
    StandIn,
    Study,
    table_of,
)

if TYPE_CHECKING:
    from models.api import ModelIdentity, Prediction


@dataclass(frozen=True)
class InstanceRow:
    """One stored instance of a study, in the order of series and number."""

    sop_instance_uid: str
    sop_class_uid: str
    series_instance_uid: str
    transfer_syntax_uid: str
    modality: str
    sha256: str
    path: str
    is_own_result: bool
    arrival: int  # smaller came earlier


@dataclass(frozen=True)
class NewAnalysis:
    study_id: int
    job_key: str
    instance_set_digest: str
    config_digest: str
    reason: str  # empty when something was analysed
    superseded: bool
    instances_used: int
    instances_left_out: int
    started_at: datetime
    analysed_at: datetime
    stage_seconds: str  # JSON


@dataclass(frozen=True)
class NewLesion:
    """A lesion with what only the node knows of it."""

    tracking_uid: str
    x_mm: float | None
    y_mm: float | None


@dataclass(frozen=True)
class NewOutput:
    kind: str
    sop_instance_uid: str
    sop_class_uid: str
    series_instance_uid: str
    sha256: str
    path: str


@dataclass(frozen=True)
class EarlierObject:
    """Of an earlier analysis. instance_number: as in a report's file; destinations: who is owed it or may be."""

    kind: str
    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    instance_number: int
    destinations: tuple[str, ...]


# What every study comes to.
_STATE = Rendered(select(Study.study_uid, Study.state).where(Study.id == bindparam("study")))
_INSTANCES = Rendered(  # in the order of InstanceRow
    select(Instance.sop_uid, Instance.sop_class_uid, Series.series_uid, Instance.transfer_syntax_uid, Series.modality)
    .add_columns(Instance.sha256, Instance.path, Instance.is_own_result, Instance.id)
    .join(Series, Instance.series_id == Series.id)
    .where(Series.study_id == bindparam("study"))
    .order_by(Series.series_uid, Instance.instance_number, Instance.sop_uid)
)
_NEWEST = select(func.max(Analysis.id)).where(Analysis.study_id == bindparam("study"), ~Analysis.superseded)
_NEWEST_OUTPUTS = Rendered(
    select(Output.id, Output.analysis_id, Output.kind, Output.sop_class_uid, Output.sop_uid, Output.series_uid)
    .outerjoin(StandIn, StandIn.output_id == Output.id)
    .where(Output.analysis_id == _NEWEST.scalar_subquery(), StandIn.output_id.is_(None))
    .order_by(Output.id)
)
_TO = select(Delivery.destination).where(Delivery.output_id == bindparam("output"))
_KEPT_FOR = select(Reserve.destination).where(Reserve.output_id == bindparam("output"))
_DESTINATIONS = (Rendered(_TO), Rendered(_KEPT_FOR))
_ANALYSES = table_of(Analysis)
_SUPERSEDE = Rendered(update(_ANALYSES).where(_ANALYSES.c.study_id == bindparam("study")).values(superseded=True))


def _adding(of: type[Base], *, but: str = "id") -> Rendered:
    """An insert of one row, which is told every column but one; what it returns is the key."""
    table = table_of(of)
    return Rendered(insert(table).returning(*table.primary_key), [one.key for one in table.c if one.key != but])


_ADD_ANALYSIS, _ADD_SELECTION, _ADD_MODEL = _adding(Analysis), _adding(SelectionRow), _adding(AnalysisModel)
_ADD_FINDING, _ADD_LESION, _ADD_DETAIL = _adding(Finding), _adding(LesionRow), _adding(Detail)
_ADD_OUTPUT, _ADD_RESERVE = _adding(Output), _adding(Reserve)


def study_id_of(session: Session, study_uid: str) -> int | None:
    return session.scalar(select(Study.id).where(Study.study_uid == study_uid))


def study_state(session: Session, study_id: int) -> tuple[str, StudyState]:
    """(study UID, state)"""
    ((study_uid, state),) = _STATE.rows(session.connection(), {"study": study_id})
    return study_uid, StudyState(state)


def instances_of(session: Session, study_id: int) -> list[InstanceRow]:
    return [InstanceRow(*row) for row in _INSTANCES.rows(session.connection(), {"study": study_id})]


def add_analysis(session: Session, new: NewAnalysis) -> int:
    """The analysis; earlier ones of the study are superseded by one that is not, and what waits of them is not sent."""
    connection, outcome = session.connection(), "refused" if new.reason else "analysed"
    if not new.superseded and _SUPERSEDE.run(connection, {"study": new.study_id}).rowcount:
        deliveries.supersede_study(session, new.study_id, new.analysed_at)
    ((analysis_id,),) = _ADD_ANALYSIS.rows(connection, {**vars(new), "outcome": outcome})
    details = {"analysis": analysis_id, "outcome": outcome, "superseded": new.superseded, "used": new.instances_used}
    told.analysis(session, new.study_id, details, new.analysed_at)
    return int(analysis_id)


def add_selection(session: Session, analysis_id: int, series_uid: str, sop_uid: str, taken: bool, reason: str) -> None:
    row = {"analysis_id": analysis_id, "series_uid": series_uid, "sop_uid": sop_uid, "taken": taken, "reason": reason}
    _ADD_SELECTION.run(session.connection(), row)


def add_model(session: Session, analysis_id: int, model: ModelIdentity, refused: str = "") -> None:
    row = {
        "analysis_id": analysis_id,
        "system": model.system,
        "name": model.name,
        "version": model.version,
        "weights_sha256": model.weights_sha256,
        "outcome": "refused" if refused else "predicted",
        "reason": refused,
    }
    _ADD_MODEL.run(session.connection(), row)


def add_prediction(
    session: Session,
    analysis_id: int,
    instance: InstanceRow,
    prediction: Prediction,
    lesions: Sequence[NewLesion],
    details: Mapping[str, float],
    frame: int = 0,
) -> None:
    """Findings, lesions and further numbers of one system on one image. ``lesions`` beside those of the prediction.

    frame: of a multi-frame object, from 1; 0 for an object of one image.
    """
    connection, model, uid = session.connection(), prediction.model, instance.sop_instance_uid
    where = {"analysis_id": analysis_id, "sop_uid": uid, "series_uid": instance.series_instance_uid}
    where |= {**place(session, analysis_id, uid), "system": model.system}
    for score in prediction.scores:
        finding = {
            "modality": instance.modality,
            "model_version": model.version,
            "weights_sha256": model.weights_sha256,
            "class": score.name,
            "code_value": score.code.value,
            "code_scheme": score.code.scheme,
            "code_meaning": score.code.meaning,
            "probability": score.probability,
            "threshold": score.threshold,
            "decision": score.decision,
        }
        _ADD_FINDING.run(connection, where | finding)
    for lesion, more in zip(prediction.lesions, lesions, strict=True):
        marked = {
            "class": prediction.heat_class or prediction.decided_class,
            "number": lesion.number,
            "tracking_uid": more.tracking_uid,
            "x_px": lesion.centre_px[0],
            "y_px": lesion.centre_px[1],
            "x_unit": lesion.centre_unit[0],
            "y_unit": lesion.centre_unit[1],
            "x_mm": more.x_mm,
            "y_mm": more.y_mm,
            "area_px": lesion.area_px,
            "dbscan_size": lesion.dbscan_size,
            "major_axis_px": lesion.axis_lengths_px[0],
            "minor_axis_px": lesion.axis_lengths_px[1],
            "angle_deg": lesion.angle_deg,
            "peak_heat": lesion.peak_heat,
            "inside_lung": lesion.inside_lung,
            "lung_share": lesion.lung_share,
            "frame": frame or None,
        }
        _ADD_LESION.run(connection, where | marked)
    add_details(session, analysis_id, uid, model.system, details, frame)


def add_details(
    session: Session, analysis_id: int, sop_uid: str, system: str, details: Mapping[str, float], frame: int = 0
) -> None:
    """Further numbers of one system on one image; ``frame`` as above."""
    where = {"analysis_id": analysis_id, "sop_uid": sop_uid, "system": system, "frame": frame or None}
    for name, value in details.items():
        _ADD_DETAIL.run(session.connection(), {**where, "name": name, "value": value})


def add_output(
    session: Session,
    analysis_id: int,
    new: NewOutput,
    destinations: Sequence[str],
    now: datetime,
    kept_for: Sequence[str] = (),
) -> None:
    """An output with one delivery and one deliver job for each destination. kept_for: destinations that get it only
    where they take no report."""
    row = {
        "analysis_id": analysis_id,
        "kind": new.kind,
        "sop_uid": new.sop_instance_uid,
        "sop_class_uid": new.sop_class_uid,
        "series_uid": new.series_instance_uid,
        "sha256": new.sha256,
        "path": new.path,
        "removed_at": None,
    }
    ((output_id,),) = _ADD_OUTPUT.rows(session.connection(), row)
    for destination in kept_for:
        _ADD_RESERVE.run(session.connection(), {"output_id": output_id, "destination": destination})
    for destination in destinations:
        deliveries.begin(session, output_id, new.sop_instance_uid, destination, now)


def objects_of(session: Session, study_id: int) -> list[EarlierObject]:
    """The outputs of the study's newest analysis that still stands, those left out that were meant for nobody.

    What fallback does later changes nothing of it: a rerun finds the same.
    """
    connection, found = session.connection(), []
    for output_id, analysis_id, kind, sop_class, uid, series in _NEWEST_OUTPUTS.rows(connection, {"study": study_id}):
        names = [name for query in _DESTINATIONS for (name,) in query.rows(connection, {"output": output_id})]
        if destinations := tuple(dict.fromkeys(names)):
            number = _number(session, study_id, analysis_id, kind)
            found.append(EarlierObject(kind, sop_class, uid, series, number, destinations))
    return found


def _number(session: Session, study_id: int, analysis_id: int, kind: str) -> int:
    """Which analysis of the study it is, from 1, among those that made such a thing for anybody."""
    meant = select(Delivery.output_id).union(select(Reserve.output_id))
    count = session.scalar(
        select(func.count(Analysis.id.distinct()))
        .join(Output, Output.analysis_id == Analysis.id)
        .where(Analysis.study_id == study_id, Analysis.id <= analysis_id)
        .where(Output.kind == kind, Output.id.in_(meant))
    )
    return count or 0
