"""Whose a study is where no analysed image says it.

``reference_of`` is the header that carries patient and study of one of which nothing was analysed: of the first image
that arrived, since what took part in no picture has no sides and no matrix to speak of. ``patient_of`` is as whom it
was received.

A file that cannot be read, or is not what arrived, gives way to the next one. Where none can be read, patient and study
are those that receipt wrote down.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain

from pydicom import Dataset

from node.core.errors import Refused
from node.core.study import StoredInstance
from node.db import catalogue as rows
from node.db.session import Database
from node.pipeline.catalogue import of_study
from node.pipeline.film import header_of
from node.pipeline.identity import contradiction


def reference_of(database: Database, first: StoredInstance, others: Iterable[StoredInstance]) -> Dataset:
    """first: that arrived. What stands in for it is of the patient as whom the study was received; delivery holds back
    whatever is not."""
    rest = (header for one in others if (header := _read(one)) is not None)
    begin = _read(first)
    if begin is None:
        known = _known(database, first)
        begin = next((header for header in rest if not contradiction([known, header])), known)
    images = (header for header in chain([begin], rest) if "Rows" in header)
    return next((header for header in images if not contradiction([begin, header])), begin)


def patient_of(database: Database, study_uid: str) -> Dataset:
    """PatientID and its issuer, as whom the study was received."""
    study, header = _row(database, study_uid), Dataset()
    header.PatientID, header.IssuerOfPatientID = study.patient_id, study.issuer
    return header


def _read(instance: StoredInstance) -> Dataset | None:
    try:
        return header_of(instance)
    except Refused:
        return None


def _row(database: Database, study_uid: str) -> rows.StudyRecord:
    with database.read() as session:
        (study,) = rows.studies(session, rows.Narrowed(study_uids=(study_uid,)), None, 1)
    return study


def _known(database: Database, instance: StoredInstance) -> Dataset:
    header = Dataset()
    header.SpecificCharacterSet = "ISO_IR 192"
    for keyword, value in of_study(_row(database, instance.study_instance_uid)).items():
        if value:
            setattr(header, keyword, value)
    header.SOPClassUID, header.SOPInstanceUID = instance.sop_class_uid, instance.sop_instance_uid
    header.SeriesInstanceUID, header.Modality = instance.series_instance_uid, instance.modality
    return header
