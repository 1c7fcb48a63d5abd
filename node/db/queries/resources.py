"""What may be asked for: results, lesions, analyses and deliveries, each with its columns, filters and orders.

A resource is a table of facts (``fact``) with what is joined to show it (``shown``). Which rows a page holds is decided
by conditions on the fact alone, so that no join can lead the database astray; ``plain`` are those of one filter each,
those of the study, of delivery and of verdicts are in ``scope``. The indexes of ``query_tables`` serve them. Columns
are declared here once: JSON, CSV, Parquet, OpenAPI and the SQL views follow.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Select, SQLColumnExpression, exists, select

from node.core.audit import KINDS, OUTCOMES
from node.db.audit import stamp
from node.db.audit_tables import AuditRow
from node.db.queries.fields import Condition, Field, Resource, field, past_indexes
from node.db.tables import (
    Analysis,
    AnalysisModel,
    Delivery,
    Finding,
    Instance,
    LesionRow,
    Output,
    Patient,
    Series,
    Study,
)

COMMON = ("since", "until", "study", "patient_id", "issuer", "accession")
READ = ("delivered", "verdict", "superseded")
OWED = ("waiting", "committing", "failed", "refused")  # states of a delivery that has not reached its destination
UID_EXAMPLE = "1.2.826.0.1.3680043.2.1143.1"
AT = "2026-01-05T09:30:00.000+00:00"
STUDY_UID = field("study_uid", "uid", "Study Instance UID", UID_EXAMPLE, Study.study_uid)
WHOSE = (
    field("patient_id", "text", "Patient ID", "P-1001", Patient.patient_id),
    field("issuer", "text", "Issuer of Patient ID", "HOSPITAL", Patient.issuer),
    field("accession", "text", "Accession Number", "A-2001", Study.accession_number),
)
SUPERSEDED = field("superseded", "truth", "a newer analysis of the study took its place", False, Analysis.superseded)


def _analysed(id_: SQLColumnExpression[int]) -> Field:
    return field("analysis_id", "count", "number of the analysis in this node", 12, id_)


def _with_patient(statement: Select[Any]) -> Select[Any]:
    return statement.join(Study, Analysis.study_id == Study.id).join(Patient, Study.patient_id == Patient.id)


def _of_finding(name: str, kind: str, meaning: str, example: Any) -> Field:
    attribute = {"class": "class_name", "sop_instance_uid": "sop_uid"}.get(name, name)
    return field(name, kind, meaning, example, getattr(Finding, attribute))


RESULTS = Resource(
    name="results",
    meaning="one row for each class of each system on each image",
    fact=Finding,
    fields=(
        _of_finding("id", "count", "number of the finding in this node", 345),
        _analysed(Finding.analysis_id),
        STUDY_UID,
        _of_finding("series_uid", "uid", "Series Instance UID of the image", UID_EXAMPLE + ".1"),
        _of_finding("sop_instance_uid", "uid", "SOP Instance UID of the image", UID_EXAMPLE + ".1.1"),
        _of_finding("modality", "text", "Modality of the image", "DX"),
        _of_finding("system", "text", "system that judged", "cxnet"),
        _of_finding("class", "text", "class that was judged", "covid19"),
        field("code", "text", "code of the class, scheme and value", "SCT:840539006",
               Finding.code_scheme.concat(":").concat(Finding.code_value)),
        _of_finding("probability", "number", "probability of the class, 0 to 1", 0.91),
        _of_finding("decision", "truth", "the system decided for the class", True),
        _of_finding("threshold", "number", "probability from which it decides so", 0.5),
        _of_finding("model_version", "text", "version of the model", "1.0.0"),
        _of_finding("weights_sha256", "text", "digest of its weights", "9f86d081884c7d65" * 4),
        _of_finding("analysed_at", "time", "when it was analysed", AT),
        *WHOSE,
        _of_finding("calling_aet", "text", "AE title that sent the image", "CR_ROOM_2"),
        SUPERSEDED,
    ),
    filters=(*COMMON, "modality", "calling_aet", "system", "version", "class", "min_probability", "max_probability",
             "decision", *READ),
    plain={
        "modality": lambda value: Finding.modality == value,
        "calling_aet": lambda value: Finding.calling_aet == value,
        "system": lambda value: Finding.system == value,
        "version": lambda value: past_indexes(Finding.model_version) == value,
        "class": lambda value: Finding.class_name == value,
        "decision": lambda value: Finding.decision.is_(value),
    },
    time=Finding.analysed_at,
    probability=Finding.probability,
    sorts={"analysed_at": Finding.analysed_at, "probability": Finding.probability},
    shown=lambda statement: _with_patient(statement.join(Analysis, Finding.analysis_id == Analysis.id)),
    of_studies=Finding.study_id.in_,
    analysis_id=Finding.analysis_id,
    superseded=exists().where(Analysis.id == Finding.analysis_id, Analysis.superseded),
    short=("analysed_at", "study_uid", "modality", "system", "class", "probability", "decision", "threshold"),
)  # fmt: skip


def _of_lesion(name: str, kind: str, meaning: str, example: Any, optional: bool = False) -> Field:
    attribute = {"class": "class_name", "sop_instance_uid": "sop_uid"}.get(name, name)
    return field(name, kind, meaning, example, getattr(LesionRow, attribute), optional)


LESIONS = Resource(
    name="lesions",
    meaning="one row for each lesion centre; pixels count from the first pixel's centre",
    fact=LesionRow,
    fields=(
        _of_lesion("id", "count", "number of the lesion in this node", 77),
        _analysed(LesionRow.analysis_id),
        STUDY_UID,
        _of_lesion("series_uid", "uid", "Series Instance UID of the image", UID_EXAMPLE + ".1"),
        _of_lesion("sop_instance_uid", "uid", "SOP Instance UID of the image", UID_EXAMPLE + ".1.1"),
        _of_lesion("frame", "count", "frame, from 1; empty where the object has one image", 3, True),
        _of_lesion("system", "text", "system that explained itself", "cxnet"),
        _of_lesion("class", "text", "class whose heat it is", "covid19"),
        _of_lesion("number", "count", "number of the lesion on the image, from 1", 1),
        _of_lesion("tracking_uid", "uid", "Tracking Unique Identifier in the reports", UID_EXAMPLE + ".9"),
        _of_lesion("x_px", "number", "column", 812.5),
        _of_lesion("y_px", "number", "row", 640.0),
        _of_lesion("x_unit", "number", "column as a share of the width", 0.41),
        _of_lesion("y_unit", "number", "row as a share of the height", 0.32),
        _of_lesion("x_mm", "number", "millimetres, where spacing is stated", 113.7, True),
        _of_lesion("y_mm", "number", "millimetres, where spacing is stated", 89.6, True),
        _of_lesion("area_px", "number", "area in pixels", 5210.0),
        _of_lesion("dbscan_size", "count", "points of heat in the cluster", 64),
        _of_lesion("major_axis_px", "number", "longer axis", 102.0),
        _of_lesion("minor_axis_px", "number", "shorter axis", 65.0),
        _of_lesion("angle_deg", "number", "angle of the longer axis", 34.0),
        _of_lesion("peak_heat", "number", "highest heat, 0 to 1", 0.97),
        _of_lesion("inside_lung", "truth", "its centre lies in the lung field", True),
        _of_lesion("lung_share", "number", "share of its area in the lung field", 0.93),
        _of_lesion("analysed_at", "time", "when it was analysed", AT),
        *WHOSE,
        _of_lesion("calling_aet", "text", "AE title that sent the image", "CR_ROOM_2"),
        SUPERSEDED,
    ),
    filters=(*COMMON, "modality", "calling_aet", "system", "class", *READ),
    plain={
        "modality": lambda value: exists().where(
            Series.study_id == LesionRow.study_id, Series.series_uid == LesionRow.series_uid, Series.modality == value
        ),
        "calling_aet": lambda value: LesionRow.calling_aet == value,
        "system": lambda value: LesionRow.system == value,
        "class": lambda value: LesionRow.class_name == value,
    },
    time=LesionRow.analysed_at,
    sorts={"analysed_at": LesionRow.analysed_at},
    shown=lambda statement: _with_patient(statement.join(Analysis, LesionRow.analysis_id == Analysis.id)),
    of_studies=LesionRow.study_id.in_,
    analysis_id=LesionRow.analysis_id,
    superseded=exists().where(Analysis.id == LesionRow.analysis_id, Analysis.superseded),
    short=("study_uid", "system", "class", "number", "x_px", "y_px", "x_mm", "y_mm", "peak_heat", "inside_lung"),
)  # fmt: skip


def _model(**wanted: Any) -> Condition:
    columns = [getattr(AnalysisModel, name) == value for name, value in wanted.items()]
    return exists().where(AnalysisModel.analysis_id == Analysis.id, *columns)


def _image(condition: Condition) -> Condition:
    """Some received image of the analysis' study."""
    received = (Series.study_id == Analysis.study_id) & ~Instance.is_own_result
    return select(Instance.id).join(Series, Instance.series_id == Series.id).where(received, condition).exists()


ANALYSES = Resource(
    name="analyses",
    meaning="one row for each analysis of a study, refusals included",
    fact=Analysis,
    fields=(
        field("id", "count", "number of the analysis in this node", 12, Analysis.id),
        STUDY_UID,
        field("outcome", "text", "analysed or refused", "analysed", Analysis.outcome),
        field("reason", "text", "why it was refused", "", Analysis.reason),
        field("modalities", "text", "Modalities in the study, by backslashes", "DX", Study.modalities),
        field("instances_used", "count", "images that were analysed", 1, Analysis.instances_used),
        field("instances_left_out", "count", "images that were not", 0, Analysis.instances_left_out),
        field("started_at", "time", "when the study was complete", AT, Analysis.started_at),
        field("analysed_at", "time", "when it was analysed", AT, Analysis.analysed_at),
        field("config_digest", "text", "digest of settings, rules and models", "ab12" * 16, Analysis.config_digest),
        *WHOSE,
        SUPERSEDED,
    ),
    filters=(*COMMON, "modality", "calling_aet", "system", "version", "outcome", *READ),
    plain={
        "modality": lambda value: _image(Series.modality == value),
        "calling_aet": lambda value: _image(Instance.origin_aet == value),
        "system": lambda value: _model(system=value),
        "version": lambda value: _model(version=value),
        "outcome": lambda value: Analysis.outcome == value,
    },
    time=Analysis.analysed_at,
    sorts={"analysed_at": Analysis.analysed_at},
    shown=_with_patient,
    of_studies=Analysis.study_id.in_,
    analysis_id=Analysis.id,
    superseded=Analysis.superseded.is_(True),
    short=("analysed_at", "study_uid", "outcome", "modalities", "instances_used", "instances_left_out", "reason"),
)


def _outputs(*conditions: Condition) -> Select[tuple[int]]:
    return select(Output.id).join(Analysis, Output.analysis_id == Analysis.id).where(*conditions)


DELIVERIES = Resource(
    name="deliveries",
    meaning="the ledger: one row for each object and destination, with the last answer",
    fact=Delivery,
    fields=(
        field("id", "count", "number of the delivery in this node", 501, Delivery.id),
        _analysed(Output.analysis_id),
        STUDY_UID,
        field("output_uid", "uid", "SOP Instance UID of the object", UID_EXAMPLE + ".2.1", Output.sop_uid),
        field("sop_class_uid", "uid", "SOP Class UID", "1.2.840.10008.5.1.4.1.1.88.34", Output.sop_class_uid),
        field("kind", "text", "kind of object", "sr", Output.kind),
        field("destination", "text", "name of the destination", "PACS@pacs.example:104", Delivery.destination),
        field("state", "text", "waiting, committing, delivered, failed, replaced, refused or superseded", "delivered",
               Delivery.state),
        field("attempts", "count", "attempts so far", 1, Delivery.attempts),
        field("last_status", "count", "DIMSE or HTTP status of the last answer", 0, Delivery.last_status, True),
        field("comment", "text", "what was said of the last attempt", "", Delivery.comment),
        field("owed_at", "time", "when it became due", AT, Delivery.owed_at),
        field("last_attempt_at", "time", "when it was last tried", AT, Delivery.last_attempt_at, True),
        field("delivered_at", "time", "when it was delivered", AT, Delivery.delivered_at, True),
        field("committed_at", "time", "when the destination committed it", AT, Delivery.committed_at, True),
        SUPERSEDED,
    ),
    filters=(*COMMON, "destination", "state", "kind", "delivered", "superseded"),
    plain={
        "destination": lambda value: Delivery.destination == value,
        "state": lambda value: Delivery.state == value,
        "kind": lambda value: exists().where(Output.id == Delivery.output_id, Output.kind == value),
        "delivered": lambda value: Delivery.state == "delivered" if value else Delivery.state.in_(OWED),
    },
    time=Delivery.owed_at,
    sorts={"owed_at": Delivery.owed_at},
    shown=lambda statement: _with_patient(
        statement.join(Output, Delivery.output_id == Output.id).join(Analysis, Output.analysis_id == Analysis.id)
    ),
    of_studies=lambda studies: Delivery.output_id.in_(_outputs(Analysis.study_id.in_(studies))),
    superseded=_outputs(Output.id == Delivery.output_id, Analysis.superseded.is_(True)).correlate(Delivery).exists(),
    short=("study_uid", "kind", "destination", "state", "attempts", "last_status", "comment", "delivered_at"),
)  # fmt: skip


def _of_event(name: str, kind: str, meaning: str, example: Any, optional: bool = False) -> Field:
    return field(name, kind, meaning, example, getattr(AuditRow, name), optional)


AUDIT = Resource(
    name="audit",
    meaning="the audit trail: one row for each event",
    fact=AuditRow,
    fields=(
        _of_event("id", "count", "number of the event in this node", 9001),
        _of_event("at", "text", "when, UTC", "2026-01-05T09:30:00.000000Z"),
        _of_event("kind", "text", f"one of {', '.join(KINDS)}", "delivery"),
        _of_event("outcome", "text", f"one of {', '.join(OUTCOMES)}", "success"),
        _of_event("actor", "text", "account, where it was a person", "reader-7"),
        _of_event("aet", "text", "AE title of the other side", "PACS"),
        _of_event("address", "text", "network address of the other side, or its name", "192.0.2.7"),
        _of_event("study_uid", "uid", "Study Instance UID, where it was about one study", UID_EXAMPLE),
        _of_event("details", "text", "a JSON object", '{"kind": "sr"}'),
        _of_event("sequence", "count", "place in the chain; empty for a second, until it is chained", 9001, True),
        _of_event("previous", "text", "hash of the row before", "ab12" * 16, True),
        _of_event("hash", "text", "SHA-256 of this row", "cd34" * 16, True),
    ),
    filters=("since", "until", "study", "kind", "outcome", "actor", "aet", "address"),
    plain={name: AuditRow.__table__.c[column].__eq__ for name, column in (
        ("study", "study_uid"), ("kind", "kind"), ("outcome", "outcome"), ("actor", "actor"), ("aet", "aet"),
        ("address", "address"))},
    time=AuditRow.at,
    as_time=stamp,
    sorts={"id": AuditRow.id},
    shown=lambda statement: statement,
    short=("at", "kind", "outcome", "actor", "aet", "address", "study_uid", "details"),
)  # fmt: skip
RESOURCES = {one.name: one for one in (RESULTS, LESIONS, ANALYSES, DELIVERIES, AUDIT)}
