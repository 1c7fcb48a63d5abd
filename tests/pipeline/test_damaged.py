"""A study with files that cannot be read any more: what can be read is analysed and delivered, what cannot is left out
by name, and the study ends with a result, whichever file it is. A disk that cannot be read at the moment is no damage.

Files are damaged in the archive after receipt. Not covered: objects of a bucket (tests/archive/test_bucket_faults.py);
bytes that are others where nothing is decoded differently for it.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import JPEGBaseline8Bit

from node.core.errors import OutOfResources
from node.pipeline import film
from node.pipeline.catalogue import Catalogue, Query
from node.pipeline.query_keys import Level
from tests.films import MARKER, Film, drawn, wrap
from tests.pipeline.slices import Scan, scan
from tests.pipeline.test_deliver import TAKEN, Peer, deliver, turn
from tests.pipeline.test_superseding import Ward, wishes

PACS = "PACS@127.0.0.1:104"
FIRST, SECOND = Film(drawn(1, 128), "first", "damaged"), Film(drawn(2, 128), "second", "damaged")
OTHER = Film(drawn(3, 128), "third", "another study")
COMPRESSED = Film((drawn(1, 128) >> 4).astype(np.uint8), "first", "damaged", transfer_syntax=JPEGBaseline8Bit)
DAMAGED = "The stored file is damaged: it is not the object that was received."


def noise(content: bytes) -> bytes:
    return bytes((7 * place * place + 3) % 251 for place in range(len(content)))


def end_of(content: bytes) -> int:
    """Where the pixels begin, or a little later."""
    return content.index(b"\xe0\x7f\x10\x00") + 64


DAMAGES: dict[str, tuple[Film, Callable[[bytes], bytes], str]] = {
    "empty": (FIRST, lambda _: b"", DAMAGED),
    "zeros": (FIRST, lambda content: bytes(len(content)), DAMAGED),
    "noise": (FIRST, noise, DAMAGED),
    "cut within the meta group": (FIRST, lambda content: content[:150], DAMAGED),
    "cut within the header": (FIRST, lambda content: content[:600], DAMAGED),
    "cut within the pixels": (FIRST, lambda content: content[: len(content) // 2], "The pixel data has"),
    "noise for pixels": (
        COMPRESSED, lambda content: content[: end_of(content)] + noise(content[end_of(content) :]), "cannot be decoded",
    ),
}  # fmt: skip


@pytest.fixture
def ward(tmp_path: Path) -> Ward:
    return Ward(tmp_path)


def file_of(ward: Ward, sop_uid: str) -> Path:
    (row,) = ward.rows("SELECT path FROM instances WHERE sop_uid = :uid", uid=sop_uid)
    return ward.archive.path(str(row["path"]))


def damage(ward: Ward, sop_uid: str, how: Callable[[bytes], bytes]) -> None:
    path = file_of(ward, sop_uid)
    path.write_bytes(how(path.read_bytes()))


def left_out(ward: Ward) -> dict[object, str]:
    return {row["sop_uid"]: str(row["reason"]) for row in ward.rows("SELECT * FROM selections WHERE NOT taken")}


def ended(ward: Ward) -> str:
    """The study has a result; its outcome."""
    assert ward.rows("SELECT state FROM studies") == [{"state": "analysed"}]
    (row,) = ward.rows("SELECT outcome FROM analyses WHERE NOT superseded")
    return str(row["outcome"])


def report(ward: Ward) -> Dataset:
    (row,) = ward.rows("SELECT path FROM outputs WHERE kind = 'sr'")
    return dcmread(ward.archive.path(str(row["path"])))


def lateral() -> Dataset:
    """No rule of selection takes it."""
    ds = wrap(SECOND)
    ds.ViewPosition = "LL"
    del ds.ViewCodeSequence
    return ds


@pytest.mark.parametrize("name", DAMAGES)
def test_the_other_film_is_analysed_and_its_results_are_delivered(ward: Ward, name: str) -> None:
    """Though it was the damaged one that arrived first."""
    first, how, sentence = DAMAGES[name]
    ward.receive(first)
    ward.receive(SECOND)
    damage(ward, first.sop_instance_uid, how)
    ward.analyse(ward.closed(), wishes(PACS))
    assert ended(ward) == "analysed"
    assert list(left_out(ward)) == [first.sop_instance_uid] and sentence in left_out(ward)[first.sop_instance_uid]
    peer = Peer(TAKEN)
    turn(deliver(ward, peer))
    assert len(peer.got) == len(ward.rows("SELECT * FROM deliveries")) > 0


@pytest.mark.parametrize("name", DAMAGES)
def test_a_film_that_no_rule_takes_says_whose_the_study_is(ward: Ward, name: str) -> None:
    first, how, sentence = DAMAGES[name]
    ward.receive(first)
    ward.take(lateral())
    damage(ward, first.sop_instance_uid, how)
    ward.analyse(ward.closed(), wishes(PACS))
    assert ended(ward) == "refused" and sentence in left_out(ward)[first.sop_instance_uid]
    assert report(ward).PatientName == wrap(SECOND).PatientName


@pytest.mark.parametrize("name", DAMAGES)
def test_where_nothing_can_be_read_a_report_says_so(ward: Ward, name: str) -> None:
    """Of the patient as whom it was received. It is held: there is no source to compare it with."""
    first, how, sentence = DAMAGES[name]
    ward.receive(first)
    damage(ward, first.sop_instance_uid, how)
    ward.analyse(ward.closed(), wishes(PACS))
    assert ended(ward) == "refused" and sentence in left_out(ward)[first.sop_instance_uid]
    found = report(ward)
    assert (found.PatientID, found.IssuerOfPatientID) == (MARKER.patient_id, MARKER.issuer)
    assert found.StudyInstanceUID == first.study_uid and found.AccessionNumber == wrap(first).AccessionNumber
    assert sentence in " ".join(str(one.value) for one in found.iterall() if one.keyword == "TextValue")
    peer = Peer(TAKEN)
    turn(deliver(ward, peer))
    is_held = sentence == DAMAGED
    assert bool(peer.got) is not is_held and ("is held" in ward.events()) is is_held


def test_a_file_that_is_gone_is_left_out(ward: Ward) -> None:
    ward.receive(FIRST)
    file_of(ward, FIRST.sop_instance_uid).unlink()
    ward.analyse(ward.closed(), wishes(PACS))
    assert ended(ward) == "refused" and "is gone" in left_out(ward)[FIRST.sop_instance_uid]


def test_a_scan_is_analysed_without_the_slice_at_its_end(ward: Ward) -> None:
    slices = scan(Scan())
    for ds in slices:
        ward.take(ds)
    damage(ward, slices[0].SOPInstanceUID, noise)
    ward.analyse(ward.closed(), wishes(PACS))
    assert ended(ward) == "analysed" and left_out(ward) == {slices[0].SOPInstanceUID: DAMAGED}


def bad_block(file: Path) -> None:
    """Reading it gives EIO."""
    file.unlink()
    file.symlink_to("/proc/self/mem")


def failing(number: int) -> Callable[..., Dataset]:
    def fails(*_: object, **__: object) -> Dataset:
        raise OSError(number, os.strerror(number))

    return fails


@pytest.mark.parametrize("number", [errno.ESTALE, errno.ETIMEDOUT])
def test_a_disk_that_cannot_be_read_now_is_waited_for(ward: Ward, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    ward.receive(FIRST)
    job = ward.closed()
    with monkeypatch.context() as patch:
        patch.setattr(film, "dcmread", failing(number))
        with pytest.raises(OutOfResources, match=os.strerror(number)):
            ward.analyse(job, wishes(PACS))
    ward.analyse(job, wishes(PACS))
    assert ended(ward) == "analysed"


def test_a_bad_block_costs_no_other_image(ward: Ward) -> None:
    ward.receive(FIRST)
    ward.receive(SECOND)
    bad_block(file_of(ward, FIRST.sop_instance_uid))
    ward.analyse(ward.closed(), wishes(PACS))
    assert ended(ward) == "analysed"
    assert os.strerror(errno.EIO) in left_out(ward)[FIRST.sop_instance_uid]


def test_a_query_does_not_forget_for_good_what_cannot_be_read_now(ward: Ward) -> None:
    ward.receive(FIRST)
    ward.receive(OTHER)
    found, asked = Catalogue(ward.database, ward.archive), Query(Level.STUDY, {"PatientName": ""}, patient_root=False)
    file = file_of(ward, FIRST.sop_instance_uid)
    content = file.read_bytes()
    bad_block(file)
    assert sorted(str(one["PatientName"]) for one in found.find(asked)) == ["", MARKER.patient_name]
    file.unlink()
    file.write_bytes(content)
    assert [one["PatientName"] for one in found.find(asked)] == [MARKER.patient_name] * 2
    ward.receive(SECOND)
    (there := ward.archive.root).rename(away := there.with_name("elsewhere"))
    with pytest.raises(OutOfResources):
        list(found.find(asked))
    away.rename(there)
    assert len(list(found.find(asked))) == 2


def test_a_source_that_cannot_be_read_keeps_back_no_other_study(ward: Ward) -> None:
    ward.receive(FIRST)
    ward.receive(OTHER)
    ward.clock.pass_by(100)
    assert len(ward.close()) == 2
    for _ in range(2):
        ward.analyse(ward.claimed(), wishes(PACS))
    bad_block(file_of(ward, FIRST.sop_instance_uid))
    peer = Peer(TAKEN)
    turn(deliver(ward, peer))
    owed = ward.rows("SELECT state FROM deliveries")
    assert 0 < len(peer.got) == len(owed) / 2


def test_what_stands_in_for_a_damaged_source_is_of_its_patient(ward: Ward) -> None:
    """The film that is left is of another patient than the study was received as: nobody gets findings of it."""
    other = wrap(SECOND)
    other.PatientID, other.PatientName = "ANOTHER", "Other^Person"
    ward.receive(FIRST)
    ward.take(other)
    damage(ward, FIRST.sop_instance_uid, lambda content: content[:600])
    ward.analyse(ward.closed(), wishes(PACS))
    assert ended(ward) == "refused" and report(ward).PatientID == MARKER.patient_id
    assert "two different patients" in left_out(ward)[SECOND.sop_instance_uid]
    peer = Peer(TAKEN)
    turn(deliver(ward, peer))
    assert not peer.got and {row["state"] for row in ward.rows("SELECT state FROM deliveries")} == {"failed"}


def test_a_changed_patient_in_the_archive_reaches_nobody(ward: Ward) -> None:
    ward.receive(FIRST)
    patient = MARKER.patient_id.encode()
    damage(ward, FIRST.sop_instance_uid, lambda content: content.replace(patient, patient[:-1] + b"?"))
    ward.analyse(ward.closed(), wishes(PACS))
    peer = Peer(TAKEN)
    turn(deliver(ward, peer))
    assert not peer.got and {row["state"] for row in ward.rows("SELECT state FROM deliveries")} == {"failed"}


def test_the_same_image_again_takes_the_place_of_a_damaged_one(ward: Ward) -> None:
    ward.receive(FIRST)
    whole = file_of(ward, FIRST.sop_instance_uid).read_bytes()
    damage(ward, FIRST.sop_instance_uid, noise)
    ward.analyse(ward.closed(), wishes(PACS))
    assert ended(ward) == "refused"
    ward.receive(FIRST)
    assert file_of(ward, FIRST.sop_instance_uid).read_bytes() == whole
    ward.analyse(ward.claimed(), wishes(PACS))
    assert ended(ward) == "analysed"


def test_a_share_that_is_away_has_lost_no_file(ward: Ward) -> None:
    ward.receive(FIRST)
    job, there = ward.closed(), ward.archive.root
    there.rename(away := there.with_name("elsewhere"))
    with pytest.raises(OutOfResources):
        ward.analyse(job, wishes(PACS))
    away.rename(there)
    ward.analyse(job, wishes(PACS))
    assert ended(ward) == "analysed"
