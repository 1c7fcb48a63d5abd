"""Real peers for the tests: Orthanc, DCMTK and dicom3tools as installed by Debian.

Owns their start on free ports, their temporary folders, and their end by their own process id. Knows nothing of the
node. A peer that is not installed raises ``Absent`` with a sentence naming the Debian package; ``tests/conftest.py``
turns that into a skip. All peers are reached over 127.0.0.1.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pydicom

LOOPBACK = "127.0.0.1"
PATIENCE = 60.0
PACKAGES = {
    "Orthanc": "orthanc",
    "storescu": "dcmtk",
    "storescp": "dcmtk",
    "dcmsend": "dcmtk",
    "findscu": "dcmtk",
    "movescu": "dcmtk",
    "getscu": "dcmtk",
    "dsrdump": "dcmtk",
    "dsr2html": "dcmtk",
    "dcmdump": "dcmtk",
    "dcm2pnm": "dcmtk",
    "dcmj2pnm": "dcmtk",
    "dcml2pnm": "dcmtk",
    "dcmp2pgm": "dcmtk",
    "dcmpschk": "dcmtk",
    "dcentvfy": "dicom3tools",
    "dciodvfy": "dicom3tools",
    "openssl": "openssl",
    "promtool": "prometheus",
    "systemd-analyze": "systemd",
    "docker": "docker.io",
    "true": "coreutils",
    "chromium": "chromium",
    "pgbouncer": "pgbouncer",
}


class Absent(Exception):
    """A peer is not installed; the message names the Debian package."""


def program(name: str) -> str:
    """Path of an installed peer program. System folders come first: pynetdicom puts a ``storescp`` and a ``storescu``
    of its own beside this Python."""
    system = ["/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin"]
    others = [folder for folder in os.get_exec_path() if not Path(folder).is_relative_to(sys.prefix)]
    found = shutil.which(name, path=os.pathsep.join([*system, *others]))
    if found is None:
        raise Absent(f"{name} is not installed: Debian package {PACKAGES[name]} (tests/install_peers.sh)")
    return found


def free_port() -> int:
    """A TCP port of the loopback interface that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until(condition: Callable[[], Any], seconds: float, what: str, every: float = 0.1) -> Any:
    """The condition's first true value; an AssertionError that says ``what`` was waited for when time is up.

    seconds: that are plenty on a machine at rest. A busy one gets ``PATIENCE`` at least: how long a thing takes
    is never what a test is about."""
    seconds = max(seconds, PATIENCE)
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"after {seconds:g} s still not: {what} (last value {value!r})")
        time.sleep(every)


def listens(port: int) -> bool:
    """Whether anybody takes connections there, on loopback."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((LOOPBACK, port)) == 0


class Service:
    """A peer that runs as one process in a temporary folder: ``with Orthanc() as orthanc``."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self.folder = Path(tempfile.mkdtemp(prefix=f"lungnode-test-{type(self).__name__.lower()}-"))
        self.log = self.folder / "log.txt"

    def _spawn(self, command: Sequence[str | Path], environment: dict[str, str] | None = None) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [str(part) for part in command], cwd=self.folder, env=environment, stdout=log, stderr=log
            )

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def start(self) -> Self:
        raise NotImplementedError

    def stop(self, seconds: float = 20) -> int | None:
        """SIGTERM, then SIGKILL when that was not obeyed. The exit status, negative for a signal."""
        if self.process is None:
            return None
        if self.running:
            self.process.terminate()
            try:
                self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                self.process.kill()
        return self.process.wait()

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.__exit__(None, None, None)
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


class Orthanc(Service):
    """An Orthanc of its own: storage in the temporary folder, no users, any AE title may store.

    A stopped Orthanc may be started again on the same ports with what it held. ``configuration``: what differs.
    """

    def __init__(self, aet: str = "ORTHANC", configuration: Mapping[str, object] | None = None) -> None:
        super().__init__()
        self.aet, self.configuration = aet, dict(configuration or {})
        self.dicom_port = free_port()
        self.http_port = free_port()
        self.modalities: dict[str, list[Any]] = {}

    @property
    def address(self) -> str:
        """As ``--send-to`` wants it."""
        return f"{self.aet}@{LOOPBACK}:{self.dicom_port}"

    def start(self) -> Self:
        configuration = {
            "Name": "lungnode tests",
            "StorageDirectory": str(self.folder / "storage"),
            "IndexDirectory": str(self.folder / "storage"),
            "DicomAet": self.aet,
            "DicomPort": self.dicom_port,
            "DicomAlwaysAllowStore": True,
            "DicomModalities": self.modalities,
            "HttpPort": self.http_port,
            "RemoteAccessAllowed": False,  # loopback only
            "AuthenticationEnabled": False,
            "OverwriteInstances": False,  # the default of the field: the first bytes under a UID stay
            "DeflatedTransferSyntaxAccepted": True,
            "StableAge": 1,
            "Plugins": [str(path) for path in Path("/usr/share/orthanc/plugins").glob("libOrthancDicomWeb.so")],
            **self.configuration,
        }
        file = self.folder / "orthanc.json"
        file.write_text(json.dumps(configuration))
        self._spawn([program("Orthanc"), file])
        wait_until(self._is_up, 30, f"Orthanc is up; it says: {self.log.read_text(errors='replace')[-400:]}")
        return self

    def _is_up(self) -> bool:
        if not self.running:
            raise AssertionError(f"Orthanc ended: {self.log.read_text(errors='replace')[-800:]}")
        try:
            self.get("/system")
        except (urllib.error.URLError, ConnectionError):
            return False
        return listens(self.dicom_port)

    def request(self, method: str, path: str, body: object = None) -> bytes:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://{LOOPBACK}:{self.http_port}{path}", data, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            content: bytes = answer.read()
            return content

    def get(self, path: str) -> Any:
        return json.loads(self.request("GET", path))

    def _find(self, level: str, **query: str) -> list[dict[str, Any]]:
        body = {"Level": level, "Expand": True, "Query": query}
        found: list[dict[str, Any]] = json.loads(self.request("POST", "/tools/find", body))
        return found

    def study_uids(self) -> set[str]:
        return {study["MainDicomTags"]["StudyInstanceUID"] for study in self.get("/studies?expand")}

    def instances(self, study_uid: str) -> list[str]:
        """Orthanc's ids of the study's instances."""
        return [found["ID"] for found in self._find("Instance", StudyInstanceUID=study_uid)]

    def count(self, study_uid: str | None = None) -> int:
        if study_uid is None:
            return int(self.get("/statistics")["CountInstances"])
        return len(self.instances(study_uid))

    def file(self, instance_id: str) -> bytes:
        """The instance as Orthanc keeps it, a complete DICOM file."""
        return self.request("GET", f"/instances/{instance_id}/file")

    def datasets(self, study_uid: str) -> list[pydicom.Dataset]:
        return [pydicom.dcmread(BytesIO(self.file(found))) for found in self.instances(study_uid)]

    def know(self, name: str, aet: str, port: int) -> None:
        """Make a modality known to which Orthanc may send. Of several with one AE title C-MOVE takes any."""
        self.modalities[name] = [aet, LOOPBACK, port]
        self.request("PUT", f"/modalities/{name}", {"AET": aet, "Host": LOOPBACK, "Port": port})

    def send(self, name: str, instance_ids: list[str]) -> None:
        """C-STORE the instances to a known modality; an HTTPError when that refused any."""
        self.request("POST", f"/modalities/{name}/store", {"Resources": instance_ids, "Synchronous": True})


class Storescp(Service):
    """DCMTK's storage SCP; what it received lies in ``received``. ``options``: its own flags, e.g. --abort-after."""

    accepts: tuple[str | Path, ...] = ("+xa", "-pm")  # every transfer syntax and SOP class

    def __init__(self, *options: str, port: int | None = None, aet: str = "STORESCP") -> None:
        super().__init__()
        self.aet, self.options = aet, options
        self.port = port or free_port()
        self.received = self.folder / "received"
        self.received.mkdir()

    @property
    def address(self) -> str:
        return f"{self.aet}@{LOOPBACK}:{self.port}"

    def start(self) -> Self:
        command = [program("storescp"), "-aet", self.aet, "-od", self.received, "-uf", *self.accepts]
        self._spawn([*command, *self.options, str(self.port)])
        wait_until(lambda: listens(self.port), 15, "storescp listens")
        return self

    def files(self) -> list[Path]:
        return sorted(path for path in self.received.iterdir() if path.is_file())


@dataclass(frozen=True)
class Ran:
    """A command that ended: exit status and both streams as text."""

    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        return self.out + self.err


def run(command: Sequence[str | Path], seconds: float = 120, **environment: str) -> Ran:
    """Run to the end. ``environment`` is added to a copy of ours without any LUNGNODE_ variable."""
    done = subprocess.run(
        [str(part) for part in command],
        capture_output=True, timeout=seconds, env=clean_environment() | environment, check=False,
    )  # fmt: skip
    return Ran(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))


def clean_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("LUNGNODE_")}


def storescu(port: int, paths: Sequence[Path], *options: str, called: str = "LUNGNODE") -> Ran:
    """DCMTK's simplest sender: one association, contexts for one preferred transfer syntax (see its --propose)."""
    return run([program("storescu"), "-v", "-aec", called, "+sd", "+r", *options, LOOPBACK, str(port), *paths])


def dcmsend(port: int, paths: Sequence[Path], *options: str, called: str = "LUNGNODE") -> Ran:
    """DCMTK's careful sender: proposes what the files need."""
    return run([program("dcmsend"), "-v", "-aec", called, "+sd", "+r", *options, LOOPBACK, str(port), *paths])


def dciodvfy(path: Path) -> list[str]:
    """The validator's error lines; empty when the object keeps to its definition (its warnings are left out)."""
    ran = run([program("dciodvfy"), path])
    return [line for line in ran.text.splitlines() if line.startswith("Error")]


def dsrdump(path: Path, *options: str) -> Ran:
    return run([program("dsrdump"), *options, path])


def dsr2html(path: Path) -> Ran:
    return run([program("dsr2html"), path])
