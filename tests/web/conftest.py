"""Passwords of these tests are hashed with little work, and each door gets a copy of one empty database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from node.db import schema
from node.db.session import Database, sqlite_url
from node.web.auth import passwords
from tests.web import door


@pytest.fixture(scope="session", autouse=True)
def _quick_hashes() -> Iterator[None]:
    ours, passwords.HASHER = passwords.HASHER, door.QUICK
    yield
    passwords.HASHER = ours


@pytest.fixture(scope="session")
def empty_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("empty")
    database = Database(sqlite_url(folder))
    schema.migrate(database.engine)
    database.close()
    return folder / "lungnode.sqlite"
