"""Group commit: everything is committed once, by whoever comes first; a fault is its owner's alone."""

from __future__ import annotations

import threading

import pytest
from sqlalchemy import Connection, text

from node.db.group import GroupCommit, Work
from node.db.session import Database

THREADS, EACH = 8, 25


@pytest.fixture
def database(empty_database: Database) -> Database:
    with empty_database.write() as session:
        session.execute(text("CREATE TABLE numbers (number INTEGER PRIMARY KEY)"))
    return empty_database


def add(number: int) -> Work:
    def work(connection: Connection) -> None:
        connection.execute(text("INSERT INTO numbers VALUES (:number)"), {"number": number})

    return work


def numbers(database: Database) -> list[int]:
    with database.read() as session:
        return list(session.scalars(text("SELECT number FROM numbers ORDER BY number")))


def test_what_many_threads_ask_for_is_committed_when_they_are_told(database: Database) -> None:
    group, missing = GroupCommit(database), []

    def one(first: int) -> None:
        for number in range(first, first + EACH):
            group.run(add(number))
            if number not in numbers(database):
                missing.append(number)

    threads = [threading.Thread(target=one, args=(n * EACH,)) for n in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert missing == []
    assert numbers(database) == list(range(THREADS * EACH))


def test_those_who_wait_share_a_transaction(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    group, begun, go_on = GroupCommit(database), threading.Event(), threading.Event()
    commits: list[int] = []
    writing = database.writing
    monkeypatch.setattr(database, "writing", lambda: (commits.append(1), writing())[1])

    def slow(connection: Connection) -> None:
        begun.set()
        go_on.wait(10)

    threads = [threading.Thread(target=group.run, args=(slow,))]
    threads[0].start()
    begun.wait(10)
    threads += [threading.Thread(target=group.run, args=(add(n),)) for n in range(5)]
    for thread in threads[1:]:
        thread.start()
    while len(group._waiting) < 5:
        threading.Event().wait(0.01)
    go_on.set()
    for thread in threads:
        thread.join(10)
    assert (len(commits), numbers(database)) == (2, [0, 1, 2, 3, 4])


def test_one_fault_does_not_fail_the_others(database: Database) -> None:
    group = GroupCommit(database)
    group.run(add(3))
    failed: list[int] = []

    def one(number: int) -> None:
        try:
            group.run(add(number))
        except Exception:  # noqa: BLE001
            failed.append(number)

    with group._turn:  # so that they form one group
        threads = [threading.Thread(target=one, args=(n,)) for n in range(6)]
        for thread in threads:
            thread.start()
        while len(group._waiting) < 6:
            threading.Event().wait(0.01)
    for thread in threads:
        thread.join(10)
    assert failed == [3]
    assert numbers(database) == list(range(6))
