"""The demonstration: one film through a real node to a stand-in PACS, shown step by step, then everything ends.

The node runs as its own process with its own data folder, as ``lungnode serve`` does; the stand-in PACS lives in
this process. Everything is on loopback. Returns 0 when the PACS holds a report, 1 with a sentence otherwise.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError
from pydicom import dcmread
from pydicom.errors import InvalidDicomError
from rich.console import Console

from node.commands import show
from node.core.errors import Misconfigured, PeerAway
from node.core.study import StudyState
from node.db import story
from node.db.queries import pages
from node.db.queries.resources import DELIVERIES, LESIONS, RESULTS
from node.db.session import Database, sqlite_url
from node.demo import overview
from node.demo.phantom import draw_film, film_as_dicom
from node.dimse import scu
from node.dimse.standin import StandIn

PHANTOM_MM = 400.0  # height of the drawn film
READY_SECONDS = 120.0
DONE_SECONDS = 600.0
PAGES_PORT = 8080
SETTINGS = """\
[node]
dicom_host = "127.0.0.1"
dicom_port = 0
http_port = 0
[completeness]
quiet_seconds = 1.0
quiet_seconds_film = 1.0
[web]
loopback_needs_no_login = true
[receive]
min_free_bytes = 100000000
[delivery]
destinations = ["{destination}"]
"""


@dataclass(frozen=True)
class Film:
    path: Path
    study_uid: str
    described: str


def demo(film: Path | None, out: Path) -> int:
    """Run the demonstration into ``out`` (emptied first if an earlier demonstration made it)."""
    console = Console(highlight=False, soft_wrap=True)
    console.print("lungnode demonstration. Research use only, not for diagnosis.\n")
    described, content = _prepare(film)
    _empty(out)
    sent = Film(out / "sent" / "film.dcm", _study_uid(content), described)
    sent.path.write_bytes(content)
    with StandIn(out / "pacs") as pacs, _node(out, f"STANDIN@127.0.0.1:{pacs.port}") as ports:
        database = Database(sqlite_url(out / "data"))
        _send(console, sent, ports["dicom"])
        state = _follow(console, database, sent.study_uid)
        _tell(console, database, sent, out)
        _tell_pacs(console, pacs, out)
        picture = overview.draw(sent.path, [item.path for item in pacs.received], out / "overview.png")
        console.print(f"\nOverview picture: {picture}" if picture else "\nNo overview picture: no heat map came back.")
        _tell_page(console, sent, out)
        console.print("\nResearch use only, not for diagnosis.")
        return 0 if state is StudyState.ANALYSED and pacs.received else 1


def _empty(out: Path) -> None:
    marker = out / "demo.toml"
    if out.exists() and any(out.iterdir()):
        if not marker.exists():
            raise Misconfigured(f"{out} is not empty and no earlier demonstration made it")
        shutil.rmtree(out)
    (out / "sent").mkdir(parents=True)
    marker.touch()


def _prepare(film: Path | None) -> tuple[str, bytes]:
    """What is sent, in words and as a DICOM file: drawn, wrapped from a picture, or the user's own."""
    now = datetime.now(UTC)
    if film is None:
        drawn = draw_film()
        words = f"a synthetic chest radiograph drawn by code (DX, {drawn.shape[1]} x {drawn.shape[0]}, 12 bit)"
        return words, film_as_dicom(drawn, now, PHANTOM_MM / drawn.shape[0])
    if not film.is_file():
        raise Misconfigured(f"there is no file {film}")
    try:
        with Image.open(film) as picture:
            pixels = np.asarray(picture.convert("L"))
    except UnidentifiedImageError:
        return "your DICOM file", film.read_bytes()
    return f"your picture as CR ({pixels.shape[1]} x {pixels.shape[0]}, 8 bit)", film_as_dicom(pixels, now, None)


def _study_uid(content: bytes) -> str:
    try:
        header = dcmread(BytesIO(content), stop_before_pixels=True, specific_tags=["StudyInstanceUID"])
        return str(header.StudyInstanceUID)
    except (InvalidDicomError, AttributeError) as error:
        raise Misconfigured("the film is neither a picture nor a DICOM file with a Study Instance UID") from error


@contextmanager
def _node(out: Path, destination: str) -> Iterator[dict[str, int]]:
    """``lungnode serve`` as a child process; yields its ports when it is ready; drains it at the end."""
    config = out / "demo.toml"
    config.write_text(SETTINGS.format(destination=destination))
    command = [sys.executable, "-m", "node.cli", "serve", "--data", str(out / "data"), "--config", str(config)]
    with (out / "node.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        yield _wait_ready(process, out)
    finally:
        process.terminate()
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()


def _wait_ready(process: subprocess.Popen[bytes], out: Path) -> dict[str, int]:
    """Poll /health/ready until it answers 200."""
    deadline = time.monotonic() + READY_SECONDS
    ports_file = out / "data" / "ports.json"
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise PeerAway(f"the node ended with exit code {process.returncode}; see {out / 'node.log'}")
        if ports_file.exists():
            ports: dict[str, int] = json.loads(ports_file.read_text())
            if _answers(f"http://127.0.0.1:{ports['http']}/health/ready"):
                return ports
        time.sleep(0.1)
    raise PeerAway(f"the node was not ready after {READY_SECONDS:.0f} s; see {out / 'node.log'}")


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _send(console: Console, film: Film, port: int) -> None:
    (outcome,) = scu.send_files("127.0.0.1", port, "DEMO", "LUNGNODE", [film.path])
    status = f"status 0x{outcome.status:04X}" if outcome.status is not None else "no answer"
    console.print(f"Sent by C-STORE: {film.described}\n  study {film.study_uid}\n  {status} {outcome.comment}".rstrip())
    if not outcome.delivered:
        raise PeerAway(f"the node did not take the film: {outcome.comment or status}")


def _follow(console: Console, database: Database, study_uid: str) -> StudyState:
    """Show each state as it is reached until everything is delivered."""
    deadline, last, started = time.monotonic() + DONE_SECONDS, "", time.monotonic()
    console.print("\nProgress:")
    with console.status("working"):
        while time.monotonic() < deadline:
            with database.read() as session:
                line = story.study_line(session, study_uid)
                owed = pages.page(session, DELIVERIES, {"study": study_uid, "state": "waiting"}).rows
            if line and (text := f"{line.state.value}: {line.sentence}") != last:
                last = text
                console.print(f"  {time.monotonic() - started:5.1f} s  {text}")
            if line and line.state in (StudyState.ANALYSED, StudyState.FAILED) and not owed:
                return line.state
            time.sleep(0.1)
    raise PeerAway(f"the study was not finished after {DONE_SECONDS:.0f} s")


def _tell(console: Console, database: Database, film: Film, out: Path) -> None:
    wanted = {"study": film.study_uid}
    with database.read() as session:
        found, centres = (list(pages.every(session, one, wanted, "analysed_at")) for one in (RESULTS, LESIONS))
    columns = ["system", "class", "probability", "decision", "threshold", "model_version"]
    console.print("\nFindings:")
    console.print(show.text(RESULTS.names, found, "table", columns) if found else "  none")
    console.print("\nLesion centres (clusters of explanation heat; x, y in pixels of the film):")
    columns = ["system", "class", "number", "x_px", "y_px", "x_mm", "y_mm", "area_px", "peak_heat", "inside_lung"]
    console.print(show.text(LESIONS.names, centres, "table", columns) if centres else "  none")


def _tell_pacs(console: Console, pacs: StandIn, out: Path) -> None:
    console.print("\nThe PACS received:")
    for item in pacs.received:
        header = dcmread(item.path, stop_before_pixels=True)
        console.print(f"  {header.Modality}  {header.SeriesDescription}\n      {item.path.relative_to(out.parent)}")
    if not pacs.received:
        console.print("  nothing")


def _tell_page(console: Console, film: Film, out: Path) -> None:
    """The node has ended with the demonstration; its data are still there to be served."""
    console.print("\nTo see the study in a browser, serve what was kept, and open its page:")
    console.print(f"  lungnode serve --data {out / 'data'} --config {out / 'demo.toml'} --http-port {PAGES_PORT}")
    console.print(f"  http://127.0.0.1:{PAGES_PORT}/studies/{film.study_uid}")
