"""A study's lifecycle and the small records that cross rooms.

``queued`` and one ``analyse`` job are always written in one transaction. Delivery has its own ledger and is not a
state of the study: a study may be analysed and still owe its results to a PACS that is away.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class StudyState(StrEnum):
    RECEIVING = "receiving"  # instances arrive, or the quiet time runs
    QUEUED = "queued"  # complete; an analyse job exists
    ANALYSING = "analysing"
    ANALYSED = "analysed"  # a result exists: findings, or the reason why there are none
    FAILED = "failed"  # the analyse job was parked; lungnode status says why
    STORED = "stored"  # holds only our own results or nothing of ours to do


NEXT: dict[StudyState, frozenset[StudyState]] = {
    StudyState.RECEIVING: frozenset({StudyState.QUEUED, StudyState.STORED}),
    StudyState.QUEUED: frozenset({StudyState.ANALYSING, StudyState.RECEIVING}),
    StudyState.ANALYSING: frozenset({StudyState.ANALYSED, StudyState.QUEUED, StudyState.RECEIVING, StudyState.FAILED}),
    StudyState.ANALYSED: frozenset({StudyState.RECEIVING}),
    StudyState.FAILED: frozenset({StudyState.RECEIVING, StudyState.QUEUED}),
    StudyState.STORED: frozenset({StudyState.RECEIVING}),
}


@dataclass(frozen=True)
class Origin:
    """Where an instance came from: association (or request) id, AE titles, address; the account of a request.

    site: that the called AE title is of, "" of the node itself; None: it came without one, and joins what is here.
    """

    association: str
    calling_aet: str
    called_aet: str
    address: str
    account: str = ""
    site: str | None = None


@dataclass(frozen=True)
class InstanceHeader:
    """What intake reads of a data set before it is stored. Texts are as decoded; identifiers never go to a log."""

    sop_instance_uid: str
    sop_class_uid: str
    study_instance_uid: str
    series_instance_uid: str
    transfer_syntax_uid: str
    patient_id: str
    issuer_of_patient_id: str
    accession_number: str
    study_date: str  # DA
    modality: str
    series_description: str
    body_part: str
    view_position: str
    instance_number: int | None
    rows: int | None
    columns: int | None
    frames: int | None
    is_own_result: bool  # made by this product: recognised by its UIDs and equipment


@dataclass(frozen=True)
class StoredInstance:
    """One instance in the archive, as the pipeline sees it."""

    sop_instance_uid: str
    sop_class_uid: str
    series_instance_uid: str
    study_instance_uid: str
    transfer_syntax_uid: str
    modality: str
    sha256: str
    path: Path  # a complete DICOM file (Part 10)
    is_own_result: bool
