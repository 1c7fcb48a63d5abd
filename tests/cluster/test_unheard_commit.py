"""A commit of receipt whose answer is lost on its way from a real PostgreSQL: the sender is told of a failure, and what
the server has committed all the same has its file. What it has not goes without a restart, in whatever process it came.

Not covered: the same over DIMSE; servers that die for good (tests/cluster/test_cluster.py).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from node.archive import Archive
from node.composition.upkeep import Upkeep
from node.core.errors import OutOfResources
from node.core.study import Origin
from node.db import schema
from node.db.session import Database
from node.pipeline import strays
from node.pipeline.header import Received
from node.pipeline.intake import Intake
from tests.dicomweb.site import as_file, site
from tests.films import Film, drawn, encoded, wrap
from tests.postgres import Postgres

ORIGIN = Origin("a", "MODALITY", "LUNGNODE", "127.0.0.1")
SENT = encoded(wrap(Film(drawn(1, 64), "one")))
RECEIVED = Received(SENT.data_set, SENT.transfer_syntax_uid, SENT.sop_class_uid, SENT.sop_instance_uid)
KILL = text("SELECT pg_terminate_backend(:pid)")


def unheard(database: Database, killer: Database, monkeypatch: pytest.MonkeyPatch, *, commits: bool) -> None:
    """The connection of the next writer ends just after the server has committed, or just before."""
    dialect, commit = database.engine.dialect, database.engine.dialect.do_commit

    def breaks(connection: Any) -> None:
        monkeypatch.setattr(dialect, "do_commit", commit)
        if commits:
            commit(connection)
        with killer.read() as session:  # no turn to write, which a transaction that has not ended still has
            session.execute(KILL, {"pid": connection.driver_connection.info.backend_pid})
        connection.cursor().execute("SELECT 1")

    monkeypatch.setattr(dialect, "do_commit", breaks)


@pytest.mark.parametrize("commits", [True, False])
def test_a_commit_that_nobody_heard_of_keeps_its_file(
    postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, commits: bool
) -> None:
    url = postgres.url(postgres.made())
    database, killer, archive = Database(url), Database(url), Archive(tmp_path)
    schema.migrate(database.engine)
    intake = Intake(database, archive, 2**30, database.clock)
    unheard(database, killer, monkeypatch, commits=commits)
    with pytest.raises(OutOfResources) as failed:
        intake.receive(RECEIVED, ORIGIN)
    assert isinstance(failed.value.__cause__, OperationalError)
    with database.read() as session:
        paths = session.scalars(text("SELECT path FROM instances")).all()
    assert len(paths) == commits
    assert all(archive.path(path).is_file() for path in paths), "a row without its file"
    strays.look_again(database, archive)
    assert archive.files() == set(paths), "the database says now which it was"
    assert intake.receive(RECEIVED, ORIGIN).kind == ("duplicate" if commits else "stored")
    for one in (database, killer):
        one.close()


def test_a_duty_of_the_web_process_clears_what_an_upload_left(
    postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = postgres.url(postgres.made())
    killer = Database(url)
    with site(tmp_path, url=url) as web:
        unheard(web.database, killer, monkeypatch, commits=False)
        assert web.post([as_file(wrap(Film(drawn(1, 64), "one")))]).status == 503
        assert len(web.archive.files()) == 1, "nobody knows yet"
        for _, duty, _ in Upkeep(web.database, web.archive).own_duties():
            duty()
        assert not web.archive.files()
    killer.close()
