"""Several nodes on one database, as processes: a receiver and two workers, each killed under load; the database away.

With both queue engines. The promises are those of tests/faults; each study is refused with a report, which costs no
model. Not covered: nodes on different machines, whose shared folder must know flock (docs/cluster.md); a network that
is cut between node and database, other than by the server's end.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults import promises
from tests.faults.kills import STANDIN_SETTINGS
from tests.faults.modality import CountingPacs, Modality, study
from tests.faults.struck import MODELS
from tests.films import uid
from tests.peers import wait_until
from tests.postgres import Postgres
from tests.sending import store
from tests.served import LungnodeProcess

STUDIES = 12
LEASE = "\n[queue]\nlease_seconds = 3.0\nengine = "


@dataclass
class Ward:
    """One receiver and two workers of one database and one archive."""

    receiver: LungnodeProcess
    workers: tuple[LungnodeProcess, LungnodeProcess]
    pacs: CountingPacs

    def rows(self, sql: str) -> list[tuple[object, ...]]:
        return [tuple(row.values()) for row in self.receiver.rows(sql)]


@contextlib.contextmanager
def ward(postgres: Postgres, engine: str, archive: Path) -> Iterator[Ward]:
    environment = {
        **MODELS,
        "LUNGNODE_DATABASE_URL": postgres.url(postgres.made()),
        "LUNGNODE_DATABASE_ARCHIVE": str(archive),
    }
    with contextlib.ExitStack() as stack:
        pacs = stack.enter_context(CountingPacs())

        def node(role: str) -> LungnodeProcess:
            flags = {"settings": f'{STANDIN_SETTINGS}{LEASE}"{engine}"\n', "send_to": [pacs.address]}
            made = LungnodeProcess("--role", role, environment=environment, **flags)  # type: ignore[arg-type]
            return stack.enter_context(made)

        receiver, first, second = node("receiver"), node("worker"), node("worker,web")
        (receiver.data / "archive").symlink_to(archive)  # where the promises look for files
        yield Ward(receiver, (first, second), pacs)


@pytest.mark.parametrize("engine", ["ledger", "procrastinate"])
def test_nothing_is_lost_or_doubled_when_one_of_each_is_killed(engine: str, postgres: Postgres, tmp_path: Path) -> None:
    names = [f"{engine} {number}" for number in range(STUDIES)]
    with ward(postgres, engine, tmp_path) as at, Modality(lambda: at.receiver.dicom_port) as modality:
        modality.send([study(name) for name in names])
        wait_until(lambda: at.rows("SELECT 1 FROM analyses LIMIT 1"), 180, "a worker works", every=0.05)
        at.workers[0].kill9_everything()  # it does the duties, having been there first
        at.receiver.kill9_everything()
        at.receiver.start()
        modality.wait(120)
        at.receiver.wait_settled([uid("study", name) for name in names], 180)
        lost = at.rows("SELECT place FROM members WHERE lost_at IS NOT NULL")
        promises.kept(at.receiver, modality.acknowledged)
        promises.delivered_once(at.receiver, at.pacs)
        standing = at.rows(
            "SELECT study_uid, studies.state, count(*) FROM studies JOIN analyses ON study_id = studies.id"
            " WHERE NOT superseded GROUP BY study_uid, studies.state"
        )
        assert sorted(standing) == sorted((uid("study", name), "analysed", 1) for name in names)
        assert at.rows("SELECT DISTINCT state FROM jobs") == [("done",)]
        assert len(lost) == 1, "the node that was killed is named"
        assert "counts as dead" in at.receiver.status()
        assert [worker.sigterm() for worker in (at.workers[1], at.receiver)] == [0, 0]
        left = at.receiver.rows("SELECT id FROM members WHERE lost_at IS NULL")
        assert not left, "who leaves says so"


def test_a_database_that_goes_away_is_waited_for(tmp_path: Path) -> None:
    with Postgres() as server:
        environment = {**MODELS, "LUNGNODE_DATABASE_URL": server.url(server.made())}
        with LungnodeProcess(settings=STANDIN_SETTINGS, environment=environment) as node:
            assert store(node.dicom_port, study("before")) == [0x0000, 0x0000]
            server.stop()
            assert set(store(node.dicom_port, study("during"))) == {0xA700}
            wait_until(lambda: node.http("/health/ready")[0] == 503, 20, "it is not ready")  # asked once a second
            assert "The database cannot be written" in node.http("/health/ready")[1]
            assert node.http("/health/live")[0] == 200
            server.start()
            wait_until(lambda: node.http("/health/ready")[0] == 200, 60, "it is ready again")
            assert store(node.dicom_port, study("during")) == [0x0000, 0x0000]
            node.wait_settled([uid("study", name) for name in ("before", "during")], 60)
            assert len(node.processes()) == 4, "nobody died of it"


def test_a_database_that_cannot_be_reached_is_named_at_the_start(tmp_path: Path) -> None:
    node = LungnodeProcess(environment={"LUNGNODE_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none"})
    with pytest.raises(AssertionError, match="the database cannot be used: connection failed"), node:
        pass
