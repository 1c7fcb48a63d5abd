"""``python -m tests.bench``: ingest against DCMTK storescp and Orthanc, then the whole path beside the bare models.

Prints Markdown; ``docs/benchmarks.md`` holds one such run. Figures mean something only on a quiet machine.
"""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import psutil

from tests.bench import ingest, main_path
from tests.peers import Absent, program, run


def machine() -> str:
    """One paragraph: processor, memory, versions, load."""
    found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    processor = found[1] if found else platform.processor()
    memory = psutil.virtual_memory().total / 2**30
    libraries = ", ".join(f"{name} {version(name)}" for name in ("torch", "pydicom", "pynetdicom", "SQLAlchemy"))
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores of {processor}, {memory:.0f} GiB, no GPU used; "
        f"{platform.platform()}; Python {platform.python_version()}, {libraries}; "
        f"DCMTK {_peer_version('storescp')}, Orthanc {_peer_version('Orthanc')}; "
        f"load before the run {os.getloadavg()[0]:.2f}."
    )


def _peer_version(name: str) -> str:
    found = re.search(r"\d+\.\d+\.\d+", run([program(name), "--version"]).text)
    return found[0] if found else "of unknown version"


def main() -> int:
    try:
        _say(machine())
        for heading, part in PARTS:
            _say(f"\n## {heading}\n")
            _say(part())
    except Absent as absent:
        sys.stderr.write(f"{absent}\n")
        return 1
    return 0


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


PARTS: list[tuple[str, Callable[[], str]]] = [
    ("Ingest", lambda: ingest.table(ingest.measure())),
    ("From the last C-STORE response to the last delivered result", lambda: main_path.table(main_path.measure())),
]

if __name__ == "__main__":
    sys.exit(main())
