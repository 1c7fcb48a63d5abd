"""The running node keeps its archive: priors come from Orthanc by rule and by hand, are kept and not analysed, and
retention takes away what may go and says so.

No worker runs, so that what is no prior stays as it is. Not covered: a disk that fills (tests/pipeline/test_retention),
priors over TLS (tests/dimse/test_tls has the pull).
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from node import cli
from tests.dimse.asking import find
from tests.films import MARKER, Film, Identity, drawn, encoded, uid, wrap
from tests.peers import Orthanc, wait_until
from tests.sending import Encoded, store
from tests.served import LungnodeProcess

ADA = dataclasses.replace(MARKER, patient_id="KEEPADA", patient_name="Ada^Keeping", accession_number="")
OTHER = dataclasses.replace(ADA, patient_name="Eve^Another", birth_date="19500101")
SETTINGS = """
[node]
aet = "KEEPING"

[completeness]
quiet_seconds_film = 0.3

[priors]
source = "{source}"
method = "{method}"
most = 2

[retention]
remove_after_days = {days}
min_days = 0.0
max_percent_per_day = 100.0
"""


def film(name: str, day: str, identity: Identity = ADA) -> Encoded:
    ds = wrap(Film(drawn(1, 32), name, identity=identity))
    ds.StudyDate = day
    return encoded(ds)


def test_priors_come_and_go(orthanc: Orthanc, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    held = [film("oldest", "20170101"), film("older", "20180101"), film("old", "20190101")]
    held.append(film("another's", "20190606", OTHER))
    assert store(orthanc.dicom_port, held) == [0] * 4
    new, old, older = (uid("study", name) for name in ("new", "old", "older"))
    data = tmp_path / "data"

    def serve(method: str, days: float) -> LungnodeProcess:
        text = SETTINGS.format(source=orthanc.address, method=method, days=days)
        return LungnodeProcess("--workers", "0", settings=text, data=data)

    with serve("get", 0.0) as node:
        orthanc.know("keeping", "KEEPING", node.dicom_port)
        assert store(node.dicom_port, [film("new", "20200102")]) == [0]
        wait_until(lambda: states(node) == {new: "queued", old: "stored", older: "stored"}, 60, "two priors are kept")
        wait_until(lambda: done(node) == {"done"}, 20, "the job is done")
        story = node.status(new)
        assert f"2 priors of {orthanc.address} are here: {old}, {older}." in story
        assert "1 under this Patient ID left, since name or birth date do not agree" in story
        assert f"A prior of {new}; not analysed." in node.status(old)
        assert [str(row["origin_aet"]) for row in node.rows("SELECT origin_aet FROM instances ORDER BY id")][1:] == [
            orthanc.aet
        ] * 2
    assert cli.main(["retention", "hold", older, "--data", str(data)]) == 0
    with serve("move", 0.00001) as node:
        orthanc.know("keeping", "KEEPING", node.dicom_port)
        wait_until(lambda: node.rows("SELECT 1 FROM removals WHERE finished_at IS NOT NULL"), 60, "one prior has gone")
        assert names(node) == {new, older}
        assert [str(row["study_uid"]) for row in node.rows("SELECT study_uid FROM studies ORDER BY id")].count(old) == 1
        assert "Its files were removed at" in node.status(old) and "retention.remove_after_days" in node.status(old)
        assert [event["study_instance_uid"] for event in node.events("study.removed")] == [old]
        plan(data, capsys, {new: "stays: it waits for its analysis", older: "stays: it is on hold"})
        assert cli.main(["retention", "hold", old, "--data", str(data)]) == 0
        assert cli.main(["pull", "--priors", new, "--data", str(data)]) == 0
        wait_until(lambda: states(node) == {new: "queued", old: "stored", older: "stored"}, 20, "it is kept again")
        assert names(node) == {new, old, older}
        plan(data, capsys, {old: "stays: it is on hold"})
        assert cli.main(["retention", "free", old, "--data", str(data)]) == 0
        wait_until(lambda: len(node.rows("SELECT 1 FROM removals WHERE finished_at IS NOT NULL")) == 2, 60, "it went")
    files = {path.relative_to(data / "archive") for path in (data / "archive").rglob("*.dcm")}
    assert files == {Path(str(row["path"])) for row in node.rows("SELECT path FROM instances")} and len(files) == 2


def states(node: LungnodeProcess) -> dict[str, str]:
    return {str(row["study_uid"]): str(row["state"]) for row in node.rows("SELECT study_uid, state FROM studies")}


def done(node: LungnodeProcess) -> set[str]:
    return {str(row["state"]) for row in node.rows("SELECT state FROM jobs WHERE kind = 'priors'")}


def names(node: LungnodeProcess) -> set[str]:
    """Study UIDs of the patient that a C-FIND answers with."""
    found, _ = find(node.dicom_port, "STUDY", PatientID=ADA.patient_id, StudyInstanceUID="")
    return {str(ds.StudyInstanceUID) for ds in found}


def plan(data: Path, capsys: pytest.CaptureFixture[str], said: dict[str, str]) -> None:
    capsys.readouterr()
    assert cli.main(["retention", "--dry-run", "--data", str(data)]) == 0
    lines = capsys.readouterr().out.splitlines()
    for study_uid, words in said.items():
        assert any(line.startswith(study_uid) and words in line for line in lines), lines


def test_commands_of_retention(orthanc: Orthanc, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["migrate", "--data", str(tmp_path)]) == 0
    for command, code, said in (
        (["plan"], 0, "[retention] is off"),
        (["hold", "1.2.3"], 0, "on hold"),
        (["hold", "1.2.3"], 0, "was on hold before"),
        (["free", "1.2.3"], 0, "no longer on hold"),
        (["free", "1.2.3"], 0, "was not on hold"),
        (["allow"], 0, "does not hold"),
        (["hold"], 2, "needs STUDY_UID"),
        (["allow", "1.2.3"], 2, "takes no STUDY_UID"),
    ):
        assert cli.main(["retention", *command, "--data", str(tmp_path)]) == code
        told = capsys.readouterr()
        assert said in told.out + told.err
    for arguments, said in (([], "STUDY_UID"), (["1.2.3"], "priors.source")):
        assert cli.main(["pull", "--priors", *arguments, "--data", str(tmp_path)]) == 2
        assert said in capsys.readouterr().err
    assert cli.main(["pull", "--priors", "1.2.3", "--from", orthanc.address, "--data", str(tmp_path)]) == 1
    assert "no such study" in capsys.readouterr().err
