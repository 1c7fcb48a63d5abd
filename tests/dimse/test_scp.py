"""The storage SCP over real sockets: exact bytes, repeats, refusals, broken senders, no identifying data in the logs.

Not covered: what is done with a stored instance (tests/intake), speed (tests/bench), kill -9 (tests/e2e).
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import logging
import socket
import struct
import threading
import time
import warnings
import zlib
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
from pynetdicom import AE
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import encode

from node.core import log
from node.dimse import contexts
from node.pipeline import header
from tests import peers
from tests.bad_films import three_hundred_megabytes
from tests.conftest import DATA
from tests.dimse.station import Station, as_sent, film, station
from tests.films import CR, MARKER, Film, drawn, encoded, uid, wrap
from tests.sending import Encoded, associate, store, store_encoded

DICOM = sorted((DATA / "dicom").glob("*"))
CT_IMAGES = [path for path in DICOM if path.name.startswith("CTImage.dcm")]


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Station]:
    with station(tmp_path_factory.mktemp("node")) as running:
        yield running


@pytest.mark.skipif(not DICOM, reason="the real DICOM files are not there")
@pytest.mark.parametrize("path", DICOM, ids=lambda path: path.name[:60])
def test_real_files_are_stored_byte_for_byte(path: Path, tmp_path: Path) -> None:
    try:
        instance = as_sent(path)
    except AssertionError:
        pytest.skip("the file has no meta group length")
    if instance.sop_class_uid not in contexts.STORAGE:
        pytest.skip("of a SOP class that the node does not take")
    with station(tmp_path) as node:
        assert store(node.port, [instance]) == [0x0000]
        assert node.stored(instance.sop_instance_uid) == instance.data_set


@pytest.mark.skipif(not CT_IMAGES, reason="the real DICOM files are not there")
@pytest.mark.parametrize("sender", [peers.storescu, peers.dcmsend], ids=["storescu", "dcmsend"])
def test_dcmtk_is_served(sender: object, tmp_path: Path) -> None:
    path = next(path for path in CT_IMAGES if "LittleEndianExplicit" in path.name)
    with station(tmp_path) as node:
        done = sender(node.port, [path])  # type: ignore[operator]
        assert done.code == 0, done.text
        assert len(node.rows("SELECT * FROM instances")) == 1


def test_echo(node: Station) -> None:
    ae = AE("TESTSCU")
    ae.add_requested_context(contexts.VERIFICATION)
    association = ae.associate("127.0.0.1", node.port)
    assert association.send_c_echo().Status == 0x0000
    association.release()


def test_the_same_bytes_again_are_a_success_without_effect(node: Station) -> None:
    instance = film("twice")
    assert store(node.port, [instance, instance]) == [0x0000, 0x0000]
    assert store(node.port, [instance]) == [0x0000]
    assert len(node.rows("SELECT id FROM instances WHERE sop_uid = :uid", uid=instance.sop_instance_uid)) == 1


def test_other_bytes_under_a_known_uid_are_refused_and_the_first_stay(node: Station) -> None:
    first = film("conflict")
    other = dataclasses.replace(first, data_set=first.data_set[:-2] + b"\x07\x07")
    assert store(node.port, [first, other]) == [0x0000, 0x0111]
    assert node.stored(first.sop_instance_uid) == first.data_set


def test_the_same_instance_on_eight_associations_at_once_is_stored_once(node: Station) -> None:
    instance, statuses = film("at once", 256), []
    threads = [threading.Thread(target=lambda: statuses.extend(store(node.port, [instance]))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [0x0000] * 8
    assert node.stored(instance.sop_instance_uid) == instance.data_set


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1"])
def test_a_truncated_data_set_is_refused_wherever_it_was_cut(node: Station, syntax: str) -> None:
    whole = encode(wrap(Film(drawn(1, 64), f"cut {syntax}")), syntax.endswith(".2"), True)
    assert whole is not None
    instance = dataclasses.replace(film(f"cut {syntax}"), transfer_syntax_uid=syntax)
    offsets = [0, 1, 3, 4, 7, 8, 9, *range(10, len(whole), max(1, len(whole) // 60)), len(whole) - 2, len(whole) - 1]
    with associate(node.port, [(instance.sop_class_uid, syntax)]) as association:
        for offset in offsets:
            cut = dataclasses.replace(instance, data_set=whole[:offset])
            if not cut.data_set:
                continue
            status = store_encoded(association, cut)
            # a cut exactly between two elements before the pixel data is refused for what is missing, or is a whole
            # data set of its own; anywhere else it never gets success
            assert status in (0xC000, 0xA900), offset
        assert store_encoded(association, dataclasses.replace(instance, data_set=whole)) == 0x0000
    assert node.stored(instance.sop_instance_uid) == whole


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID"])
@pytest.mark.parametrize("value", [None, "", "../../../etc/passwd", "1.2.x", "1" * 65, "1..2", "a\0b"])
def test_a_uid_that_is_none_is_refused(node: Station, keyword: str, value: str | None) -> None:
    before = len(node.files())
    ds = wrap(Film(drawn(1, 16), f"{keyword} {value}"))
    if value is None:
        del ds[keyword]
    else:
        ds[keyword].value = value
    meta = ds.file_meta
    content = encode(ds, False, True)
    assert content is not None
    bad = Encoded(meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID, meta.TransferSyntaxUID, content)
    (status,) = store(node.port, [bad])
    assert status in (0xC000, 0xA900)
    assert len(node.files()) == before


def test_a_data_set_that_is_not_what_the_command_says_is_refused(node: Station) -> None:
    instance = film("not as said")
    other_uid = dataclasses.replace(instance, sop_instance_uid=uid("instance", "somebody else"))
    other_class = dataclasses.replace(instance, sop_class_uid=CR)
    assert store(node.port, [other_uid, other_class]) == [0xA900, 0xA900]


def test_no_patient_id_is_an_empty_one(node: Station) -> None:
    ds = wrap(Film(drawn(1, 16), "nobody"))
    del ds.PatientID
    assert store(node.port, [encoded(ds)]) == [0x0000]


def test_three_hundred_megabytes(tmp_path: Path) -> None:
    (instance,) = three_hundred_megabytes().instances
    with station(tmp_path) as node:
        assert store(node.port, [instance, film("after the big one")]) == [0x0000, 0x0000]
        assert node.stored(instance.sop_instance_uid) == instance.data_set


def test_over_the_limit_is_refused_and_the_next_is_served(tmp_path: Path) -> None:
    with station(tmp_path, max_instance_bytes=100_000) as node:
        assert store(node.port, [film("over", 512), film("under", 64)]) == [0xC000, 0x0000]
        assert len(node.files()) == 1


def test_without_room_the_answer_is_out_of_resources(tmp_path: Path) -> None:
    with station(tmp_path, min_free_bytes=2**60) as node:
        assert store(node.port, [film("no room")]) == [0xA700]
        assert node.files() == []
        assert [status for status, _ in node.refusals()] == [0xA700]
        node.archive.min_free_bytes = 0
        assert store(node.port, [film("no room")]) == [0x0000]


def test_an_abort_in_the_middle_of_an_object_leaves_nothing(node: Station) -> None:
    before, instance = len(node.files()), film("aborted", 1024)
    for share in (0.0, 0.3, 0.9):
        with associate(node.port, [(instance.sop_class_uid, instance.transfer_syntax_uid)]) as association:
            assert _begin(association, instance, share) > 0
            association.abort()
    peers.wait_until(lambda: len(node.files()) == before, 10, "what came is discarded")
    assert node.stored(instance.sop_instance_uid) is None
    assert store(node.port, [instance]) == [0x0000]
    assert node.stored(instance.sop_instance_uid) == instance.data_set


def test_a_connection_that_is_cut_in_the_middle_of_an_object_leaves_nothing(node: Station) -> None:
    before, instance = len(node.files()), film("cut off", 1024)
    with associate(node.port, [(instance.sop_class_uid, instance.transfer_syntax_uid)]) as association:
        _begin(association, instance, 0.5)
        association.dul.socket.socket.shutdown(socket.SHUT_RDWR)
    peers.wait_until(lambda: len(node.files()) == before, 10, "what came is discarded")
    assert store(node.port, [film("right after the cut")]) == [0x0000]


def test_noise_on_the_port_does_not_hurt(node: Station) -> None:
    endless = b"\x04\0" + struct.pack(">I", 2**32 - 1)
    for content in (b"", b"GET / HTTP/1.1\r\n\r\n", b"\x01\x00" + b"\xff" * 20, endless):
        with socket.create_connection(("127.0.0.1", node.port)) as noise:
            noise.sendall(content)
    assert store(node.port, [film("after the noise")]) == [0x0000]


@pytest.mark.parametrize(
    "receive, calling, called, accepted",
    [
        ({"calling_aets": ("GOOD",)}, "GOOD", "LUNGNODE", True),
        ({"calling_aets": ("GOOD",)}, "BAD", "LUNGNODE", False),
        ({"require_called_aet": True}, "ANY", "LUNGNODE", True),
        ({"require_called_aet": True}, "ANY", "OTHER", False),
        ({}, "ANY", "OTHER", True),
    ],
)
def test_who_may_associate(
    tmp_path: Path, receive: dict[str, object], calling: str, called: str, accepted: bool
) -> None:
    with station(tmp_path, **receive) as node:
        ae = AE(calling)
        ae.add_requested_context(contexts.VERIFICATION)
        association = ae.associate("127.0.0.1", node.port, ae_title=called)
        assert association.is_established is accepted
        association.release()


def test_one_association_too_many_is_rejected_and_later_taken(tmp_path: Path) -> None:
    instance = film("many")
    kind = [(instance.sop_class_uid, instance.transfer_syntax_uid)]
    with station(tmp_path, max_associations=2) as node:
        with (
            associate(node.port, kind),
            associate(node.port, kind),
            pytest.raises(ConnectionError),
            associate(node.port, kind),
        ):
            pass
        peers.wait_until(lambda: _taken(node, instance), 10, "an association is free again")


def _taken(node: Station, instance: Encoded) -> bool:
    with contextlib.suppress(ConnectionError):
        return store(node.port, [instance]) == [0x0000]
    return False


def test_the_study_is_open_while_its_association_is(node: Station) -> None:
    instance = film("open study")
    with associate(node.port, [(instance.sop_class_uid, instance.transfer_syntax_uid)]) as association:
        assert store_encoded(association, instance) == 0x0000
        assert node.board.open_studies() >= {uid("study", "open study")}
    peers.wait_until(lambda: uid("study", "open study") not in node.board.open_studies(), 10, "the study is closed")


def test_stop_lets_a_sender_finish(tmp_path: Path) -> None:
    instance = film("draining")
    with station(tmp_path) as node:
        with associate(node.port, [(instance.sop_class_uid, instance.transfer_syntax_uid)]) as association:
            stopping = threading.Thread(target=node.receiver.stop, args=(20,))
            stopping.start()
            time.sleep(0.3)
            assert store_encoded(association, instance) == 0x0000
            with pytest.raises(ConnectionError):
                store(node.port, [instance])
        stopping.join(10)
        assert not stopping.is_alive()


def test_no_identifying_value_is_logged_or_kept_as_a_reason(tmp_path: Path) -> None:
    stream = io.StringIO()
    before = logging.getLogger().handlers[:]
    try:
        log.start("debug", stream)
        with station(tmp_path) as node:
            good = film("marked", view="PA")
            bad = dataclasses.replace(good, data_set=good.data_set[: len(good.data_set) // 2])
            lying = dataclasses.replace(good, sop_instance_uid=uid("instance", "lying"))
            other = dataclasses.replace(good, data_set=good.data_set[:-2] + b"\1\2")
            assert store(node.port, [good, good, bad, lying, other]) == [0, 0, 0xC000, 0xA900, 0x0111]
            reasons = " ".join(reason for _, reason in node.refusals())
    finally:
        logging.getLogger().handlers[:] = before
    logged = stream.getvalue()
    assert "instance.stored" in logged and "instance.refused" in logged
    assert [word for word in MARKER.words() if word in logged + reasons] == []
    assert '"association": ""' not in logged


def _begin(association: object, instance: Encoded, share: float) -> int:
    """Send the command and the first part of the data set; the bytes of data sent."""
    request = C_STORE()
    request.MessageID, request.Priority = 1, 2
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = instance.sop_class_uid, instance.sop_instance_uid
    request.DataSet = BytesIO(instance.data_set)
    message = C_STORE_RQ()
    message.primitive_to_message(request)
    sent, most = 0, max(16000, int(len(instance.data_set) * share))
    for pdata in message.encode_msg(association.accepted_contexts[0].context_id, 16382):  # type: ignore[attr-defined]
        association.dul.send_pdu(pdata)  # type: ignore[attr-defined]
        sent += 16000
        if sent > most:
            break
    time.sleep(0.2)
    return sent


def test_a_name_in_the_command_is_not_repeated(tmp_path: Path) -> None:
    """The SOP Instance UID of a C-STORE command is whatever the peer writes there."""
    stream = io.StringIO()
    before = logging.getLogger().handlers[:]
    broken = dataclasses.replace(film("named"), sop_instance_uid=MARKER.patient_name)
    try:
        log.start("info", stream)
        with station(tmp_path) as node, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert store(node.port, [broken]) == [0xA900]
            (row,) = node.rows("SELECT sop_uid FROM refusals")
    finally:
        logging.getLogger().handlers[:] = before
    assert row["sop_uid"] == "not a UID"
    assert MARKER.patient_name.split("^")[0] not in stream.getvalue()


def test_what_inflates_without_end_is_refused_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(header, "LARGEST_INFLATED", 1_000_000)
    plain = film("bomb", 1024)
    deflater = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    small = deflater.compress(plain.data_set) + deflater.flush()
    bomb = dataclasses.replace(plain, data_set=small, transfer_syntax_uid=header.DEFLATED)
    with station(tmp_path) as node:
        assert store(node.port, [bomb]) == [0xC000]
        assert "larger than the limit once inflated" in node.refusals()[0][1]
        assert len(node.files()) == 0
