"""Ask a node for what it holds, by DCMTK's programs and by pynetdicom; knows nothing of the node."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from pydicom import Dataset, dcmread
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    PatientRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelFind,
)

from tests.peers import LOOPBACK, Ran, program, run

PATIENT_ROOT = str(PatientRootQueryRetrieveInformationModelFind)
STUDY_ROOT = str(StudyRootQueryRetrieveInformationModelFind)


def identifier(level: str, **keys: object) -> Dataset:
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(ds, keyword, value)
    return ds


@contextmanager
def asking(port: int, *models: str) -> Iterator[Association]:
    ae = AE("ASKER")
    for model in models:
        ae.add_requested_context(model)
    association = ae.associate(LOOPBACK, port, ae_title="LUNGNODE")
    assert association.is_established
    try:
        yield association
    finally:
        if association.is_established:
            association.release()


def find(port: int, level: str, root: str = STUDY_ROOT, **keys: object) -> tuple[list[Dataset], list[int]]:
    """The matches, and every status in the order in which it came."""
    with asking(port, root) as association:
        answers = [
            (int(answer.Status), found) for answer, found in association.send_c_find(identifier(level, **keys), root)
        ]
    return [found for _, found in answers if found is not None], [status for status, _ in answers]


def findscu(port: int, folder: Path, *options: str, **keys: str) -> list[Dataset]:
    """What DCMTK's findscu extracts."""
    folder.mkdir(exist_ok=True)
    ran = run(
        [program("findscu"), "-aec", "LUNGNODE", "-X", "-od", folder, *options, *_keys(keys), LOOPBACK, str(port)]
    )
    assert ran.code == 0, ran.text
    return [dcmread(path, force=True) for path in sorted(folder.iterdir())]


def movescu(port: int, to: str, **keys: str) -> Ran:
    return run([program("movescu"), "-v", "-S", "-aec", "LUNGNODE", "-aem", to, *_keys(keys), LOOPBACK, str(port)])


def getscu(port: int, folder: Path, *options: str, **keys: str) -> Ran:
    folder.mkdir(exist_ok=True)
    command = [program("getscu"), "-v", "-S", "-aec", "LUNGNODE", "+B", "-od", folder, *options, *_keys(keys)]
    return run([*command, LOOPBACK, str(port)])


def _keys(keys: Mapping[str, str]) -> list[str]:
    return [word for keyword, value in keys.items() for word in ("-k", f"{keyword}={value}")]
