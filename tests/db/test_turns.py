"""The queue of writers: one at a time in all processes, and a process that was stopped holds nobody for ever.

How long each waits is not asserted, and that those who queue are woken at once is not covered: tests/bench shows it.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from node.db import dialects, turns
from node.db.session import Database, sqlite_url
from node.db.turns import Turns
from tests.peers import wait_until

HOLDER = """
import sys, time
from pathlib import Path
from node.db.session import Database, sqlite_url
database = Database(sqlite_url(Path(sys.argv[1])))
with database.write() as session:
    session.connection()  # begins
    print("has it", flush=True)
    sys.stdin.readline()
print("let it go", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    monkeypatch.setattr(dialects, "BUSY_SECONDS", 0.2)
    monkeypatch.setattr(turns, "LONGEST_SECONDS", 0.2)
    made = Database(sqlite_url(tmp_path))
    with made.write() as session:
        session.execute(text("CREATE TABLE numbers (number INTEGER)"))
    yield made
    made.close()


@contextlib.contextmanager
def holder(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process in the middle of a transaction. A line ends it, another one the process."""
    command = [sys.executable, "-c", HOLDER, str(folder)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None and process.stdout is not None
    try:
        assert process.stdout.readline() == "has it\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def add(database: Database) -> bool:
    """Whether a number could be written."""
    try:
        with database.write() as session:
            session.execute(text("INSERT INTO numbers VALUES (1)"))
    except OperationalError:
        return False
    return True


def count(database: Database) -> int:
    with database.read() as session:
        return int(session.scalar(text("SELECT count(*) FROM numbers")))


def test_a_stopped_process_holds_nobody_for_ever(database: Database, tmp_path: Path) -> None:
    """Each writer is told that the database is locked; once the process is gone everybody writes and queues again."""
    with holder(tmp_path) as process:
        process.send_signal(signal.SIGSTOP)
        outcomes: list[bool] = []
        writers = [threading.Thread(target=lambda: outcomes.append(add(database)), daemon=True) for _ in range(3)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join(20)
        assert outcomes == [False, False, False]
    wait_until(lambda: not database.turns._is_stuck(), 20, "the lock came and was let go")
    assert add(database) and count(database) == 1
    assert _is_free(tmp_path)


def test_one_that_goes_on_lets_the_next_write(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "LONGEST_SECONDS", 30.0)
    with holder(tmp_path) as process:
        outcomes: list[bool] = []
        writer = threading.Thread(target=lambda: outcomes.append(add(database)), daemon=True)
        writer.start()
        writer.join(0.5)
        assert outcomes == [], "it did not queue"
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
        writer.join(20)
        assert outcomes == [True]
        assert _is_free(tmp_path)


def _is_free(folder: Path) -> bool:
    other = Turns(str(folder / "lungnode.sqlite-turn"))
    with other.taken():
        taken = other._has_it
    other.close()
    return taken


def test_many_in_two_queues_take_turns(tmp_path: Path) -> None:
    queues, inside, most = [Turns(str(tmp_path / "turn")) for _ in range(2)], [0], [0]

    def work(queue: Turns) -> None:
        for _ in range(50):
            with queue.taken(), queue.taken():
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                inside[0] -= 1

    threads = [threading.Thread(target=work, args=(queue,), daemon=True) for queue in queues * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads) and most == [1]
