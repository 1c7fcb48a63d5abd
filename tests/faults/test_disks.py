"""Failure mode 12 of the field, and its kin: disk full at each stage, a disk that fails to sync, a disk that became
read-only, a slow disk, a database held by another program, a clock set back. In each: nothing is acknowledged that is
not durable, nothing acknowledged is lost, the sender is told to come later, ``lungnode status`` says why in a sentence,
and when the fault ends all goes on by itself.

The faults are those of a library loaded into the node (shim.c), so that they begin and end in a moment; a tmpfs of 16
MiB is a real full disk and a real read-only one. Not covered: a disk that lies about a sync, and one that returns other
bytes than were written.
"""

from __future__ import annotations

import contextlib
import errno
import io
import sqlite3
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from node import cli
from tests.faults import promises
from tests.faults.kills import STANDIN_SETTINGS
from tests.faults.modality import CountingPacs, Modality, study
from tests.faults.shim import Shim
from tests.faults.struck import MODELS
from tests.films import uid
from tests.peers import wait_until
from tests.served import LungnodeProcess

MIB = 1 << 20
TRY_LATER = 0xA700  # PS3.4 Table B.2-1, Refused: Out of resources
QUIET = STANDIN_SETTINGS.replace("film = 0.3", "film = 2.5")  # a fault begins meanwhile


@dataclass
class Ward:
    node: LungnodeProcess
    pacs: CountingPacs
    modality: Modality
    names: list[str]

    def send(self, name: str) -> None:
        """One study more, until it is taken."""
        self.names.append(name)
        self.modality.send([study(name)])

    def taken(self, name: str, seconds: float = 60) -> None:
        self.send(name)
        self.modality.wait(seconds)

    def refused(self) -> int:
        """How often a sender was told to come later; AssertionError where one was told anything else."""
        assert set(self.modality.refused) <= {TRY_LATER}, self.modality.refused
        return self.modality.refused[TRY_LATER]

    def on_its_way(self, fault: str) -> None:
        """A study that was taken and waits to be analysed."""
        self.taken(f"before: {fault}")

    def stands_still(self, fault: str, sentence: str) -> None:
        """While the fault lasts: nothing is acknowledged or analysed, the sender is refused again and again, and an
        operator reads why. AssertionError otherwise."""
        refused, acknowledged, broken = self.refused(), len(self.modality.acknowledged), self.broken_off()
        self.send(f"while: {fault}")
        wait_until(lambda: self.refused() >= refused + 2, 60, "the sender is refused, and again")
        wait_until(lambda: self.broken_off() > broken, 90, "the study on its way could not go on")
        assert len(self.modality.acknowledged) == acknowledged, "acknowledged what is not durable"
        wait_until(lambda: sentence in self.says(), 60, "status says why")
        assert self.node.http("/health/ready")[0] == 503
        (row,) = self.node.rows("SELECT state FROM studies WHERE study_uid = ?", uid("study", f"before: {fault}"))
        assert row["state"] != "analysed"

    def broken_off(self) -> int:
        """How often an analysis or a duty of the node failed."""
        return len(self.node.events("job.failed")) + len(self.node.events("duty.failed"))

    def says(self) -> str:
        """What ``lungnode status`` prints."""
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            assert cli.main(["status", "--data", str(self.node.data)]) == 0
        return out.getvalue()

    def holds(self) -> None:
        """Every promise, once all has come to rest."""
        self.modality.wait(90)
        promises.settled(self.node, self.names, 120)
        promises.kept(self.node, self.modality.acknowledged)
        promises.ended(self.node, self.names)
        promises.delivered_once(self.node, self.pacs)
        promises.sound(self.node)
        promises.nothing_left_over(self.node)
        gave_up = self.node.rows("SELECT reason FROM analyses WHERE reason LIKE 'The analysis broke off%'")
        assert [row["reason"] for row in gave_up] == [], "a fault of the disk was held against a study"
        assert "cannot be written" not in self.says()


@contextlib.contextmanager
def ward(data: Path | None = None, **environment: str) -> Iterator[Ward]:
    with (
        CountingPacs() as pacs,
        LungnodeProcess(settings=QUIET, send_to=[pacs.address], data=data, environment=MODELS | environment) as node,
        Modality(lambda: node.dicom_port, senders=2) as modality,
    ):
        wait_until(lambda: node.events("worker.ready"), 200, "a worker has loaded its models")
        yield Ward(node, pacs, modality, [])


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Shim:
    return Shim(tmp_path_factory.mktemp("shim"))


@pytest.fixture(scope="module")
def shimmed(shim: Shim) -> Iterator[Ward]:
    with ward(**shim.environment) as made:
        yield made


ARCHIVE, DATABASE = "/archive/", "/lungnode.sqlite"
FAULTS = {
    "the archive cannot be synced": (ARCHIVE, {"sync": errno.EIO}, "archive cannot be written (Input/output error)"),
    "the database cannot be synced": (DATABASE, {"sync": errno.EIO}, "database cannot be written (disk I/O error)"),
    "the database has no room": (DATABASE, {"write": errno.ENOSPC}, "database cannot be written ("),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_while_receiving_and_writing_results(shimmed: Ward, shim: Shim, fault: str) -> None:
    """One study is on its way to its results, another comes; both wait for as long as the fault lasts."""
    where, kind, sentence = FAULTS[fault]
    shimmed.on_its_way(fault)
    with shim.fault(where, **kind):
        shimmed.stands_still(fault, sentence)
    shimmed.holds()


def test_a_crash_after_a_commit_that_failed(shimmed: Ward, shim: Shim) -> None:
    """What the database could not sync, a crash may bring back: then a row stands without its file. The same object
    sent again is stored, not taken for a duplicate."""
    before = shimmed.refused()
    with shim.fault(DATABASE, sync=errno.EIO):
        shimmed.send("a commit that failed")
        wait_until(lambda: shimmed.refused() > before, 60, "the sender is refused")
        shimmed.node.kill9_everything()
    shimmed.node.start()
    shimmed.holds()


def test_a_slow_disk(shimmed: Ward, shim: Shim) -> None:
    """Slow, and nothing else: no refusal, no second copy."""
    before = shimmed.refused()
    with shim.fault("", delay_seconds=0.02):
        shimmed.taken("slow disk")
        promises.settled(shimmed.node, ["slow disk"], 90)
    assert shimmed.refused() == before
    shimmed.holds()


def test_a_database_that_another_program_holds(shimmed: Ward) -> None:
    """Senders wait; longer than the node itself waits for it is a refusal for now."""
    before = shimmed.refused()
    shimmed.taken("before the lock")
    with contextlib.closing(sqlite3.connect(shimmed.node.data / "lungnode.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        shimmed.send("database held")
        wait_until(lambda: shimmed.refused() > before, 100, "the sender is refused")
        assert "database cannot be written (database is locked)" in shimmed.says()
        other.execute("ROLLBACK")
    shimmed.holds()


def test_a_clock_that_is_set_back(shimmed: Ward, shim: Shim) -> None:
    """By an hour, with a study on its way: what comes is taken and analysed, and nothing waits for the hour to pass."""
    shimmed.send("before the clock was set back")
    shimmed.modality.wait(60)
    with shim.fault(clock_seconds=-3600):
        shimmed.taken("while the clock is wrong")
        promises.settled(shimmed.node, ["while the clock is wrong", "before the clock was set back"], 60)
    shimmed.holds()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """16 MiB for the archive alone."""
    archive = tmp_path / "data" / "archive"
    archive.mkdir(parents=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16m", "none", archive], capture_output=True, timeout=20, check=False
    )
    if mounted.returncode:
        pytest.skip("a small disk cannot be mounted: root is needed")
    try:
        yield archive
    finally:
        subprocess.run(["umount", "--lazy", archive], timeout=20, check=True)


def test_a_real_disk_that_is_full_and_one_that_became_read_only(small_disk: Path) -> None:
    with ward(small_disk.parent, LUNGNODE_RECEIVE_MIN_FREE_BYTES="0") as small:
        small.on_its_way("full")
        filler = small_disk / "filler"
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while file.write(bytes(4096)):
                pass
        small.stands_still("full", "archive cannot be written (No space left on device)")
        filler.unlink()
        small.holds()
        small.on_its_way("read-only")
        _remount(small_disk, "ro")
        small.stands_still("read-only", "archive cannot be written (Read-only file system)")
        _remount(small_disk, "rw")
        small.holds()


def _remount(disk: Path, how: str) -> None:
    """When nobody has a file open for writing."""
    command = ["mount", "-o", f"remount,{how}", disk]
    wait_until(
        lambda: subprocess.run(command, capture_output=True, check=False).returncode == 0, 20, f"remounted {how}"
    )
