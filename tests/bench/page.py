"""``docs/benchmarks.md``: each section is written by the command that measured it, and begins with its machine.

A section is all between its heading and the next one. Nothing else of the page is touched.
"""

from __future__ import annotations

import os
import platform
import re
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import psutil

from tests.peers import program, run

PAGE = Path(__file__).parents[2] / "docs" / "benchmarks.md"


def with_section(page: str, heading: str, body: str) -> str:
    """The page with this section in its place, or at the end where there was none."""
    section = f"## {heading}\n\n{body.strip()}\n"
    found = re.search(rf"^## {re.escape(heading)}\n.*?(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
    if found is None:
        return f"{page.rstrip()}\n\n{section}"
    rest = page[found.end() :]
    return page[: found.start()] + section + (f"\n{rest}" if rest else "")


def write_section(heading: str, body: str) -> None:
    PAGE.write_text(with_section(PAGE.read_text(encoding="utf-8"), heading, body), encoding="utf-8")


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
        f"load before the run {load():.2f}."
    )


def load() -> float:
    """Processes that wanted to run, mean of the last minute."""
    return os.getloadavg()[0]


def _peer_version(name: str) -> str:
    found = re.search(r"\d+\.\d+\.\d+", run([program(name), "--version"]).text)
    return found[0] if found else "of unknown version"
