"""A node on PostgreSQL for the modules that need no more than that."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.kills import SETTINGS
from tests.peers import Orthanc
from tests.postgres import Postgres
from tests.served import LungnodeProcess


@pytest.fixture(scope="package")
def orthanc() -> Iterator[Orthanc]:
    """One of its own: it is sent the same films as that of ``tests/e2e``."""
    with Orthanc() as running:
        yield running


@pytest.fixture(scope="package")
def node(orthanc: Orthanc, postgres: Postgres) -> Iterator[LungnodeProcess]:
    """As that of ``tests/e2e`` with one system, on PostgreSQL."""
    environment = {"LUNGNODE_DATABASE_URL": postgres.url(postgres.made())}
    with LungnodeProcess(settings=SETTINGS, send_to=[orthanc.address], environment=environment) as running:
        orthanc.know("node", "LUNGNODE", running.dicom_port)
        yield running
