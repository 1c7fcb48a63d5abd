"""One running node that sends to Orthanc, a browser, and for answers without a browser the pages in this process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from node.db.session import Database, sqlite_url
from tests.bench import ledger
from tests.pages.frame import Pages
from tests.peers import Orthanc
from tests.served import LungnodeProcess
from tests.viewers.screen import chromium

QUICK = """
[completeness]
quiet_seconds = 0.5
quiet_seconds_film = 0.5
"""
STUDIES = 40


@pytest.fixture(scope="package")
def node(orthanc: Orthanc) -> Iterator[LungnodeProcess]:
    with LungnodeProcess(settings=QUICK, send_to=[orthanc.address]) as running:
        orthanc.know("node", "LUNGNODE", running.dicom_port)
        yield running


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        running = chromium(playwright)
        yield running
        running.close()


@pytest.fixture
def filled(any_database: Database) -> Database:
    """With rows of ``ledger``, on each engine."""
    ledger.fill(any_database, STUDIES * ledger.EACH)
    return any_database


@pytest.fixture(scope="session")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rows")
    made = Database(sqlite_url(folder))
    ledger.fill(made, STUDIES * ledger.EACH)
    made.close()
    return folder


@pytest.fixture
def pages(tmp_path: Path, rows: Path) -> Iterator[Pages]:
    with Pages(tmp_path, rows) as made:
        yield made
