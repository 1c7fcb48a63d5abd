"""Failure modes 1, 2 and 4 of the field (acknowledged and lost, never ended, twice at the PACS) under ``kill -9``.

60 kills here, 1,000 by ``make faults``; the modality sends again what was not acknowledged. The models are stand-ins,
since a worker that was killed would spend seconds on loading real ones. Not covered: a power cut,
which takes what the kernel has not written yet (test_disks.py has a disk that says so), and kills between two given
lines (tests/pipeline, tests/db).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from tests.e2e.conftest import assert_no_marker
from tests.e2e.reading import SC, SR, of_class
from tests.faults import promises
from tests.faults.kills import STANDIN_SETTINGS, Kills, living
from tests.faults.modality import CountingPacs, Modality, study
from tests.faults.struck import MODELS
from tests.films import uid
from tests.peers import Orthanc, wait_until
from tests.served import LungnodeProcess

SEED = 20260317
KILLS, MANY, ROUND = 60, 1000, 50


@dataclass
class Ward:
    """A node that sends to two destinations, and a modality that sends to it."""

    node: LungnodeProcess
    orthanc: Orthanc
    pacs: CountingPacs
    modality: Modality
    kills: Kills

    def rest(self) -> None:
        """No more kills: all is taken, analysed and delivered."""
        self.modality.wait(120)
        promises.settled(self.node, self.kills.names, 240)

    def said(self, seconds: float) -> str:
        hit = ", ".join(f"{number} {what}" for what, number in sorted(self.kills.hit.items()))
        resent = self.pacs.offered.total() - len(self.pacs.offered)
        cleared = sum(event["files"] for event in self.node.events("archive.cleared"))
        return (
            f"{self.kills.hit.total()} kills ({hit}) in {seconds:.0f} s: {len(self.modality.acknowledged)} instances"
            f" acknowledged, {self.modality.unanswered} associations broken, {len(self.pacs.offered)} results,"
            f" {resent} of them offered again, {cleared} files without a row cleared away; nothing lost\n"
        )


@contextmanager
def ward() -> Iterator[Ward]:
    with Orthanc() as orthanc, CountingPacs() as pacs:
        destinations = [orthanc.address, pacs.address]
        with (
            LungnodeProcess(settings=STANDIN_SETTINGS, send_to=destinations, environment=MODELS) as node,
            Modality(lambda: node.dicom_port) as modality,
        ):
            yield Ward(node, orthanc, pacs, modality, Kills(node, modality, SEED))


@pytest.fixture(scope="module")
def survived() -> Iterator[Ward]:
    """The node after its kills, when it has caught up."""
    with ward() as made:
        made.kills.strike(KILLS)
        made.rest()
        yield made


@pytest.mark.timeout(600)
def test_what_was_acknowledged_is_there_byte_for_byte(survived: Ward) -> None:
    assert survived.modality.refused == {}, "a kill is no reason to refuse"
    promises.kept(survived.node, survived.modality.acknowledged)
    assert {"supervisor", "everything", "worker", "starting"} <= survived.kills.hit.keys()


def test_every_study_has_one_analysis_and_every_job_is_done(survived: Ward) -> None:
    promises.ended(survived.node, survived.kills.names)


def test_each_destination_holds_each_result_once(survived: Ward) -> None:
    promises.delivered_once(survived.node, survived.pacs, survived.orthanc)
    for name in survived.kills.names[:8]:
        assert len(of_class(survived.orthanc.datasets(uid("study", name)), SR)) >= 1, name


def test_the_database_is_whole(survived: Ward) -> None:
    promises.sound(survived.node)


def test_a_start_leaves_no_file_that_no_row_knows(survived: Ward) -> None:
    survived.node.kill9_everything()
    survived.node.start()
    promises.nothing_left_over(survived.node)
    promises.kept(survived.node, survived.modality.acknowledged)


def test_a_worker_ends_when_its_supervisor_was_killed(survived: Ward) -> None:
    node = survived.node
    children = wait_until(lambda: node.processes()[1:], 20, "there is a child")
    assert node.process is not None
    node.process.kill()
    node.process.wait()
    wait_until(lambda: not living(children), 30, "its children end with a supervisor")
    node.start()


def test_a_killed_child_is_replaced(survived: Ward) -> None:
    for child in wait_until(lambda: survived.node.processes()[1:], 20, "there is a child"):
        child.kill()
    survived.modality.send([study("child killed", chest=True)])
    survived.modality.wait(60)
    promises.settled(survived.node, ["child killed"], 90)
    assert survived.node.query("--study", uid("study", "child killed"))


def test_sigterm_drains_and_a_restart_finishes(survived: Ward) -> None:
    node, names = survived.node, [f"drain {n}" for n in range(3)]
    survived.modality.send([study(name, chest=True) for name in names])
    survived.modality.wait(60)
    wait_until(lambda: node.rows("SELECT 1 FROM studies WHERE state = 'analysing'"), 60, "an analysis runs")
    assert node.sigterm() == 0
    assert [process for process in node.processes() if process.is_running()] == []
    assert node.rows("SELECT 1 FROM jobs WHERE state = 'running'") == [], "a job was left behind as running"
    node.start()
    promises.settled(node, names, 120)
    for name in names:
        results = survived.orthanc.datasets(uid("study", name))
        assert (len(of_class(results, SR)), len(of_class(results, SC))) == (1, 1)


def test_no_identifying_value_is_logged(survived: Ward) -> None:
    assert survived.node.events()
    assert_no_marker(survived.node.logged(), "the logs")


@pytest.mark.slow
@pytest.mark.timeout(3 * 3600)
def test_a_thousand_kills(capsys: pytest.CaptureFixture[str]) -> None:
    """By rounds, after each of which everything must hold; says how far it is."""
    began = time.monotonic()
    with ward() as made:
        while made.kills.hit.total() < MANY:
            made.kills.strike(ROUND)
            made.rest()
            promises.kept(made.node, made.modality.acknowledged)
            promises.ended(made.node, made.kills.names)
            promises.delivered_once(made.node, made.pacs, made.orthanc)
            promises.sound(made.node)
            made.node.kill9_everything()
            made.node.start()
            promises.nothing_left_over(made.node)
            with capsys.disabled():
                sys.stderr.write(made.said(time.monotonic() - began))
