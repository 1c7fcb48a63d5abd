"""PgBouncer between the node and PostgreSQL: whole sessions work as without it, others end the start with a sentence.

Not covered: other poolers, and one that changes its mode while nodes run.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from node.core.errors import Misconfigured
from node.db import schema
from node.db.session import Database
from tests.faults import promises
from tests.faults.kills import STANDIN_SETTINGS
from tests.faults.modality import CountingPacs, Modality, study
from tests.faults.struck import MODELS
from tests.films import uid
from tests.postgres import PgBouncer, Postgres
from tests.served import LungnodeProcess


@pytest.fixture(scope="module")
def pooler(postgres: Postgres) -> Iterator[PgBouncer]:
    with PgBouncer(postgres, "session") as running:
        yield running


@pytest.mark.parametrize(
    ("name", "wanted"),
    [("lock_timeout", "10s"), ("idle_in_transaction_session_timeout", "20s"), ("tcp_keepalives_idle", "10")],
)
def test_what_a_session_is_told_holds_behind_it(name: str, wanted: str, pooler: PgBouncer, postgres: Postgres) -> None:
    """The turn of a writer that was stopped ends by one of them."""
    database = Database(pooler.url(postgres.made()))
    with database.read() as session:
        assert session.scalar(text(f"SHOW {name}")) == wanted
    database.close()


def test_one_that_shares_sessions_is_refused(postgres: Postgres) -> None:
    with PgBouncer(postgres, "transaction") as sharing:
        database = Database(sharing.url(postgres.made()))
        with pytest.raises(Misconfigured, match="pool_mode = session"):
            schema.migrate(database.engine)
        database.close()


def test_one_that_has_too_few_sessions_keeps_nobody_waiting(postgres: Postgres) -> None:
    """It takes every login at once, and would let the first statement wait for two minutes."""
    with PgBouncer(postgres, "session", size=1) as small:
        name = postgres.made()
        holder, other = Database(small.url(name)), Database(small.url(name))
        with pytest.raises(Misconfigured, match="by two at once"):
            schema.migrate(other.engine)
        other.close()
        with holder.read() as session:
            session.execute(text("SELECT 1"))
            with pytest.raises(OperationalError), other.read() as second:
                second.execute(text("SELECT 1"))
        holder.close()
        other.close()


def test_a_node_at_rest_goes_on_when_pooler_and_server_have_been_away() -> None:
    with Postgres() as postgres, PgBouncer(postgres, "session") as pooler, CountingPacs() as pacs:
        environment = {**MODELS, "LUNGNODE_DATABASE_URL": pooler.url(postgres.made())}
        with (
            LungnodeProcess(settings=STANDIN_SETTINGS, send_to=[pacs.address], environment=environment) as node,
            Modality(lambda: node.dicom_port) as modality,
        ):
            _through(node, modality, "before")
            pooler.stop()
            pooler.start()
            _through(node, modality, "after the pooler")
            postgres.stop()
            postgres.start()
            _through(node, modality, "after the server")
            promises.delivered_once(node, pacs)


def _through(node: LungnodeProcess, modality: Modality, name: str) -> None:
    modality.send([study(name)])
    modality.wait(120)
    node.wait_settled([uid("study", name)], 180)
