"""A mark of what is committed: no commit leaves it as it was, whoever commits, and however the transactions overlap.

What a mark costs is not asserted. Not covered: that on PostgreSQL it may change where nobody committed here, since the
server has other databases and work of its own; a look too many is all that costs.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from sqlalchemy import text

from node.db.session import Database
from tests.peers import wait_until
from tests.postgres import Postgres

ADD = text("INSERT INTO commons (name, value) VALUES (:name, '')")


@pytest.fixture
def other(any_database: Database) -> Iterator[Database]:
    """The same database as another process has it."""
    made = Database(any_database.engine.url.render_as_string(hide_password=False))
    yield made
    made.close()


def commit(database: Database, name: str) -> None:
    with database.write() as session:
        session.execute(ADD, {"name": name})


def test_it_stays_while_nothing_is_committed(any_database: Database, other: Database) -> None:
    marks = [any_database.changes.mark()]

    def stays() -> bool:
        with other.read() as session:
            session.execute(text("SELECT * FROM commons")).all()
        with other.write():
            pass
        marks.append(any_database.changes.mark())
        return marks[-1] == marks[-2]

    wait_until(stays, 60, "two marks that are equal", every=0)


def test_every_commit_changes_it(any_database: Database, other: Database) -> None:
    """One by ourselves too."""
    for number in range(20):
        before = any_database.changes.mark()
        commit((any_database, other)[number % 2], f"{number}")
        assert any_database.changes.mark() != before, number


@pytest.mark.parametrize("seed", range(3))
def test_a_transaction_that_began_before_the_mark_changes_it_at_its_end(
    seed: int, any_database: Database, other: Database
) -> None:
    """Marks are had at any moment of it. Readers that last hide nothing either."""
    chance = random.Random(seed)
    for number in range(10):
        with ExitStack() as open_ones:
            if chance.random() < 0.5:
                reader = open_ones.enter_context(any_database.read())
                reader.execute(text("SELECT * FROM commons")).all()
            with other.write() as session:
                marks = [any_database.changes.mark() for _ in range(chance.randrange(2))]
                session.execute(ADD, {"name": f"{seed} {number}"})
                session.flush()
                marks.append(any_database.changes.mark())
            assert any_database.changes.mark() not in marks


def test_many_threads_may_ask(any_database: Database, other: Database) -> None:
    """Each finds its own commits."""
    missed = list[str]()

    def work(name: str) -> None:
        for number in range(10):
            before = any_database.changes.mark()
            commit(other, f"{name} {number}")
            if any_database.changes.mark() == before:
                missed.append(f"{name} {number}")

    threads = [threading.Thread(target=work, args=(f"{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert missed == []


def test_a_mark_that_cannot_be_had_is_like_no_other() -> None:
    """And there is one again as soon as the server is there again."""
    with Postgres() as server:
        database = server.database()
        known = database.changes.mark()
        server.stop()
        lost = [database.changes.mark(), database.changes.mark()]
        assert lost[0] != lost[1] and known not in lost
        server.start()
        wait_until(lambda: isinstance(database.changes.mark(), str), 60, "a mark of the server")
        database.close()
