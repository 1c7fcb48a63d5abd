"""Data sets that a receiver has to take and that are meant for the worker: each gets a report, none ends it.

Compressed pixels that lie of their size or place, sequences ten thousand deep, half a million elements. The
worker's process stays the same one and its memory within ``LARGEST_GROWTH``. Not covered: a stream that a decoder
crashes on, which ends the same way as a killed worker (tests/faults, tests/pipeline/test_trial).
"""

from __future__ import annotations

import dataclasses
import struct

import psutil
import pytest

from tests.e2e.conftest import assert_no_marker
from tests.e2e.reading import SR, of_class
from tests.film.hostile_pixels import liars
from tests.films import Film, drawn, encoded, wrap
from tests.peers import Orthanc
from tests.sending import Encoded, store
from tests.served import LungnodeProcess

LARGEST_GROWTH = 1 << 30  # bytes; the activations of the models for the films that are good after all included
NOT_WHOLE, TOO_MANY = "a fragment that is longer than the rest", "half a million elements"  # seen at receipt
HEAD = b"\1\x30\1\x10"  # (3001,1001), a private sequence
PIXEL_DATA = b"\xe0\x7f\x10\0"


def _nested(depth: int) -> bytes:
    """Sequences of one item each, with lengths: nothing has to walk into them."""
    content = b""
    for _ in range(depth):
        item = b"\xfe\xff\0\xe0" + struct.pack("<I", len(content)) + content
        content = HEAD + b"SQ\0\0" + struct.pack("<I", len(item)) + item
    return content


def _elements(count: int) -> bytes:
    """Empty private elements in ascending order."""
    tags = ((0x3001 + 2 * (number >> 15), 0x1000 + (number & 0x7FFF)) for number in range(count))
    return b"".join(struct.pack("<HH2sH", group, element, b"LO", 0) for group, element in tags)


def _creators(count: int) -> bytes:
    """A group full of private creators, each for a block of its own. PS3.5 section 7.8.1."""
    return b"".join(struct.pack("<HH2sH", 0x3001, 0x10 + number, b"LO", 4) + b"FUZZ" for number in range(count))


def _with(seed: str, more: bytes) -> tuple[str, Encoded]:
    """A film of a knee, which no model has to look at, with ``more`` before its pixel data."""
    knee = Film(drawn(3, 64), seed, body_part="KNEE")
    film = encoded(wrap(knee))
    before, after = film.data_set.split(PIXEL_DATA, 1)
    return knee.study_uid, dataclasses.replace(film, data_set=before + more + PIXEL_DATA + after)


@pytest.fixture(scope="module")
def studies(node: LungnodeProcess) -> dict[str, str]:
    """Study UIDs by what is wrong; all are settled, and what the worker was before and after is compared."""
    sent = {name: (str(ds.StudyInstanceUID), encoded(ds)) for name, ds in liars().items()}
    sent["twenty thousand elements"] = _with("hostile elements", _elements(19_900))
    sent[TOO_MANY] = _with("hostile half a million", _elements(500_000))
    sent["private creators"] = _with("hostile creators", _creators(0xF0))
    sent["sequences ten thousand deep"] = _with("hostile depth", _nested(10_000))
    workers = _workers(node)
    memory = max(worker.memory_info().rss for worker in workers)
    statuses = dict(zip(sent, store(node.dicom_port, [instance for _, instance in sent.values()]), strict=True))
    assert {name for name, status in statuses.items() if status != 0x0000} == {NOT_WHOLE, TOO_MANY}
    uids = {name: study for name, (study, _) in sent.items() if statuses[name] == 0x0000}
    node.wait_settled(list(uids.values()), 240)
    assert _workers(node) == workers, "a worker ended"
    assert max(worker.memory_info().rss for worker in workers) - memory < LARGEST_GROWTH
    return uids


def _workers(node: LungnodeProcess) -> list[psutil.Process]:
    return [process for process in node.processes() if "worker" in process.cmdline()]


def test_each_gets_one_report(node: LungnodeProcess, orthanc: Orthanc, studies: dict[str, str]) -> None:
    reports = {name: len(of_class(orthanc.datasets(study), SR)) for name, study in studies.items()}
    assert reports == dict.fromkeys(studies, 1)


def test_what_is_too_large_is_refused_in_words(node: LungnodeProcess, studies: dict[str, str]) -> None:
    for name, study in studies.items():
        if "000 x" in name or "65535" in name:
            assert "the header says 128 x 128 pixels" in node.status(study), name


def test_nothing_crashed_and_nobody_is_named(node: LungnodeProcess, studies: dict[str, str]) -> None:
    assert [line["traceback"] for line in node.events() if "traceback" in line] == []
    assert_no_marker(node.logged(), "the logs")


def test_a_good_film_is_served_after_them(node: LungnodeProcess, orthanc: Orthanc, studies: dict[str, str]) -> None:
    good = wrap(Film(drawn(4, 256), "good after the hostile ones"))
    assert store(node.dicom_port, [encoded(good)]) == [0x0000]
    node.wait_settled([str(good.StudyInstanceUID)], 120)
    assert of_class(orthanc.datasets(str(good.StudyInstanceUID)), SR)
