"""Power cuts and orders to stop: what was acknowledged is there byte for byte, every study gets one result, none two.

The senders resend what was not acknowledged, as a modality does. Each study is one film, so exactly one report is
right. Not covered: a kill between two given lines (tests/pipeline and tests/queue do that), a lost disk.
"""

from __future__ import annotations

import hashlib
import random
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import psutil
import pytest

from node.core.settings import load
from tests.e2e.conftest import QUICK, assert_no_marker
from tests.e2e.reading import SC, SR, of_class
from tests.films import CR, Film, drawn, encoded, wrap
from tests.peers import Orthanc, wait_until
from tests.sending import Encoded, associate, store_encoded
from tests.served import LungnodeProcess

KILLS = 10
STUDIES = 14
SEED = 20260317
SYSTEMS = load().analysis.systems  # each of which explains itself by a map


@dataclass
class Modality:
    """Sends films one after another until each was acknowledged, whatever happens to the other side."""

    films: list[Film]
    port: int = 0
    acknowledged: dict[str, Encoded] = field(default_factory=dict)
    refused: list[int] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)
    pause_seconds: float = 1.5

    def work(self) -> None:
        for film in self.films:
            instance = encoded(wrap(film))
            while not self.stop.is_set() and film.study_uid not in self.acknowledged:
                self._try(film, instance)
                self.stop.wait(self.pause_seconds)

    def _try(self, film: Film, instance: Encoded) -> None:
        try:
            with associate(self.port, [(instance.sop_class_uid, instance.transfer_syntax_uid)]) as association:
                status = store_encoded(association, instance)
        except (ConnectionError, OSError, ValueError, RuntimeError):
            return
        if status == 0x0000:
            self.acknowledged[film.study_uid] = instance
        elif status is not None:
            self.refused.append(status)


@pytest.fixture(scope="module")
def pacs() -> Iterator[Orthanc]:
    with Orthanc() as running:
        yield running


@pytest.fixture(scope="module")
def node(pacs: Orthanc) -> Iterator[LungnodeProcess]:
    with LungnodeProcess(settings=QUICK, send_to=[pacs.address]) as running:
        yield running


@pytest.fixture(scope="module")
def survived(node: LungnodeProcess, pacs: Orthanc) -> Modality:
    """The node after ten kills at random moments under load, and after it has caught up."""
    chance = random.Random(SEED)
    views = ["PA", "PA", "LL"]  # some studies end in a refusal, which is a result as well
    films = [
        Film(drawn(200 + n, 256), f"crash {n}", sop_class=CR, view=views[n % 3], description="") for n in range(STUDIES)
    ]
    modality = Modality(films, node.dicom_port)
    sender = threading.Thread(target=modality.work)
    sender.start()
    try:
        for _ in range(KILLS):
            time.sleep(chance.choice((chance.uniform(0, 1), chance.uniform(1, 14))))
            node.kill9_everything()
            node.start()
            modality.port = node.dicom_port
        sender.join(90)
    finally:
        modality.stop.set()
        sender.join(70)
    assert len(modality.acknowledged) == STUDIES, "the node did not take every film in the end"
    node.wait_settled([film.study_uid for film in films], 240)
    return modality


@pytest.mark.timeout(600)
def test_what_was_acknowledged_is_there_byte_for_byte(node: LungnodeProcess, survived: Modality) -> None:
    assert survived.refused == []
    for study, instance in survived.acknowledged.items():
        (row,) = node.rows("SELECT sha256, bytes, path FROM instances WHERE sop_uid = ?", instance.sop_instance_uid)
        assert row["sha256"] == hashlib.sha256(instance.data_set).hexdigest(), study
        assert row["bytes"] == len(instance.data_set)
        (file,) = [path for path in node.data.rglob("*") if path.is_file() and str(path).endswith(row["path"])]
        assert file.read_bytes().endswith(instance.data_set)


def test_every_study_has_one_analysis_and_every_job_is_done(node: LungnodeProcess, survived: Modality) -> None:
    for study in survived.acknowledged:
        rows = node.rows(
            "SELECT state, superseded FROM studies LEFT JOIN analyses ON study_id = studies.id WHERE study_uid = ?",
            study,
        )
        assert [tuple(row) for row in rows] == [("analysed", 0)]
    assert {row["state"] for row in node.rows("SELECT state FROM jobs")} == {"done"}
    assert {row["state"] for row in node.rows("SELECT state FROM deliveries")} == {"delivered"}


def test_the_pacs_holds_each_result_once(node: LungnodeProcess, pacs: Orthanc, survived: Modality) -> None:
    for film in survived.films:
        results = pacs.datasets(film.study_uid)
        built = node.rows(
            "SELECT kind, sop_uid FROM outputs JOIN analyses ON analyses.id = analysis_id"
            " JOIN studies ON studies.id = study_id WHERE study_uid = ?"
            " AND outputs.id IN (SELECT output_id FROM deliveries)",  # the page is kept
            film.study_uid,
        )
        assert sorted(str(ds.SOPInstanceUID) for ds in results) == sorted(row["sop_uid"] for row in built)
        assert len(of_class(results, SR)) == 1
        assert len(of_class(results, SC)) == (0 if film.view == "LL" else len(SYSTEMS))


def test_the_database_is_whole(node: LungnodeProcess, survived: Modality) -> None:
    assert [tuple(row) for row in node.rows("PRAGMA integrity_check")] == [("ok",)]
    assert node.rows("PRAGMA foreign_key_check") == []


def test_nothing_half_written_is_left(node: LungnodeProcess, survived: Modality) -> None:
    """Files in the archive that no row knows are what a kill leaves; a restart clears temporary ones away."""
    known = {row["path"] for row in node.rows("SELECT path FROM instances UNION SELECT path FROM outputs")}
    archive = node.data / "archive"
    files = [path for path in archive.rglob("*") if path.is_file()]
    assert len(known) <= len(files)
    temporary = [path for path in files if not any(str(path).endswith(name) for name in known)]
    assert len(temporary) <= KILLS, temporary


def test_a_worker_ends_when_its_supervisor_was_killed(node: LungnodeProcess, survived: Modality) -> None:
    workers = wait_until(lambda: node.processes()[1:], 20, "there is a worker")
    assert node.process is not None
    node.process.kill()
    node.process.wait()
    _, alive = psutil.wait_procs(workers, timeout=30)
    for orphan in alive:
        orphan.kill()
    node.start()
    assert alive == []


def test_a_killed_worker_is_replaced(node: LungnodeProcess, survived: Modality) -> None:
    film = Film(drawn(301, 256), "worker killed", sop_class=CR)
    for worker in wait_until(lambda: node.processes()[1:], 20, "there is a worker"):
        worker.kill()
    _send(node, film)
    node.wait_settled([film.study_uid], 90)
    assert len(node.query("--study", film.study_uid)) > 0


def test_sigterm_drains_and_a_restart_finishes(node: LungnodeProcess, pacs: Orthanc, survived: Modality) -> None:
    films = [Film(drawn(310 + n, 256), f"drain {n}", sop_class=CR) for n in range(3)]
    for film in films:
        _send(node, film)
    wait_until(lambda: node.rows("SELECT 1 FROM studies WHERE state = 'analysing'"), 60, "an analysis runs")
    assert node.sigterm() == 0
    assert [process for process in node.processes() if process.is_running()] == []
    assert node.rows("SELECT 1 FROM jobs WHERE state = 'running'") == [], "a job was left behind as running"
    node.start()
    node.wait_settled([film.study_uid for film in films], 120)
    for film in films:
        assert len(of_class(pacs.datasets(film.study_uid), SR)) == 1


def test_no_identifying_value_is_logged(node: LungnodeProcess, survived: Modality) -> None:
    assert node.events()
    assert_no_marker(node.logged(), "the logs")


def _send(node: LungnodeProcess, film: Film) -> None:
    instance = encoded(wrap(film))
    with associate(node.dicom_port, [(instance.sop_class_uid, instance.transfer_syntax_uid)]) as association:
        assert store_encoded(association, instance) == 0x0000
