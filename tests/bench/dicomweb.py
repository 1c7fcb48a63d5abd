"""How fast one CT of 300 slices goes over DICOMweb: the node and Orthanc's plugin, the same client and the same study.

``python -m tests.bench.dicomweb``. A plain HTTP/1.1 client over one connection, which reads every byte of an answer.
The servers take turns, so that a noisy machine is noisy for both; each round stores a study of its own. The node
answers a store after files and rows are durable; Orthanc syncs no files. Metadata is asked for twice: the first time
is that of a viewer that opens a study, the second what both may have kept; frames too, since what the node receives
is written past the kernel's cache and comes from the disk the first time, where no analysis has read it before. Both
run without analysis. Processor time is that of the server alone, which a busy machine changes less.
"""

from __future__ import annotations

import http.client
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import psutil
from pydicom import Dataset

from tests.bench.page import machine, write_section
from tests.dicomweb.site import as_file, message
from tests.peers import LOOPBACK, Orthanc
from tests.pipeline.slices import Scan, scan
from tests.served import LungnodeProcess

WHAT = (
    "`python -m tests.bench.dicomweb --write`: a CT of 300 slices of 0.53 MB, stored in one request, then read "
    "back by a plain HTTP/1.1 client on one connection, five rounds in turns. The node answers a store after "
    "files and rows are durable; Orthanc syncs no files. Processor time is that of the server process. What the "
    "node receives is written past the kernel's cache, and is read from the disk the first time. The issue asked "
    "for metadata and frames within 1.5 times Orthanc's time, and a store in less."
)
SLICES, SIDE = 300, 512
QUICK_SLICES = 40
SETTINGS = "[receive]\nmin_free_bytes = 0\n"
STORE, METADATA, AGAIN = "STOW-RS, one request", "metadata of the study", "metadata of the study, again"
FRAMES, FRAMES_AGAIN = "frames, one request each", "frames, again"
INSTANCES = "whole study, one request"
OCTETS = 'multipart/related; type="application/octet-stream"; transfer-syntax=*'
DICOM = 'multipart/related; type="application/dicom"; transfer-syntax=*'


@dataclass(frozen=True)
class Took:
    """One step of one server in one round."""

    step: str
    server: str
    megabytes: float  # 10^6 bytes of body
    seconds: float
    processor_seconds: float  # of the server


def measure(rounds: int = 5, quick: bool = False) -> list[Took]:
    """A first, unmeasured round warms both up."""
    os.environ["TCP_NODELAY"] = "1"
    with ExitStack() as stack:
        node = stack.enter_context(LungnodeProcess("--workers", "0", settings=SETTINGS))
        orthanc = stack.enter_context(Orthanc())
        ports = {"lungnode": node.http_port, "Orthanc": orthanc.http_port}
        servers = {"lungnode": node.processes()[0], "Orthanc": psutil.Process(orthanc.process.pid)}
        found: list[Took] = []
        for number in range(rounds + 1):
            slices = study(f"{time.time_ns()}", QUICK_SLICES if quick else SLICES)
            for server in list(ports) if number % 2 else list(reversed(ports)):
                took = list(_round(servers[server], server, ports[server], slices))
                found += took if number else []
        return found


def study(seed: str, count: int) -> list[Dataset]:
    """Slices with noise, as scanners have it."""
    noise = np.random.default_rng(1).integers(-1000, 1000, (SIDE, SIDE), dtype=np.int16)
    return scan(Scan(seed, voxels=np.stack([np.roll(noise, number, axis=0) for number in range(count)])))


def _round(process: psutil.Process, server: str, port: int, slices: Sequence[Dataset]) -> Iterable[Took]:
    study = f"/dicom-web/studies/{slices[0].StudyInstanceUID}"
    places = [f"{study}/series/{ds.SeriesInstanceUID}/instances/{ds.SOPInstanceUID}" for ds in slices]
    body, kind = message([("application/dicom", "", as_file(ds)) for ds in slices], "application/dicom")
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=300)

    def ask(method: str, path: str, accept: str, content: bytes | None = None) -> int:
        said = {"Accept": accept, **({"Content-Type": kind} if content else {})}
        connection.request(method, path, content, said)
        answer = connection.getresponse()
        if answer.status != 200:
            raise AssertionError(f"{server} answers {answer.status} to {method} {path}")
        return sum(map(len, iter(lambda: answer.read(1 << 20), b"")))

    def timed(step: str, work: Callable[[], int]) -> Took:
        began, used = time.perf_counter(), process.cpu_times()
        count = work()
        after = process.cpu_times()
        spent = after.user + after.system - used.user - used.system
        return Took(step, server, count / 1e6, time.perf_counter() - began, spent)

    def store() -> int:
        ask("POST", "/dicom-web/studies", "application/dicom+json", body)
        return len(body)

    yield timed(STORE, store)
    for step in (METADATA, AGAIN):
        yield timed(step, lambda: ask("GET", f"{study}/metadata", "application/dicom+json"))
    for step in (FRAMES, FRAMES_AGAIN):
        yield timed(step, lambda: sum(ask("GET", f"{place}/frames/1", OCTETS) for place in places))
    yield timed(INSTANCES, lambda: ask("GET", study, DICOM))
    connection.close()


def table(found: Sequence[Took]) -> str:
    """Markdown: medians, and the medians of the node's times by those of Orthanc in the same round."""
    lines = ["| step | lungnode | Orthanc | time by Orthanc's | processor by Orthanc's |", "|---|---|---|---|---|"]
    for step in dict.fromkeys(one.step for one in found):
        ours, theirs = (
            [one for one in found if (one.step, one.server) == (step, name)] for name in ("lungnode", "Orthanc")
        )
        ratio = statistics.median(a.seconds / b.seconds for a, b in zip(ours, theirs, strict=True))
        pairs = zip(ours, theirs, strict=True)
        processor = statistics.median(a.processor_seconds / max(b.processor_seconds, 0.01) for a, b in pairs)
        lines.append(f"| {step} | {_said(ours)} | {_said(theirs)} | {ratio:.2f} | {processor:.2f} |")
    return "\n".join(lines)


def _said(found: Sequence[Took]) -> str:
    seconds = statistics.median(one.seconds for one in found)
    return f"{seconds:.2f} s, {statistics.median(one.megabytes / one.seconds for one in found):.0f} MB/s"


def main(arguments: Sequence[str]) -> int:
    """``--quick``: a few slices, to see that it runs; ``--write``: into docs/benchmarks.md."""
    before = machine()
    found = table(measure(2, quick=True) if "--quick" in arguments else measure())
    sys.stdout.write(f"{found}\n")
    if "--write" in arguments:
        write_section("DICOMweb", f"{before}\n\n{WHAT}\n\n{found}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
