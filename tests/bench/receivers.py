"""Who receives: the node, DCMTK ``storescp`` and Orthanc, each as a process that stays up for the whole measurement.

All keep what they receive on the file system of the temporary folder. After each sending what has arrived is counted by
the files and, where there is one, by the receiver's own database; then the files are emptied, so that no receiver's
data wait for the disk while another one is measured.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.bench.senders import LARGEST_PDU
from tests.peers import Orthanc, Service, Storescp
from tests.served import LungnodeProcess

SETTINGS = """
[receive]
min_free_bytes = 0
fsync = {fsync}
processes = {processes}

[query]
serve = {queries}
"""


@dataclass(frozen=True)
class Receiver:
    """A receiver that runs. pattern: of its files in ``folder``. rows: what its database counts since its beginning."""

    port: int
    service: Service
    folder: Path
    pattern: str
    rows: Callable[[], int] | None = None

    def files(self) -> list[Path]:
        """Those that came since the last ``clear``."""
        return [path for path in self.folder.glob(self.pattern) if path.is_file() and path.stat().st_size]

    def clear(self) -> None:
        """Give back the room, not the names: ext4, making a file, passes over inodes near its folder that were freed in
        the last minutes, so each sending would be slower than the one before."""
        for path in self.files():
            os.truncate(path, 0)

    def cpu_seconds(self) -> float:
        """User and system time of all its processes, those that ended included."""
        assert self.service.process is not None
        first, found = psutil.Process(self.service.process.pid), 0.0
        for process in (first, *first.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                found += sum(process.cpu_times()[:4])  # its own user and system time, and of children waited for
        return found


@contextmanager
def node(fsync: bool = True, processes: int = 2, queries: bool = False, data: Path | None = None) -> Iterator[Receiver]:
    """Without workers: receiving only, or answering queries too. data: a folder that exists, else one of its own."""
    settings = SETTINGS.format(fsync=str(fsync).lower(), processes=processes, queries=str(queries).lower())
    with LungnodeProcess("--workers", "0", settings=settings, data=data) as node:
        yield Receiver(
            node.dicom_port,
            node,
            node.data / "archive" / "received",
            "*/*.dcm",
            lambda: int(node.rows("SELECT count(*) AS n FROM instances")[0]["n"]),
        )


@contextmanager
def _storescp(*options: str) -> Iterator[Receiver]:
    with Storescp(*options) as storescp:
        yield Receiver(storescp.port, storescp, storescp.received, "*")


@contextmanager
def _orthanc(sync: bool) -> Iterator[Receiver]:
    """As it comes, without plugins. Its storage syncs the data of each file unless told otherwise; its index never."""
    with Orthanc(configuration={"SyncStorageArea": sync, "StableAge": 60, "Plugins": []}) as orthanc:
        yield Receiver(orthanc.dicom_port, orthanc, orthanc.folder / "storage", "*/*/*", orthanc.count)


@dataclass(frozen=True)
class Candidate:
    """A receiver to be. associations: how many at once tell something of it."""

    name: str
    open: Callable[[], AbstractContextManager[Receiver]]
    associations: tuple[int, ...] = (1, 4, 16)


NODE, NODE_UNSYNCED = "lungnode", "lungnode, no sync"
NODE_OF_ONE, NODE_OF_ONE_UNSYNCED = "lungnode, 1 process", "lungnode, 1 process, no sync"
ORTHANC, ORTHANC_UNSYNCED = "Orthanc", "Orthanc, no sync"
STORESCP, STORESCP_LARGE, STORESCP_FORKS = "storescp", "storescp, PDU 128 KiB", "storescp, PDU 128 KiB, --fork"
CANDIDATES = (
    Candidate(NODE, node, (1, 2, 4, 16)),
    Candidate(NODE_OF_ONE, lambda: node(processes=1), (1, 4)),
    Candidate(ORTHANC, lambda: _orthanc(sync=True)),
    Candidate(NODE_UNSYNCED, lambda: node(fsync=False), (1, 2, 4, 16)),
    Candidate(NODE_OF_ONE_UNSYNCED, lambda: node(fsync=False, processes=1), (1, 4)),
    Candidate(ORTHANC_UNSYNCED, lambda: _orthanc(sync=False)),
    Candidate(STORESCP, _storescp, (1, 4)),
    Candidate(STORESCP_LARGE, lambda: _storescp("-pdu", LARGEST_PDU), (1, 4)),
    Candidate(STORESCP_FORKS, lambda: _storescp("-pdu", LARGEST_PDU, "--fork"), (4, 16)),
)
