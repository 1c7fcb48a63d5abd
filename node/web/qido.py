"""QIDO-RS client: as whom does a DICOMweb server know a study? Search for Studies, PS3.18 section 10.6.

Texts come back decoded. Whatever keeps the server from a whole answer is a problem in words; it is never "unknown".
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

from pydicom import Dataset

from node.pipeline.header import text_of
from node.pipeline.identity import Known, Patient

ASKED = ("PatientID", "IssuerOfPatientID", "PatientName", "PatientBirthDate")
MOST_BYTES = 2**20  # of one answer; one study is wanted
OTHERS = "it answers with other studies alone"  # the one asked for may stand beyond what it lists
NO_CONTENT = 204  # nothing matches, PS3.18 Table 10.6.3-1


def find_studies(base: str, study_uids: Sequence[str], seconds: float) -> dict[str, Known]:
    """By study UID. base: URL of the service, to which ``/studies`` is added; seconds: for each answer."""
    return {uid: _find(base, uid, seconds) for uid in study_uids}


def _find(base: str, study_uid: str, seconds: float) -> Known:
    query = [("StudyInstanceUID", study_uid), *(("includefield", keyword) for keyword in ASKED)]
    url = f"{base.rstrip('/')}/studies?{urlencode(query)}"
    request = urllib.request.Request(url, headers={"Accept": "application/dicom+json"})
    try:
        with urllib.request.urlopen(request, timeout=seconds) as answer:
            content = b"[]" if answer.status == NO_CONTENT else answer.read(MOST_BYTES + 1)
    except urllib.error.HTTPError as error:
        return Known(problem=f"QIDO-RS status {error.code}")
    except (OSError, ValueError):
        return Known(problem="its QIDO-RS service does not answer")
    try:
        studies = [Dataset.from_json(study) for study in _list(content)]
    except Exception:  # noqa: BLE001 - pydicom raises what it likes at JSON that is no DICOM
        return Known(problem="its answer to QIDO-RS cannot be understood")
    patients = tuple(_patient(study) for study in studies if text_of(study, "StudyInstanceUID") == study_uid)
    return Known(patients) if patients or not studies else Known(problem=OTHERS)


def _list(content: bytes) -> list[dict[str, Any]]:
    found = json.loads(content) if content.strip() else []
    if len(content) > MOST_BYTES or not isinstance(found, list):
        raise ValueError("no list of studies")
    return found


def _patient(study: Dataset) -> Patient:
    return Patient(*(text_of(study, keyword) for keyword in ASKED))
