"""What the processes of a receiving node take of memory while large objects come in, by the kernel's own account.

VmHWM of /proc/PID/status, the peak of resident memory since it was last reset; pages of files that the process has
mapped are counted too. Short form: 300 MB, and 16 associations at once; slow form: 2 GB, and 16 times 256 MB.

Not covered: compressed objects, whose fragments are walked after receipt (tests/pipeline); the workers, which decode.
"""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian, MultiFrameGrayscaleWordSecondaryCaptureImageStorage, generate_uid
from pynetdicom.dsutils import encode

from tests.bench import replay
from tests.peers import LOOPBACK
from tests.served import LungnodeProcess

MB = 1 << 20
LARGEST_PEAK = 200 * MB  # of each process, whatever is received
LARGEST_GROWTH = 96 * MB  # 64 spare chunks of a MiB (node.incoming) and what threads take
FRAME = 2 * 512 * 512  # bytes


@pytest.fixture(scope="module")
def node() -> Iterator[LungnodeProcess]:
    settings = "[receive]\nmin_free_bytes = 0\n\n[query]\nserve = false\n"
    with LungnodeProcess("--workers", "0", settings=settings) as running:
        yield running


def test_an_object_of_300_mb(node: LungnodeProcess) -> None:
    _received_within_the_limits(node, [600])


def test_sixteen_associations_at_once(node: LungnodeProcess) -> None:
    _received_within_the_limits(node, [32] * 16)


@pytest.mark.slow
def test_an_object_of_2_gb(node: LungnodeProcess) -> None:
    _received_within_the_limits(node, [4095])


@pytest.mark.slow
def test_sixteen_large_objects_at_once(node: LungnodeProcess) -> None:
    _received_within_the_limits(node, [512] * 16)


def _received_within_the_limits(node: LungnodeProcess, frames: Sequence[int]) -> None:
    """An object for each number of frames, each on an association of its own, all at the same time."""
    messages = [_multi_frame(number) for number in frames]
    before = {process.pid: process.memory_info().rss for process in node.processes()}
    for process in before:
        _forget_peak(process)
    with ThreadPoolExecutor(len(messages)) as senders:
        sent = senders.map(lambda one: replay.send(LOOPBACK, node.dicom_port, [one], ExplicitVRLittleEndian), messages)
        assert list(sent) == [[0x0000]] * len(messages)
    peaks = {process: _peak(process) for process in before}
    for message in messages:
        _is_stored(node, message)
    assert before.keys() == {process.pid for process in node.processes()}, "a process was replaced meanwhile"
    assert max(peaks.values()) < LARGEST_PEAK, peaks
    assert max(peaks[process] - before[process] for process in peaks) < LARGEST_GROWTH, (before, peaks)


def _is_stored(node: LungnodeProcess, message: replay.Message) -> None:
    uid = message.instance.decode().strip("\0")
    (row,) = node.rows("SELECT path, sha256, bytes FROM instances WHERE sop_uid = ?", uid)
    assert (row["sha256"], row["bytes"]) == (hashlib.sha256(message.data).hexdigest(), len(message.data))
    assert (node.data / "archive" / row["path"]).stat().st_size > len(message.data)


def _multi_frame(frames: int) -> replay.Message:
    """Black frames: pages that are only read take no memory of ours."""
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = MultiFrameGrayscaleWordSecondaryCaptureImageStorage, generate_uid()
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.Modality = generate_uid(), generate_uid(), "OT"
    ds.PatientID, ds.NumberOfFrames, ds.Rows, ds.Columns = "LARGE", frames, 512, 512
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PixelRepresentation = 1, "MONOCHROME2", 0
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 12, 11
    head = encode(ds, False, True)
    assert head is not None
    head += b"\xe0\x7f\x10\x00OW\0\0" + (frames * FRAME).to_bytes(4, "little")  # PS3.5 section 7.1.2
    content = mmap.mmap(-1, len(head) + frames * FRAME, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    content[: len(head)] = head
    uids = (str(uid).encode() + bytes(len(uid) % 2) for uid in (ds.SOPClassUID, ds.SOPInstanceUID))
    return replay.Message(*uids, memoryview(content))


def _forget_peak(pid: int) -> None:
    """The peak begins anew from what is resident now (proc_pid_clear_refs(5))."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def _peak(pid: int) -> int:
    """Bytes."""
    (line,) = (line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024
