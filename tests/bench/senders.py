"""Who sends: DCMTK ``storescu``, one process for each association, or ``replay``, all associations in one process.

A sending lasts from the first start to the last end. The processes of storescu take part of that time to start, the
same for every receiver; replay has read its files before its clock begins.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.peers import LOOPBACK, program

LARGEST_PDU = "131072"  # bytes; the most that DCMTK takes
LONGEST_SECONDS = 300

Sender = Callable[[int, Sequence[Sequence[Path]]], float]  # (port, a share for each association) -> seconds


def storescu(port: int, shares: Sequence[Sequence[Path]]) -> float:
    command = [program("storescu"), "-pdu", LARGEST_PDU, LOOPBACK, str(port)]
    began = time.perf_counter()
    senders = [
        subprocess.Popen([*command, *map(str, share)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        for share in shares
    ]
    heard = [sender.communicate(timeout=LONGEST_SECONDS)[1].decode(errors="replace") for sender in senders]
    seconds = time.perf_counter() - began
    for sender, text in zip(senders, heard, strict=True):
        if sender.returncode or "Failed" in text or "Refused" in text:
            raise AssertionError(f"storescu could not send: {text[-500:]}")
    return seconds


def replay(port: int, shares: Sequence[Sequence[Path]]) -> float:
    """Of the whole folder, which replay shares out as ``series.shared_out`` does."""
    folder, associations = shares[0][0].parent, len(shares)
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.replay", str(port), str(folder), "--associations", str(associations)],
        capture_output=True, text=True, timeout=LONGEST_SECONDS, check=False,
    )  # fmt: skip
    if done.returncode:
        raise AssertionError(f"replay could not send: {done.stderr[-500:]}")
    return float(done.stdout)


SENDERS: dict[str, Sender] = {"storescu": storescu, "replay": replay}
