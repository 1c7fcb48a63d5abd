"""Who lives, who does the duties, whose archive, which clock: each rule by itself, on a real PostgreSQL.

Not covered: processes (test_cluster.py).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Self

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select, text
from sqlalchemy.exc import OperationalError

from node.archive import Archive
from node.board import Board
from node.commands import backup
from node.composition import membership
from node.composition.membership import Membership
from node.core import settings as configuration
from node.core.errors import Misconfigured
from node.core.job import JobKind
from node.db import dialects, jobs, members, schema
from node.db.elected import Elected
from node.db.session import Database
from node.db.tables import Event, JobRow
from tests.films import CR, Film, drawn
from tests.peers import wait_until
from tests.pipeline.waiting import Room
from tests.postgres import Postgres

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def node(name: str, **facts: object) -> members.Node:
    usual = members.Node(name, f"first run of {name}", f"machine-{name}:1", "LUNGNODE", ("worker",), 1, "models", "1")
    return dataclasses.replace(usual, **facts)  # type: ignore[arg-type]


@pytest.fixture
def database(postgres: Postgres) -> Iterator[Database]:
    made = postgres.database()
    schema.migrate(made.engine)
    yield made
    made.close()


def joined(database: Database, *nodes: members.Node) -> None:
    with database.write() as session:
        for number, one in enumerate(nodes):
            members.join(session, one, NOW + number * SECOND)


def test_what_a_silent_node_was_at_is_done_by_others(any_database: Database) -> None:
    a, b = node("a"), node("b")
    joined(any_database, a, b)
    with any_database.write() as session:
        for number, one in enumerate((a, b, a)):
            assert jobs.add(session, JobKind.ANALYSE, number, f"key {number}", NOW)
            assert jobs.claim(session, JobKind.ANALYSE, f"{members.owner(one.id)}worker-1", str(number), NOW)
        assert members.beat(session, b, frozenset(), 0.0, NOW + 20 * SECOND)
        assert members.expire(session, NOW + 10 * SECOND, NOW + 20 * SECOND) == [("machine-a:1", 2)]
        assert not members.beat(session, a, frozenset(), 0.0, NOW + 21 * SECOND), "it hears that it is taken for dead"
        assert members.expire(session, NOW + 10 * SECOND, NOW + 22 * SECOND) == []
        running = session.scalars(select(JobRow.subject_id).where(JobRow.state == "running")).all()
        assert running == [1]
        assert "counts as dead" in members.seen(session)[0].sentence


def test_a_study_that_arrives_anywhere_is_known_to_whoever_closes_it(any_database: Database) -> None:
    a, b = node("a", roles=("receiver",)), node("b", roles=("web", "worker"))
    joined(any_database, a, b, node("c"))
    with any_database.write() as session:
        members.beat(session, a, frozenset({"1.2", "1.3"}), 0.0, NOW + 5 * SECOND)
        members.beat(session, b, frozenset({"1.4"}), 0.0, NOW + 3 * SECOND)
        assert members.arriving(session, NOW + 9 * SECOND) == ({"1.2", "1.3", "1.4"}, NOW + 3 * SECOND)
        members.beat(session, node("c"), frozenset({"1.5"}), 0.0, NOW + 2 * SECOND)
        assert members.arriving(session, NOW + 9 * SECOND) == ({"1.2", "1.3", "1.4", "1.5"}, NOW + 3 * SECOND)
        members.beat(session, node("c"), frozenset(), 0.0, NOW + 2 * SECOND)
        members.leave(session, b)
        assert members.arriving(session, NOW + 9 * SECOND) == ({"1.2", "1.3"}, NOW + 5 * SECOND)
        members.leave(session, a)
        assert members.arriving(session, NOW + 9 * SECOND) == (frozenset(), NOW + 9 * SECOND)


def test_what_arrives_is_known_when_its_node_joins_again_or_has_new_models(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    board = Board(tmp_path / "board")
    monkeypatch.setattr(board, "open_studies", lambda: frozenset({"1.2"}))
    one = Membership(database, Archive(tmp_path), board, node("a", roles=("all",)), 15.0)
    joined(database, one.node)
    with database.write() as session:
        assert members.expire(session, NOW + SECOND, NOW + SECOND)
    for change in (one._beat, lambda: one.now_has("newer")):
        change()
        assert one.arriving()[0] == {"1.2"}
    with database.read() as session:
        (seen,) = members.seen(session)
    assert seen.lost_at is None and seen.node == one.node and seen.node.pipeline == "newer"


def test_a_worker_gets_only_what_asks_for_its_models(any_database: Database) -> None:
    joined(any_database, node("a", pipeline="new"), node("b", pipeline="old"))
    with any_database.write() as session:
        assert jobs.add(session, JobKind.ANALYSE, 1, "key", NOW, pipeline="old")
        assert jobs.claim(session, JobKind.ANALYSE, "w", "t", NOW, "new") is None
        assert jobs.claim_for(session, 1, "new", "w", "t", NOW) is None
        assert members.adopt(session, "new", NOW) == 0, "a worker that has them lives"
        assert "models or settings are not those" in members.seen(session)[1].sentence


def test_what_asks_for_models_that_are_gone_gets_those_of_now(tmp_path: Path) -> None:
    room = Room(tmp_path)
    room.receive(Film(drawn(1, 64), "one", "study", sop_class=CR))
    room.clock.pass_by(11)
    assert len(room.close()) == 1
    with room.database.write() as session:
        session.execute(text("UPDATE jobs SET pipeline = 'gone'"))
        members.join(session, node("a", pipeline="new"), NOW)
        assert members.adopt(session, "new", NOW) == 1 and members.adopt(session, "new", NOW) == 0
        assert members.ADOPTED in session.scalars(select(Event.sentence)).all()
        assert jobs.next_due(session, JobKind.ANALYSE, room.clock(), "new") is not None


def test_what_a_node_without_workers_closed_is_done_by_those_that_have_some(tmp_path: Path) -> None:
    room = Room(tmp_path)
    room.receive(Film(drawn(1, 64), "one", "study", sop_class=CR))
    room.clock.pass_by(11)
    assert len(room.close("older")) == 1
    joined(room.database, node("a", pipeline="older", workers=0), node("b", pipeline="newer"))
    with room.database.write() as session:
        assert members.adopt(session, "older", NOW) == 1 and members.adopt(session, "older", NOW) == 0
        assert jobs.next_due(session, JobKind.ANALYSE, room.clock(), "newer") is not None


def test_what_differs_between_nodes_is_said(any_database: Database) -> None:
    joined(any_database, node("a"), node("b", aet="OTHER", version="2"))
    with any_database.write() as session:
        members.beat(session, node("b", aet="OTHER", version="2"), frozenset(), 37.0, NOW)
        fine, other = members.seen(session)
    assert not fine.sentence
    for words in ("calls itself OTHER", "is version 2", "37 s behind that of the database"):
        assert words in other.sentence


def test_one_is_elected_and_another_when_its_connection_ends(database: Database) -> None:
    first, second = Elected(database.engine), Elected(database.engine)
    assert first.seconds() >= 0 and second.seconds() < 0
    with database.engine.connect() as connection:
        connection.execute(
            text("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted")
        )
    wait_until(lambda: second.seconds() >= 0 or first.seconds() >= 0, 10, "one is elected again")
    wait_until(lambda: (first.seconds() >= 0) != (second.seconds() >= 0), 10, "and only one")
    (first if first.seconds() >= 0 else second).resign()


def test_a_writer_that_was_stopped_is_not_waited_for_for_ever(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dialects, "BUSY_SECONDS", 0.2)
    url = postgres.url(postgres.made())
    held, other = Database(url), Database(url)
    with held.write() as first:
        first.connection()
        with pytest.raises(OperationalError), other.write() as second:
            second.connection()
    with other.write() as second:
        second.connection()


def test_a_commit_is_durable_whatever_the_server_is_used_to(postgres: Postgres) -> None:
    name = postgres.made()
    url = postgres.url(name)
    for usual, wanted in (("off", "on"), ("remote_apply", "remote_apply"), ("on", "on")):
        made = Database(url)
        with made.write() as session:
            session.execute(text(f"ALTER DATABASE {name} SET synchronous_commit = {usual}"))
        made.close()
        with made.read() as session:
            assert session.scalar(text("SHOW synchronous_commit")) == wanted
        made.close()


def test_a_writer_sees_who_wrote_before_its_turn_whatever_the_server_is_used_to(postgres: Postgres) -> None:
    name = postgres.made()
    made = Database(postgres.url(name))
    with made.write() as session:
        session.execute(text(f"ALTER DATABASE {name} SET default_transaction_isolation = 'serializable'"))
    made.close()
    with made.write() as session:
        assert session.scalar(text("SHOW transaction_isolation")) == "read committed"
    with made.read() as session:
        assert session.scalar(text("SHOW transaction_isolation")) == "repeatable read"
    made.close()


def test_each_process_goes_by_the_clock_of_the_database(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    class Ahead(datetime):
        """The clock of a machine that is an hour ahead."""

        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            return super().now(tz) + 3600 * SECOND

    monkeypatch.setattr(dialects, "datetime", Ahead)
    assert abs(database.clock() - datetime.now(UTC)) < 30 * SECOND
    assert abs(database.clock.behind() + 3600 * SECOND) < 30 * SECOND


def member(database: Database, folder: Path, name: str) -> Membership:
    return Membership(database, Archive(folder), Board(folder / "board"), node(name), 15.0)


def test_nodes_on_one_database_share_one_archive(database: Database, tmp_path: Path) -> None:
    cleared: list[str] = []
    first = member(database, tmp_path / "one", "a")
    first.start(lambda: cleared.append("a"))
    second = member(database, tmp_path / "one", "b")
    second.start(lambda: cleared.append("b"))
    assert cleared == ["a"], "nobody clears what another node may be writing"
    with pytest.raises(Misconfigured, match="is not that of the database"):
        member(database, tmp_path / "two", "c").start(lambda: cleared.append("c"))
    for one in (first, second):
        one.stop()


def test_a_copy_of_a_data_folder_that_runs_is_refused(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two nodes of one name would give away each other's work; the last run of the folder itself is no other node."""
    monkeypatch.setattr(membership, "BEAT_SECONDS", 0.05)
    monkeypatch.setattr(membership, "COPY_SECONDS", 1.0)
    first = member(database, tmp_path / "one", "a")
    first.start(lambda: None)
    with pytest.raises(Misconfigured, match="data folder was copied"):
        member(database, tmp_path / "one", "a").start(lambda: None)
    assert first._last_beat() is not None
    first._stop.set()  # as one that was killed: it leaves nothing but its row
    assert first._beating is not None
    first._beating.join(10)
    again = member(database, tmp_path / "one", "a")
    again.start(lambda: None)
    again.stop()


@pytest.mark.parametrize(
    ("url", "roles", "engine", "words"),
    [
        ("", ("worker",), "ledger", "the database is SQLite"),
        ("", ("all",), "procrastinate", "needs PostgreSQL"),
        ("mysql://x/y", ("all",), "ledger", "postgresql://"),
        ("postgresql://u:secret@h/d", ("all",), "ledger", "no password"),
        ("postgresql://u@h/d?sslmode=require&password=secret", ("all",), "ledger", "no password"),
        ("postgresql://u@[h/d", ("all",), "ledger", "is no URL"),
        ("postgresql://u@h/d", ("doctor",), "ledger", "one or more of"),
        ("postgresql://u@h/d", (), "ledger", "one or more of"),
    ],
)
def test_settings_that_cannot_be_are_refused(url: str, roles: tuple[str, ...], engine: str, words: str) -> None:
    flags = {("database", "url"): url, ("queue", "roles"): list(roles), ("queue", "engine"): engine}
    with pytest.raises(Misconfigured, match=words):
        configuration.load(flags=flags)


def test_a_backup_of_a_server_is_the_servers(
    postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LUNGNODE_DATABASE_URL", postgres.url(postgres.made()))
    with pytest.raises(Misconfigured, match="pg_dump"):
        backup.backup(tmp_path, tmp_path / "to")


URGENT = st.lists(st.tuples(st.integers(0, 600), st.sampled_from([0, 10])), min_size=1, max_size=12)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15)
@given(URGENT)
def test_nothing_starves(any_database: Database, came: list[tuple[int, int]]) -> None:
    """A job of priority 10 goes before everything that came more than five minutes after it, and an urgent one before
    what is not and came less than five minutes before."""
    with any_database.write() as session:
        session.execute(text("DELETE FROM jobs"))
        for number, (at, priority) in enumerate(came):
            jobs.add(session, JobKind.ANALYSE, number, f"key {number}", NOW + at * SECOND, priority=priority)
        later = NOW + timedelta(hours=1)
        order = [jobs.claim(session, JobKind.ANALYSE, "w", str(n), later) for n in range(len(came))]
    turns = [came[job.subject_id][0] + 30 * came[job.subject_id][1] for job in order if job]
    assert turns == sorted(turns) and len(turns) == len(came)
