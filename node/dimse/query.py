"""C-FIND SCU: as whom does a peer know a study? Study Root, study level (PS3.4 C.6.2.1), one association for all.

Texts come back decoded. Whatever keeps the peer from a whole answer is a problem in words; it is never "unknown".
"""

from __future__ import annotations

from collections.abc import Sequence

from pydicom import Dataset
from pynetdicom.association import Association
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind  # type: ignore[attr-defined]

from node.dimse.associating import Peer, associate, away
from node.pipeline.header import text_of
from node.pipeline.identity import Known, Patient

PENDING = (0xFF00, 0xFF01)  # matches are continuing; 0xFF01: some optional keys are not supported, PS3.4 Table C.4-1
SUCCESS = 0x0000
OTHERS = "it answers with other studies alone"  # the one asked for may stand beyond what it lists
MOST_ANSWERS = 1000  # of one query; a peer that ignores the key would list its whole archive


def find_studies(peer: Peer, study_uids: Sequence[str]) -> dict[str, Known]:
    """By study UID. Peers that list other studies too are met: only the one that was asked for counts."""
    association = associate(peer, [build_context(StudyRootQueryRetrieveInformationModelFind)])
    if not association.is_established:
        said = "it takes no Study Root C-FIND" if association.rejected_contexts else away(peer)
        return {uid: Known(problem=said) for uid in study_uids}
    try:
        return {uid: _find(association, peer, uid) for uid in study_uids}
    finally:
        if association.is_established:
            association.release()


def _find(association: Association, peer: Peer, study_uid: str) -> Known:
    patients: list[Patient] = []
    if not association.is_established:
        return Known(problem=away(peer))
    try:
        answers = association.send_c_find(_identifier(study_uid), StudyRootQueryRetrieveInformationModelFind)
        for number, (answer, found) in enumerate(answers):
            if "Status" not in answer:
                return Known(problem=away(peer))
            status = int(answer.Status)
            if status == SUCCESS:
                return Known(tuple(patients)) if patients or not number else Known(problem=OTHERS)
            if status not in PENDING:
                return Known(problem=f"C-FIND status 0x{status:04X}")
            if found is None or number >= MOST_ANSWERS:
                association.abort()
                return Known(problem="its answers to C-FIND cannot be understood")
            if text_of(found, "StudyInstanceUID") == study_uid:
                patients.append(_patient(found))
    except (ValueError, RuntimeError):
        pass
    return Known(problem=away(peer))


def _identifier(study_uid: str) -> Dataset:
    """Keys of PS3.4 Table C.6-5 that say who the patient is."""
    ds = Dataset()
    ds.QueryRetrieveLevel, ds.StudyInstanceUID = "STUDY", study_uid
    for keyword in ("PatientID", "IssuerOfPatientID", "PatientName", "PatientBirthDate"):
        setattr(ds, keyword, "")
    return ds


def _patient(found: Dataset) -> Patient:
    texts = (text_of(found, k) for k in ("PatientID", "IssuerOfPatientID", "PatientName", "PatientBirthDate"))
    return Patient(*texts)
