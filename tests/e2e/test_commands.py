"""The commands and HTTP pages of a node that has worked: status, query, send, models, migrate, and serve's settings.

Not covered: train (tests/training), demo (tests/demo).
"""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from pynetdicom import AE

from tests.films import MARKER, SC, Film, drawn, encoded, wrap, write
from tests.peers import LOOPBACK, free_port
from tests.sending import store
from tests.served import LungnodeProcess, lungnode

FIELDS = {
    "study_uid", "series_uid", "sop_instance_uid", "modality", "system", "class", "probability", "decision",
    "threshold", "model_version", "weights_sha256", "analysed_at",
}  # fmt: skip


@pytest.fixture(scope="module")
def film(node: LungnodeProcess) -> Film:
    """A film whose results the commands are asked about."""
    film = Film(drawn(31), "commands")
    assert store(node.dicom_port, [encoded(wrap(film))]) == [0x0000]
    node.wait_settled([film.study_uid])
    return film


def test_status_has_a_line_for_every_study(node: LungnodeProcess, film: Film) -> None:
    lines = node.status().splitlines()
    (line,) = [line for line in lines if film.study_uid in line]
    assert "analysed" in line
    studies = [line for line in lines if line[0].isdigit()]
    assert len(studies) == len(node.rows("SELECT 1 FROM studies"))
    assert lines[0] == "node: runs"


def test_status_tells_a_study_s_story(node: LungnodeProcess, film: Film) -> None:
    story = node.status(film.study_uid)
    assert film.sop_instance_uid in story
    assert "delivered" in story
    for system in ("cxnet", "cnncf-xr"):
        assert system in story
    assert len(story.splitlines()) > 5


def test_status_of_what_is_not_there(node: LungnodeProcess, tmp_path: Path) -> None:
    unknown = lungnode("status", "1.2.3.4", "--data", node.data)
    assert (unknown.code, unknown.out) == (1, "")
    assert "1.2.3.4" in unknown.err
    nothing = lungnode("status", "--data", tmp_path)
    assert nothing.code == 2
    assert "Traceback" not in nothing.text


def test_query_answers_in_three_forms(node: LungnodeProcess, film: Film) -> None:
    records = node.query("--study", film.study_uid)
    assert records
    assert set(records[0]) >= FIELDS
    ran = lungnode("query", "--data", node.data, "--study", film.study_uid, "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(ran.out)))
    assert [(row["system"], row["class"], float(row["probability"])) for row in rows] == [
        (record["system"], record["class"], record["probability"]) for record in records
    ]
    table = lungnode("query", "--data", node.data, "--study", film.study_uid).out
    assert all(record["class"] in table for record in records)


def test_query_filters(node: LungnodeProcess, film: Film) -> None:
    whole = node.query("--study", film.study_uid)
    at = whole[0]["analysed_at"]

    def asked(*arguments: str) -> list[dict[str, object]]:
        return [record for record in node.query(*arguments) if record["study_uid"] == film.study_uid]

    assert asked("--system", "cxnet") == [record for record in whole if record["system"] == "cxnet"]
    assert asked("--class", "covid19") == [record for record in whole if record["class"] == "covid19"]
    assert asked("--min-probability", "0.5") == [record for record in whole if record["probability"] >= 0.5]
    assert asked("--modality", "DX") == whole
    assert asked("--modality", "CT") == []
    assert asked("--patient-id", MARKER.patient_id) == whole
    assert asked("--patient-id", "nobody") == []
    assert asked("--accession", MARKER.accession_number) == whole
    assert asked("--since", at) == whole
    assert asked("--until", at) == []
    assert asked("--since", "2199-01-01") == []


def test_query_lesions_and_deliveries(node: LungnodeProcess, film: Film) -> None:
    lesions = node.query("--study", film.study_uid, "--lesions")
    assert len(lesions) == len(
        node.rows("SELECT 1 FROM lesions WHERE sop_uid = ?", film.sop_instance_uid)
    )  # fmt: skip
    deliveries = node.query("--study", film.study_uid, "--deliveries")
    assert {record["state"] for record in deliveries} == {"delivered"}
    assert {record["last_status"] for record in deliveries} == {0}
    assert {record["destination"] for record in deliveries} == set(node.send_to)
    assert json.loads(lungnode("query", "--data", node.data, "--study", "1.2.3", "--format", "json").out) == []


def test_send_says_what_was_refused_and_why(node: LungnodeProcess, tmp_path: Path) -> None:
    peer = f"{LOOPBACK}:{node.dicom_port}"
    folder = tmp_path / "good" / "deeper"
    folder.mkdir(parents=True)
    for number in range(2):
        write(wrap(Film(drawn(40 + number, 128), f"sent {number}", "sent", sop_class=SC, view="LL")), folder)
    good = lungnode("send", peer, tmp_path / "good")
    assert good.code == 0, good.text
    nameless = wrap(Film(drawn(43, 128), "nameless"))
    del nameless.StudyInstanceUID
    bad = write(nameless, tmp_path)
    (tmp_path / "notes.txt").write_text("no DICOM")
    mixed = lungnode("send", peer, folder, bad, tmp_path / "notes.txt")
    assert mixed.code == 1
    assert "notes.txt" in mixed.text
    assert bad.name in mixed.text
    assert "Traceback" not in mixed.text


def test_send_to_nobody(tmp_path: Path) -> None:
    file = write(wrap(Film(drawn(44, 64), "to nobody")), tmp_path)
    away = lungnode("send", f"{LOOPBACK}:{free_port()}", file)
    assert away.code == 1
    assert away.err or away.out
    assert "Traceback" not in away.text
    assert lungnode("send", "nowhere", file).code == 2
    assert lungnode("send", f"{LOOPBACK}:104", tmp_path / "missing").code == 2


def test_models_list_and_verify() -> None:
    listed = lungnode("models", "list")
    assert listed.code == 0, listed.text
    for system in ("unet-lung", "fcdensenet", "cxnet", "cnncf-xr", "bit-ct"):
        assert system in listed.out
    verified = lungnode("models", "verify")
    assert verified.code == 0, verified.text
    assert "cnncf-ct" in verified.out and "No weights of cnncf-ct ship" in verified.out


def test_the_models_named_by_results_are_the_models_that_ship(node: LungnodeProcess, film: Film) -> None:
    listed = lungnode("models", "list").out
    for record in node.query("--study", film.study_uid):
        if record["system"] == "ensemble":  # its digest is of those of its members
            continue
        assert str(record["weights_sha256"])[:12] in listed


def test_migrate_from_nothing_and_again(tmp_path: Path) -> None:
    first = lungnode("migrate", "--data", tmp_path / "new")
    assert first.code == 0, first.text
    again = lungnode("migrate", "--data", tmp_path / "new")
    assert again.code == 0
    assert first.out != again.out
    assert lungnode("status", "--data", tmp_path / "new").code == 0


def test_health_and_metrics(node: LungnodeProcess, film: Film) -> None:
    assert node.http("/health/live")[0] == 200
    assert node.http("/health/ready")[0] == 200
    code, text = node.http("/metrics")
    assert code == 200
    assert "# TYPE" in text
    assert node.http("/no/such/page")[0] == 404


def test_the_strongest_setting_wins() -> None:
    """Over the file the environment, over both the flag; shown by who is let in."""
    file = '[node]\naet = "FROMFILE"\n[receive]\nrequire_called_aet = true\ncalling_aets = ["FILE"]\n'
    environment = {"LUNGNODE_NODE_AET": "FROMENV", "LUNGNODE_RECEIVE_CALLING_AETS": "ENV"}
    titles = ["FROMFILE", "FROMENV", "FROMFLAG", "LUNGNODE"]
    with LungnodeProcess("--workers", "0", "--aet", "FROMFLAG", settings=file, environment=environment) as node:
        asked = [(calling, called) for calling in ("FILE", "ENV") for called in titles]
        assert [one for one in asked if _echo(node.dicom_port, *one)] == [("ENV", "FROMFLAG")]


def test_serve_refuses_settings_that_it_does_not_understand(tmp_path: Path) -> None:
    for number, text in enumerate(("[node]\nspeed = 3\n", "[nodes]\n", "[node]\nworkers = 'two'\n", "not toml")):
        file = tmp_path / f"{number}.toml"
        file.write_text(text)
        ran = lungnode("serve", "--data", tmp_path / "data", "--config", file)
        assert ran.code == 2, ran.text
        assert "Traceback" not in ran.text
    ran = lungnode("serve", "--data", tmp_path / "data", LUNGNODE_NODE_SPEED="3")
    assert ran.code == 2
    assert "LUNGNODE_NODE_SPEED" in ran.err
    ran = lungnode("serve", "--data", tmp_path / "data", "--send-to", "nobody")
    assert ran.code == 2


def _echo(port: int, calling: str, called: str) -> bool:
    ae = AE(calling)
    ae.add_requested_context("1.2.840.10008.1.1")
    association = ae.associate(LOOPBACK, port, ae_title=called)
    if not association.is_established:
        return False
    answered = association.send_c_echo().Status == 0x0000
    association.release()
    return answered


@pytest.mark.parametrize("wrong, said", [
    (("--since", "yesterday"), "is not a time"), (("--min-probability", "2"), "not a probability from 0 to 1"),
    (("--min-probability", "much"), "not a probability from 0 to 1"), (("--format", "xml"), "invalid choice"),
])  # fmt: skip
def test_a_wrong_question_is_answered_with_what_is_wrong(
    node: LungnodeProcess, wrong: tuple[str, str], said: str
) -> None:
    ran = lungnode("query", "--data", node.data, *wrong)
    assert ran.code == 2 and said in ran.text and "Traceback" not in ran.text


def test_sending_to_nobody_is_one_sentence_a_file(data_folder: Path) -> None:
    ran = lungnode("send", f"{LOOPBACK}:{free_port()}", data_folder / "dicom" / "CTImage.dcm")
    assert ran.code == 1 and "did not answer" in ran.text and "association.failed" not in ran.text


def test_a_second_node_on_the_same_folder_leaves_the_first_alone(node: LungnodeProcess) -> None:
    before = (node.data / "ports.json").read_bytes()
    ran = lungnode("serve", "--data", node.data, "--dicom-port", "0", "--http-port", "0")
    assert ran.code == 2 and "another node runs" in ran.text and "Traceback" not in ran.text
    assert (node.data / "ports.json").read_bytes() == before
    assert node.http("/health/ready")[0] == 200
