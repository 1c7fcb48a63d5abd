"""Every table, as SQLAlchemy 2 declarative classes. Rows never leave the ``db`` room; frozen records do.

All times are UTC. Alembic's migrations in ``migrations/`` build exactly this; a test compares the two.
"""

from __future__ import annotations

from datetime import datetime
from typing import cast

from sqlalchemy import (
    BigInteger,
    Boolean,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from node.db.moments import UtcDateTime
from node.db.placed import Placed

UID = String(64)  # PS3.5 section 9.1


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {datetime: UtcDateTime}  # noqa: RUF012


def table_of(rows: type[Base]) -> Table:
    """For statements of tables rather than of objects."""
    return cast(Table, rows.__table__)


class Patient(Base):
    __tablename__ = "patients"
    __table_args__ = (UniqueConstraint("patient_id", "issuer"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    patient_id: Mapped[str] = mapped_column(Text)
    issuer: Mapped[str] = mapped_column(Text, default="")


class Study(Base):
    __tablename__ = "studies"
    __table_args__ = (Index("ix_studies_state_last_received_at", "state", "last_received_at"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    study_uid: Mapped[str] = mapped_column(UID, unique=True)
    patient_id: Mapped[int] = mapped_column(ForeignKey("patients.id"), index=True)
    accession_number: Mapped[str] = mapped_column(Text, default="", index=True)
    study_date: Mapped[str] = mapped_column(String(8), default="")
    modalities: Mapped[str] = mapped_column(String(128), default="")  # sorted, joined by a backslash
    state: Mapped[str] = mapped_column(String(16))
    open_associations: Mapped[int] = mapped_column(default=0)
    first_received_at: Mapped[datetime]
    last_received_at: Mapped[datetime]
    opened_at: Mapped[datetime]  # start of the present receiving period; the hard limit counts from here
    site: Mapped[str] = mapped_column(String(32), default="", server_default="")  # whose it is; empty: the node itself


class Series(Base):
    __tablename__ = "series"

    id: Mapped[int] = mapped_column(primary_key=True)
    series_uid: Mapped[str] = mapped_column(UID)
    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id"), index=True)
    modality: Mapped[str] = mapped_column(String(16))
    description: Mapped[str] = mapped_column(Text, default="")
    body_part: Mapped[str] = mapped_column(String(64), default="")
    __table_args__ = (UniqueConstraint("study_id", "series_uid"),)


class Instance(Base):
    __tablename__ = "instances"

    id: Mapped[int] = mapped_column(primary_key=True)
    sop_uid: Mapped[str] = mapped_column(UID, unique=True)
    sop_class_uid: Mapped[str] = mapped_column(UID)
    transfer_syntax_uid: Mapped[str] = mapped_column(UID)
    series_id: Mapped[int] = mapped_column(ForeignKey("series.id"), index=True)
    sha256: Mapped[str] = mapped_column(String(64))  # of the encoded data set, without preamble and meta group
    bytes: Mapped[int] = mapped_column(BigInteger)
    path: Mapped[str] = mapped_column(Text)  # relative to the archive
    instance_number: Mapped[int | None]
    view_position: Mapped[str] = mapped_column(String(16), default="")
    rows: Mapped[int | None]
    columns: Mapped[int | None]
    frames: Mapped[int | None]
    is_own_result: Mapped[bool] = mapped_column(Boolean, default=False)
    origin_association: Mapped[str] = mapped_column(String(64))
    origin_aet: Mapped[str] = mapped_column(String(16))
    origin_address: Mapped[str] = mapped_column(String(64))
    received_at: Mapped[datetime]
    committed_at: Mapped[datetime | None]  # a peer was told that we keep it (PS3.4 annex J)


class Refusal(Base):
    """A data set that was not stored, and why: C-STORE answered a failure status."""

    __tablename__ = "refusals"

    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime] = mapped_column(index=True)
    sop_uid: Mapped[str] = mapped_column(UID, default="")  # as the command set said
    study_uid: Mapped[str] = mapped_column(UID, default="")
    status: Mapped[int]
    reason: Mapped[str] = mapped_column(Text)
    origin_association: Mapped[str] = mapped_column(String(64))
    origin_aet: Mapped[str] = mapped_column(String(16))
    origin_address: Mapped[str] = mapped_column(String(64))


class JobRow(Base):
    __tablename__ = "jobs"
    __table_args__ = (
        UniqueConstraint("kind", "key"),
        Index("ix_jobs_claim", "kind", "state", "priority", "next_at"),
        Index("ix_jobs_subject", "kind", "subject_id"),
        Index("ix_jobs_turn", "kind", "state", "turn_at", "id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))
    key: Mapped[str] = mapped_column(String(255))
    subject_id: Mapped[int]
    payload: Mapped[str] = mapped_column(Text, default="")
    state: Mapped[str] = mapped_column(String(16))
    priority: Mapped[int] = mapped_column(default=0)  # lower first
    attempts: Mapped[int] = mapped_column(default=0)
    stops: Mapped[int] = mapped_column(default=0, server_default="0")  # of the whole node while this ran
    kills: Mapped[int] = mapped_column(default=0, server_default="0")  # of a worker process that was at this alone
    alone: Mapped[bool] = mapped_column(Boolean, default=False, server_default=false())  # in its process, from now on
    next_at: Mapped[datetime]
    turn_at: Mapped[datetime] = mapped_column(server_default="1970-01-01 00:00:00")  # whose is first, goes first
    pipeline: Mapped[str] = mapped_column(String(64), default="", server_default="")  # that it asks for; empty: any
    claimed_by: Mapped[str] = mapped_column(String(64), default="")
    claimed_at: Mapped[datetime | None]
    created_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]
    error: Mapped[str] = mapped_column(Text, default="")  # of the last attempt, one sentence


class Analysis(Base):
    """One run over one set of instances. ``outcome``: analysed, or refused with a reason; never neither."""

    __tablename__ = "analyses"
    __table_args__ = (UniqueConstraint("study_id", "job_key"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id"), index=True)
    job_key: Mapped[str] = mapped_column(String(255))
    instance_set_digest: Mapped[str] = mapped_column(String(64))
    config_digest: Mapped[str] = mapped_column(String(64))
    outcome: Mapped[str] = mapped_column(String(16))  # "analysed", "refused"
    reason: Mapped[str] = mapped_column(Text, default="")
    superseded: Mapped[bool] = mapped_column(Boolean, default=False)
    instances_used: Mapped[int]
    instances_left_out: Mapped[int]
    started_at: Mapped[datetime]  # = creation of the job, so that a rerun writes the same bytes
    analysed_at: Mapped[datetime] = mapped_column(index=True)
    stage_seconds: Mapped[str] = mapped_column(Text, default="{}")  # JSON object, stage -> seconds


class AnalysisModel(Base):
    """Which models took part in an analysis."""

    __tablename__ = "analysis_models"

    id: Mapped[int] = mapped_column(primary_key=True)
    analysis_id: Mapped[int] = mapped_column(ForeignKey("analyses.id"), index=True)
    system: Mapped[str] = mapped_column(String(64))
    name: Mapped[str] = mapped_column(Text)
    version: Mapped[str] = mapped_column(String(32))
    weights_sha256: Mapped[str] = mapped_column(String(64))
    outcome: Mapped[str] = mapped_column(String(16))  # "predicted", "refused"
    reason: Mapped[str] = mapped_column(Text, default="")


class SelectionRow(Base):
    """Each image of the study that was looked at: taken or left out, with the sentence why."""

    __tablename__ = "selections"

    id: Mapped[int] = mapped_column(primary_key=True)
    analysis_id: Mapped[int] = mapped_column(ForeignKey("analyses.id"), index=True)
    series_uid: Mapped[str] = mapped_column(UID)
    sop_uid: Mapped[str] = mapped_column(UID)
    taken: Mapped[bool] = mapped_column(Boolean)
    reason: Mapped[str] = mapped_column(Text)


class Finding(Placed, Base):
    """One class of one system on one image."""

    __tablename__ = "findings"

    id: Mapped[int] = mapped_column(primary_key=True)
    analysis_id: Mapped[int] = mapped_column(ForeignKey("analyses.id"), index=True)
    series_uid: Mapped[str] = mapped_column(UID)
    sop_uid: Mapped[str] = mapped_column(UID, index=True)
    modality: Mapped[str] = mapped_column(String(16))
    system: Mapped[str] = mapped_column(String(64))
    model_version: Mapped[str] = mapped_column(String(32))
    weights_sha256: Mapped[str] = mapped_column(String(64))
    class_name: Mapped[str] = mapped_column("class", String(64))
    code_value: Mapped[str] = mapped_column(String(64))
    code_scheme: Mapped[str] = mapped_column(String(16))
    code_meaning: Mapped[str] = mapped_column(String(128))
    probability: Mapped[float] = mapped_column(Float)
    threshold: Mapped[float] = mapped_column(Float)
    decision: Mapped[bool] = mapped_column(Boolean)


class LesionRow(Placed, Base):
    __tablename__ = "lesions"

    id: Mapped[int] = mapped_column(primary_key=True)
    analysis_id: Mapped[int] = mapped_column(ForeignKey("analyses.id"), index=True)
    series_uid: Mapped[str] = mapped_column(UID)
    sop_uid: Mapped[str] = mapped_column(UID)
    system: Mapped[str] = mapped_column(String(64))
    class_name: Mapped[str] = mapped_column("class", String(64))
    number: Mapped[int] = mapped_column(Integer)
    tracking_uid: Mapped[str] = mapped_column(UID)
    x_px: Mapped[float]
    y_px: Mapped[float]
    x_unit: Mapped[float]
    y_unit: Mapped[float]
    x_mm: Mapped[float | None]  # in the detector plane, from the first pixel's centre; only where spacing is stated
    y_mm: Mapped[float | None]
    area_px: Mapped[float]
    dbscan_size: Mapped[int]
    major_axis_px: Mapped[float]
    minor_axis_px: Mapped[float]
    angle_deg: Mapped[float]
    peak_heat: Mapped[float]
    inside_lung: Mapped[bool]
    lung_share: Mapped[float]
    frame: Mapped[int | None]  # from 1; none where the object has one image


class Detail(Base):
    """Further numbers of a prediction, e.g. both stages of CNNCF, share of heat in the lung field."""

    __tablename__ = "details"

    id: Mapped[int] = mapped_column(primary_key=True)
    analysis_id: Mapped[int] = mapped_column(ForeignKey("analyses.id"), index=True)
    sop_uid: Mapped[str] = mapped_column(UID)
    system: Mapped[str] = mapped_column(String(64))
    name: Mapped[str] = mapped_column(String(64))
    value: Mapped[float]
    frame: Mapped[int | None]  # as of lesions; none too where the number is of the whole object


class Output(Base):
    """A DICOM object that this node made."""

    __tablename__ = "outputs"

    id: Mapped[int] = mapped_column(primary_key=True)
    analysis_id: Mapped[int] = mapped_column(ForeignKey("analyses.id"), index=True)
    kind: Mapped[str] = mapped_column(String(16))  # as in results.record.BuiltObject
    sop_uid: Mapped[str] = mapped_column(UID, unique=True)
    sop_class_uid: Mapped[str] = mapped_column(UID)
    series_uid: Mapped[str] = mapped_column(UID)
    sha256: Mapped[str] = mapped_column(String(64))  # of the whole file
    path: Mapped[str] = mapped_column(Text)
    removed_at: Mapped[datetime | None]  # the file is gone, see db.retention_tables


class StandIn(Base):
    """An output made of another one, for destinations that do not take the SOP class of that."""

    __tablename__ = "stand_ins"

    output_id: Mapped[int] = mapped_column(ForeignKey("outputs.id"), primary_key=True)
    original_id: Mapped[int] = mapped_column(ForeignKey("outputs.id"), index=True)


class Reserve(Base):
    """An output kept for a destination, to be sent only where that takes no report in any form."""

    __tablename__ = "reserves"

    output_id: Mapped[int] = mapped_column(ForeignKey("outputs.id"), primary_key=True)
    destination: Mapped[str] = mapped_column(String(128), primary_key=True)


class Delivery(Base):
    """The ledger: one output to one destination."""

    __tablename__ = "deliveries"
    __table_args__ = (UniqueConstraint("output_id", "destination"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    output_id: Mapped[int] = mapped_column(ForeignKey("outputs.id"), index=True)
    destination: Mapped[str] = mapped_column(String(128), index=True)
    state: Mapped[str] = mapped_column(String(16))  # as db.deliveries.STATES
    owed_at: Mapped[datetime]
    attempts: Mapped[int] = mapped_column(default=0)
    last_attempt_at: Mapped[datetime | None]
    last_status: Mapped[int | None]  # DIMSE status of the last C-STORE response
    comment: Mapped[str] = mapped_column(Text, default="")
    delivered_at: Mapped[datetime | None]
    committed_at: Mapped[datetime | None]


class RefusedClass(Base):
    """A SOP class that a destination said it does not take, until an operator has it forgotten."""

    __tablename__ = "refused_classes"

    destination: Mapped[str] = mapped_column(String(128), primary_key=True)
    sop_class_uid: Mapped[str] = mapped_column(UID, primary_key=True)
    refused_at: Mapped[datetime]


class Event(Base):
    """The story of a study, in sentences, for ``lungnode status``. No identifying data."""

    __tablename__ = "events"

    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id"), index=True)
    at: Mapped[datetime]
    sentence: Mapped[str] = mapped_column(Text)
