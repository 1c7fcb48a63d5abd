"""What all tests share: the folder of real data, and peers that skip with a sentence where they are not installed."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from pathlib import Path

import hypothesis
import pytest

from node.db import schema
from node.db.session import Database, sqlite_url
from tests.peers import Absent, Orthanc
from tests.postgres import Postgres

hypothesis.settings.register_profile("suite", deadline=None)  # a busy machine is no fault
hypothesis.settings.load_profile("suite")

DATA = Path(os.environ.get("LUNGDATA") or Path(__file__).parents[2] / "shared" / "data")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup() -> Generator[None, None, None]:
    try:
        return (yield)
    except Absent as absent:
        pytest.skip(str(absent))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, None, None]:
    try:
        return (yield)
    except Absent as absent:
        pytest.skip(str(absent))


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """Real films and DICOM files; see ``README.md`` there. Nothing of it is part of the project."""
    if not (DATA / "dicom").is_dir() or not (DATA / "cxr" / "labels.csv").is_file():
        pytest.skip(f"the real data is not there: {DATA} (or the folder that LUNGDATA names)")
    return DATA


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with Postgres() as running:
        yield running


ENGINES = tuple(os.environ.get("LUNGNODE_TEST_DATABASE", "sqlite,postgresql").split(","))


@pytest.fixture(params=ENGINES)
def empty_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """Without a table, on each engine that LUNGNODE_TEST_DATABASE names (both)."""
    is_file = request.param == "sqlite"
    made = Database(sqlite_url(tmp_path)) if is_file else request.getfixturevalue("postgres").database()
    yield made
    made.close()


@pytest.fixture
def any_database(empty_database: Database) -> Database:
    """With its schema, on each engine."""
    schema.migrate(empty_database.engine)
    return empty_database


@pytest.fixture(scope="session")
def orthanc() -> Iterator[Orthanc]:
    with Orthanc() as running:
        yield running
