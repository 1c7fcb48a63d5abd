"""A peer as the source of priors: what it holds of a patient by C-FIND, a study of it by C-GET or C-MOVE."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pydicom import Dataset
from pydicom.multival import MultiValue

from node.dimse import pull
from node.dimse.associating import Peer
from node.pipeline.header import text_of
from node.pipeline.identity import Patient
from node.pipeline.intake import Intake
from node.pipeline.priors import Earlier

Method = pull.Method
OF_PATIENT = ("PatientID", "IssuerOfPatientID", "PatientName", "PatientBirthDate")


@dataclass(frozen=True)
class PriorSource:
    """name: as in the settings. is_here: whether an instance is stored."""

    name: str
    peer: Peer
    method: Method
    intake: Intake
    is_here: Callable[[str], bool]

    def studies(self, patient_id: str) -> list[Earlier]:
        """Patient ID is matched by the peer, the rest is compared here: few peers match issuers, none all names."""
        asked = {"StudyDate": "", "ModalitiesInStudy": "", **dict.fromkeys(OF_PATIENT, ""), "PatientID": patient_id}
        return [_earlier(ds) for ds in pull.find(self.peer, "STUDY", asked) if text_of(ds, "StudyInstanceUID")]

    def body_parts(self, study_uid: str) -> frozenset[str]:
        asked = {"StudyInstanceUID": study_uid, "SeriesInstanceUID": "", "BodyPartExamined": ""}
        return frozenset(text_of(ds, "BodyPartExamined") for ds in pull.find(self.peer, "SERIES", asked))

    def fetch(self, study_uid: str) -> str:
        listed = pull.list_objects(self.peer, study_uid)
        if all(self.is_here(one.sop_instance_uid) for one in listed):
            return ""
        if self.method == "get":
            fetched = pull.get(self.peer, study_uid, listed, self.intake, lambda: None)
        else:
            fetched = pull.move(self.peer, study_uid, self.peer.calling_aet, lambda _: None)
        missing = [one.sop_instance_uid for one in listed if not self.is_here(one.sop_instance_uid)]
        if not missing:
            return ""
        why = fetched.reasons.get(missing[0]) or fetched.comment or pull.not_come(self.peer, self.method)
        return f"{len(missing)} of {len(listed)} objects of {study_uid}: {why}"


def _earlier(ds: Dataset) -> Earlier:
    said = ds.get("ModalitiesInStudy")
    modalities = said if isinstance(said, MultiValue) else [text_of(ds, "ModalitiesInStudy")]
    patient = Patient(*(text_of(ds, keyword) for keyword in OF_PATIENT))
    uid, day = text_of(ds, "StudyInstanceUID"), text_of(ds, "StudyDate")
    return Earlier(uid, day, frozenset(str(one) for one in modalities if one), patient)
