"""The receiver under fire: a node as a process, many connections at once, and what must be true afterwards.

A case is sent by ``fire`` from one event loop; ``Target.sound`` gives a sentence for everything that is wrong after a
batch. Time-outs of the node are short (``SETTINGS``), so that who waits is soon let go. It syncs nothing: what a power
cut takes is the matter of tests/faults.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.dimse.certificates import Authority
from tests.dimse.station import film
from tests.films import MARKER
from tests.fuzz import messages
from tests.fuzz.cases import ROWS, Case
from tests.peers import LOOPBACK
from tests.sending import associate, store
from tests.served import LungnodeProcess

TIME_OUT = 5.0
SETTINGS = f"""
[receive]
max_associations = 100
acse_timeout_seconds = {TIME_OUT}
dimse_timeout_seconds = {TIME_OUT}
network_timeout_seconds = {TIME_OUT}
min_free_bytes = 0
fsync = false
max_instance_bytes = 100000000

[commitment]
default_port = 0
"""
TLS = """
[tls]
port = 0
certificate = "{pair.certificate}"
key = "{pair.key}"
require_peer_certificate = false
"""
P_DATA_TF, A_RELEASE_RP = 0x04, 0x06  # PS3.8 section 9.3.1
AT_ONCE = 48
PATIENCE = 60.0  # of a sender that hears nothing: the time-outs of the node above one another, on a busy machine
LARGEST_GROWTH = 200 << 20  # bytes of memory of all processes together, over what they had when they were idle
POOLS = 40  # threads of the archive, the duties and the web server, which come as they are needed and stay
KNOWN = {"data", "node.toml", "log.txt", "tmp", "authority"}  # of the folder the node runs in


@contextlib.contextmanager
def target() -> Iterator[Target]:
    """A node of its own, with a plain port and one for TLS."""
    node = LungnodeProcess("--workers", "0", settings=SETTINGS)
    authority = Authority(node.folder / "authority")
    pair = authority.sign("node")
    node.config.write_text(SETTINGS + TLS.format(pair=pair))
    (node.folder / "tmp").mkdir()
    node.environment["TMPDIR"] = str(node.folder / "tmp")
    with node:
        yield Target(node)


class Target:
    """A node without workers, and what it was like before the first case."""

    def __init__(self, node: LungnodeProcess) -> None:
        self.node, self.number, self._read = node, 0, 0
        ports = json.loads((node.data / "ports.json").read_text())
        self._ports = {"plain": int(ports["dicom"]), "tls": int(ports["dicom_tls"])}
        self._store()
        self._threads, self._memory = self.threads(), self.memory()
        self._pids = {process.pid for process in node.processes()}

    def fire(self, cases: Iterable[Case]) -> list[Case]:
        """Send all of them, many at once; those that the node did not end in time or not answer as it should."""
        with ThreadPoolExecutor(1) as thread:  # that of a test may have a loop already: a browser's
            return thread.submit(asyncio.run, _fire(list(cases), self._ports)).result()

    def sound(self) -> list[str]:
        """What is wrong with the node now, a sentence each. Waits for what the time-outs still have to end."""
        if not self.node.running:
            return [f"The node ended: {self.node.logged()[-2000:]}"]
        found = [
            *self._serves(),
            *self._logged(),
            *self._left_files(),
            *_soon(lambda: self.threads() <= self._threads + POOLS, lambda: f"{self.threads()} threads are left."),
            *_soon(lambda: not self._temporary(), lambda: f"Temporary files are left: {self._temporary()}"),
            *_soon(self._is_small, lambda: f"The node's memory grew to {self.memory() >> 20} MiB."),
        ]
        if {process.pid for process in self.node.processes()} != self._pids:
            found.append("A process of the node ended.")
        return found

    def threads(self) -> int:
        return sum(process.num_threads() for process in self.node.processes())

    def memory(self) -> int:
        """Bytes, of all processes of the node."""
        return sum(process.memory_info().rss for process in self.node.processes())

    def _is_small(self) -> bool:
        return self.memory() - self._memory <= LARGEST_GROWTH

    def peak(self) -> int:
        """Bytes: the most that each process ever had, added up."""
        status = [Path(f"/proc/{process.pid}/status").read_text() for process in self.node.processes()]
        return sum(int(text.split("VmHWM:")[1].split()[0]) << 10 for text in status)

    def files(self) -> set[Path]:
        """All that lies in the folder of the node and below, but for the database and who is associated now."""
        found = {path for path in self.node.folder.rglob("*") if path.is_file() and "sqlite" not in path.name}
        return {path for path in found if not path.is_relative_to(self.node.data / "run")}

    def _serves(self) -> list[str]:
        try:
            self._echo()
            self._store()
        except (AssertionError, ConnectionError) as error:
            return [f"A good sender was not served: {error!r}"]
        return []

    def _echo(self) -> None:
        with associate(self.node.dicom_port, [(messages.ECHO, messages.IMPLICIT_LITTLE)]) as association:
            assert association.send_c_echo().Status == 0x0000, "C-ECHO failed"

    def _store(self) -> None:
        self.number += 1
        good = film(f"good after {self.number} batches")
        assert store(self.node.dicom_port, [good]) == [0x0000], "C-STORE failed"

    def _logged(self) -> list[str]:
        """Of the log since the last time."""
        with self.node.log.open("rb") as log:
            log.seek(self._read)
            new = log.read().decode(errors="replace")
            self._read = log.tell()
        found = [line[:3000] for line in new.splitlines() if "raceback" in line or "Exception in thread" in line]
        names = [word for word in MARKER.words() if word in new]
        return [f"The log has a traceback: {line}" for line in found[:3]] + [f"The log names {name}." for name in names]

    def _temporary(self) -> list[Path]:
        return [*(self.node.data / "archive" / "tmp").iterdir(), *(self.node.folder / "tmp").iterdir()]

    def _left_files(self) -> list[str]:
        strangers = {path.name for path in self.node.folder.iterdir()} - KNOWN
        archived = [path for path in (self.node.data / "archive").rglob("*") if path.is_file()]
        odd = [path for path in archived if path.parent.name != "tmp" and not _is_ours(path)]
        rows = {row["path"] for row in self.node.rows("SELECT path FROM instances")}
        names = {str(path.relative_to(self.node.data / "archive")) for path in archived if path.parent.name != "tmp"}
        found = [f"There are files outside the archive: {strangers}"] if strangers else []
        found += [f"There are files of no known form: {odd}"] if odd else []
        found += [f"{len(rows - names)} instances have no file."] if rows - names else []
        return found


def _is_ours(path: Path) -> bool:
    """``received/xx/<digest>.dcm``"""
    digest = path.stem
    return path.suffix == ".dcm" and len(digest) == 64 and path.parent.name == digest[:2]


def _soon(condition: Callable[[], bool], otherwise: Callable[[], str], seconds: float = PATIENCE) -> list[str]:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return [otherwise()]
        time.sleep(0.05)
    return []


async def _fire(cases: Sequence[Case], ports: dict[str, int]) -> list[Case]:
    turns, wrong = asyncio.Semaphore(AT_ONCE), []  # type: asyncio.Semaphore, list[Case]

    async def one(case: Case) -> None:
        async with turns:
            if not await _send(case, ports[case.door]):
                wrong.append(case)

    await asyncio.gather(*(one(case) for case in cases))
    return wrong


async def _send(case: Case, port: int) -> bool:
    """Whether the node did as it should."""
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    try:
        async with asyncio.timeout(PATIENCE) as patience:
            writer.write(case.request)
            await writer.drain()
            if case.kind not in ("request", "noise"):
                await _pdu(reader)  # A-ASSOCIATE-AC
            writer.write(case.rest)
            await writer.drain()
            return await _leave(case, reader, writer, patience)
    except (OSError, asyncio.IncompleteReadError) as error:
        return not isinstance(error, TimeoutError) and case.kind not in ROWS
    finally:
        writer.transport.abort()


async def _leave(
    case: Case, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, patience: asyncio.Timeout
) -> bool:
    connection: socket.socket = writer.get_extra_info("socket")
    if case.leaves == "releases":
        writer.write(messages.release_rq().encode())
    elif case.leaves == "aborts":
        writer.write(messages.abort().encode())
    elif case.leaves == "half-closes":
        writer.write_eof()
    elif case.leaves == "resets":
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    if case.leaves in ("resets", "closes"):
        return True
    if case.kind in ROWS:
        return [await _pdu(reader) for _ in range(case.count + 1)] == [P_DATA_TF] * case.count + [A_RELEASE_RP]
    while await reader.read(1 << 16):  # a query for all patients has thousands of answers
        patience.reschedule(asyncio.get_running_loop().time() + PATIENCE)
    return True


async def _pdu(reader: asyncio.StreamReader) -> int:
    """The type of the next PDU."""
    head = await reader.readexactly(6)
    await reader.readexactly(struct.unpack(">L", head[2:])[0])
    return head[0]
