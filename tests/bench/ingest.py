"""How fast instances are received: DCMTK storescp, Orthanc and the node, the same sender and the same files.

Sender: DCMTK storescu with a PDU of 128 KiB on one association; receivers take turns, so that a noisy machine is noisy
for all. DCMTK and Orthanc run with TCP_NODELAY=1: without it Debian's builds wait 40 ms for each object on loopback,
which would flatter the node four- to fivefold. The node answers after file and rows are durable; storescp syncs
nothing, Orthanc no files. A series is counted from the start of storescu to its end. The node runs without workers:
receiving only, as the peers do.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ComputedRadiographyImageStorage, CTImageStorage, ExplicitVRLittleEndian, generate_uid

from tests.peers import LOOPBACK, Orthanc, Storescp, program
from tests.served import LungnodeProcess

SERIES = {
    "CT, 300 of 0.53 MB": (CTImageStorage, 300, 512),
    "CR, 40 of 8.4 MB": (ComputedRadiographyImageStorage, 40, 2048),
}
QUICK_SHARE = 6
SETTINGS = "[receive]\nmin_free_bytes = 0\n"


@dataclass(frozen=True)
class Rate:
    """One series to one receiver in one round."""

    series: str
    receiver: str
    instances: int
    megabytes: float  # 10^6 bytes
    seconds: float


def measure(rounds: int = 5, quick: bool = False) -> list[Rate]:
    """All receivers in turn, ``rounds`` times; new instances every time. A first, unmeasured round warms them up."""
    os.environ["TCP_NODELAY"] = "1"
    with ExitStack() as stack:
        node = stack.enter_context(LungnodeProcess("--workers", "0", settings=SETTINGS))
        ports: dict[str, Callable[[], int]] = {"lungnode": lambda: node.dicom_port}
        orthanc, storescp = stack.enter_context(Orthanc()), stack.enter_context(Storescp("-pdu", "131072"))
        ports |= {"Orthanc": lambda: orthanc.dicom_port, "storescp": lambda: storescp.port}
        return rates({name: port() for name, port in ports.items()}, rounds, quick)


def rates(ports: dict[str, int], rounds: int, quick: bool = False) -> list[Rate]:
    """As ``measure``, for receivers that run already."""
    found: list[Rate] = []
    for number in range(rounds + 1):
        for series, (sop_class, count, size) in SERIES.items():
            count = count // QUICK_SHARE if quick else count
            order = list(ports) if number % 2 else list(reversed(ports))
            with tempfile.TemporaryDirectory(prefix="lungnode-bench-") as folder:
                files = write_series(Path(folder), sop_class, count, size)
                megabytes = sum(path.stat().st_size for path in files) / 1e6
                for receiver in order:
                    seconds = send(ports[receiver], Path(folder), files)
                    if number:
                        found.append(Rate(series, receiver, count, megabytes, seconds))
    return found


def send(port: int, folder: Path, files: Sequence[Path]) -> float:
    """Seconds that storescu takes for all files on one association."""
    command = [program("storescu"), "-pdu", "131072", "+sd", LOOPBACK, str(port), str(folder)]
    began = time.perf_counter()
    done = subprocess.run(command, capture_output=True, check=False, timeout=600)
    seconds = time.perf_counter() - began
    if done.returncode or b"Failed" in done.stderr or b"Refused" in done.stderr:
        raise AssertionError(f"storescu could not send {len(files)} files: {done.stderr.decode()[-500:]}")
    return seconds


def write_series(folder: Path, sop_class: str, count: int, size: int) -> list[Path]:
    """``count`` images of ``size`` x ``size`` x 16 bit, as one series of a new study."""
    pixels = np.random.default_rng(size).integers(0, 4096, (size, size), dtype=np.uint16)
    study, series = generate_uid(), generate_uid()
    files = []
    for number in range(count):
        ds = Dataset()
        ds.SOPClassUID, ds.SOPInstanceUID = sop_class, generate_uid()
        ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.InstanceNumber = study, series, number + 1
        ds.StudyDate, ds.PatientID, ds.PatientName, ds.AccessionNumber = "20240102", "BENCH", "Bench^Bench", "1"
        ds.Modality = "CT" if sop_class == CTImageStorage else "CR"
        ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PixelRepresentation = 1, "MONOCHROME2", 0
        ds.Rows = ds.Columns = size
        ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 12, 11
        ds.PixelData = pixels.tobytes()
        ds["PixelData"].VR = "OW"
        ds.file_meta = FileMetaDataset()
        ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = sop_class, ds.SOPInstanceUID
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        files.append(folder / f"{number:04d}.dcm")
        ds.save_as(files[-1], enforce_file_format=True)
    return files


def table(rates: Sequence[Rate]) -> str:
    """Markdown: the median of each receiver and the median of its ratio to Orthanc in the same round."""
    lines = ["| series | receiver | MB/s | instances/s | times Orthanc |", "|---|---|---|---|---|"]
    for series in dict.fromkeys(rate.series for rate in rates):
        for receiver in dict.fromkeys(rate.receiver for rate in rates):
            own = [rate for rate in rates if (rate.series, rate.receiver) == (series, receiver)]
            other = [rate for rate in rates if (rate.series, rate.receiver) == (series, "Orthanc")]
            ratio = [b.seconds / a.seconds for a, b in zip(own, other, strict=False)] or [float("nan")]
            speed = statistics.median(rate.megabytes / rate.seconds for rate in own)
            count = statistics.median(rate.instances / rate.seconds for rate in own)
            lines.append(f"| {series} | {receiver} | {speed:.0f} | {count:.0f} | {statistics.median(ratio):.2f} |")
    return "\n".join(lines)


def main(quick: bool = False) -> int:
    sys.stdout.write(table(measure(2 if quick else 5, quick)) + "\n")
    return 0


if __name__ == "__main__":
    if shutil.which("storescu") is None:
        sys.exit("storescu is not installed: Debian package dcmtk")
    sys.exit(main("--quick" in sys.argv[1:]))
