"""Films with hostile headers, sent by DCMTK's storescu: a delivered, valid report, or a stored refusal.

What is received stays in the archive byte for byte. The headers are those of tests/results/hostile.py, which are tried
there on every kind of object, of CT too; here the way through receipt, selection, database and delivery is tried. Only
some are judged by the models, which takes their time. Not covered: broken transfers and pixels (test_bad_input).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from pydicom import Dataset

from node.results.common import CHANGED, PATIENT, STUDY
from tests.e2e.reading import SR, of_class, saved, texts
from tests.films import Film, drawn, wrap
from tests.peers import Orthanc, dsrdump, storescu
from tests.results.hostile import COPIED, SOUND, WAYS, errors, file_of, hurt
from tests.served import LungnodeProcess

WHO = tuple(  # without what the age is told by: a child is refused
    keyword for keyword in (*PATIENT, *STUDY) if keyword not in (*SOUND, "PatientBirthDate", "PatientAge")
)
JUDGED = ("too long",)
OF_ALL = ("absent", "impossible", "every byte", "undecodable in ISO_IR 192")  # damage also what selection asks for
UIDS = {  # Study Instance UID -> whether anything can be stored under it
    "1.02.826.0.1.3680043.8.498.00081": True,
    "1." + "2" * 62: True,
    "1." + "2" * 63: False,
    "1..2": False,
    "not a UID": False,
}


pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom warns of exactly what is meant here


@dataclass(frozen=True)
class Sent:
    study_uid: str
    file: bytes


def damaged_film(way: str, keywords: tuple[str, ...]) -> Sent:
    damage, character_set = WAYS[way]
    ds = wrap(Film(drawn(7, 256), f"hostile {way} {len(keywords)}"))
    return Sent(str(ds.StudyInstanceUID), file_of(hurt(ds, damage, keywords, character_set)))


def knee(study_uid: str) -> Sent:
    film = Film(drawn(7, 256), f"hostile {study_uid}", body_part="KNEE", description="Knee")
    ds = wrap(film)
    ds.StudyInstanceUID = study_uid
    return Sent(study_uid, file_of(ds))


@pytest.fixture(scope="module")
def all_sent(node: LungnodeProcess, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Sent]:
    """Everything at once, so that it is waited for once."""
    found = {way: damaged_film(way, WHO) for way in JUDGED}
    found |= {f"all {way}": damaged_film(way, COPIED) for way in OF_ALL}
    found |= {study_uid: knee(study_uid) for study_uid in UIDS}
    for name, sent in found.items():
        path = tmp_path_factory.mktemp("sent") / "it.dcm"
        path.write_bytes(sent.file)
        done = storescu(node.dicom_port, [path])
        assert (done.code == 0) == UIDS.get(name, True), f"{name}: {done.text}"
    node.wait_settled([sent.study_uid for name, sent in found.items() if UIDS.get(name, True)], 200)
    return found


def results(orthanc: Orthanc, study_uid: str) -> list[Dataset]:
    return [ds for ds in orthanc.datasets(study_uid) if str(ds.get("InstanceCreatorUID", "")).startswith("2.25.")]


@pytest.mark.parametrize("name", [*JUDGED, *(f"all {way}" for way in OF_ALL)])
def test_there_is_a_valid_report(
    name: str, node: LungnodeProcess, orthanc: Orthanc, all_sent: dict[str, Sent], tmp_path: Path
) -> None:
    delivered = results(orthanc, all_sent[name].study_uid)
    (report,) = of_class(delivered, SR)
    for ds in delivered:
        assert errors(saved(ds, tmp_path)) == []
    assert dsrdump(saved(report, tmp_path), "-Er").code == 0
    assert name not in JUDGED or len(delivered) > 1, texts(report)
    assert (CHANGED in texts(report)) == (name != "all absent")


@pytest.mark.parametrize("name", [*JUDGED, "all undecodable in ISO_IR 192"])  # storescu changes some
def test_what_was_received_stays_as_it_came(name: str, node: LungnodeProcess, all_sent: dict[str, Sent]) -> None:
    rows = node.rows(
        "SELECT instances.path FROM instances JOIN series ON series.id = series_id"
        " JOIN studies ON studies.id = study_id WHERE study_uid = ? AND NOT is_own_result",
        all_sent[name].study_uid,
    )
    (path,) = [node.data / "archive" / row["path"] for row in rows]
    assert data_set(path.read_bytes()) == data_set(all_sent[name].file)


def data_set(file: bytes) -> bytes:
    """Without the file meta group, which is that of the receiver: its length stands in its first element."""
    return file[144 + int.from_bytes(file[140:144], "little") :]


@pytest.mark.parametrize("study_uid", [study_uid for study_uid, is_taken in UIDS.items() if is_taken])
def test_a_study_uid_that_can_be_stored_is_kept(
    study_uid: str, orthanc: Orthanc, all_sent: dict[str, Sent], tmp_path: Path
) -> None:
    delivered = results(orthanc, study_uid)
    assert len(of_class(delivered, SR)) == 1 and {str(ds.StudyInstanceUID) for ds in delivered} == {study_uid}
    found = [line for ds in delivered for line in errors(saved(ds, tmp_path))]
    assert all(study_uid in line or "invalid data values" in line for line in found)


@pytest.mark.parametrize("study_uid", [study_uid for study_uid, is_taken in UIDS.items() if not is_taken])
def test_a_study_uid_that_is_none_is_a_stored_refusal(
    study_uid: str, node: LungnodeProcess, all_sent: dict[str, Sent]
) -> None:
    sop_uid = Film(drawn(7, 64), f"hostile {study_uid}").sop_instance_uid
    (row,) = node.rows("SELECT reason FROM refusals WHERE sop_uid = ?", sop_uid)
    assert row["reason"] == "The Study Instance UID of the data set is not a UID."


def test_nothing_broke(node: LungnodeProcess, all_sent: dict[str, Sent]) -> None:
    assert [line["traceback"] for line in node.events() if "traceback" in line] == []
    assert "LONGMARKER" not in node.logged()
