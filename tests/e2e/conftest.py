"""One running node and one Orthanc for most modules: loading the models is what costs time."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import DATA
from tests.films import MARKER
from tests.peers import Orthanc
from tests.served import LungnodeProcess

QUICK = """
[node]
log_level = "debug"

[completeness]
quiet_seconds = 0.5
quiet_seconds_film = 0.3

[delivery]
backoff_seconds = [0.2, 0.5, 1.0]
"""


@pytest.fixture(scope="package")
def node(orthanc: Orthanc) -> Iterator[LungnodeProcess]:
    """Receives, analyses, and sends to ``orthanc``. Tests add studies of their own and never stop it."""
    with LungnodeProcess(settings=QUICK, send_to=[orthanc.address]) as running:
        orthanc.know("node", "LUNGNODE", running.dicom_port)
        yield running


@pytest.fixture(scope="session")
def sample_films(data_folder: Path) -> dict[str, Path]:
    """One film of each label from the test split."""
    with (DATA / "cxr" / "labels.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "test"]
    first = {row["label"]: DATA / "cxr" / row["file"] for row in reversed(rows)}
    return dict(sorted(first.items()))


def assert_no_marker(text: str, what: str) -> None:
    """No identifying value of a test film stands in ``text``."""
    lowered = text.lower()
    found = [word for word in MARKER.words() if word.lower() in lowered]
    assert not found, f"{what} hold identifying values: {found}"
