"""DICOM over TLS with DCMTK and Orthanc at either end: who gets in, what is stored, found and fetched, which versions
and ciphers, renewal.

Not covered: revocation lists (there are none), and C-MOVE over TLS beyond the arguments that it shares with C-STORE.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from pynetdicom import AE
from pynetdicom.association import Association

from node.core import settings
from node.core.errors import Misconfigured, PeerAway
from node.core.security import Tls, check_tls
from node.dimse import pull, streaming
from node.dimse.associating import Peer, Questions
from node.dimse.scu import send
from node.dimse.tls import Certificates
from tests import peers
from tests.dimse.asking import findscu
from tests.dimse.certificates import Authority, Pair
from tests.dimse.station import Station, as_sent, film, station
from tests.films import MARKER, Film, drawn, wrap, write
from tests.peers import LOOPBACK, Orthanc
from tests.sending import Encoded, store, store_encoded


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("stranger"), "stranger")


@pytest.fixture(scope="module")
def sender(authority: Authority) -> Pair:
    return authority.sign("sender")


@pytest.fixture(scope="module", params=["quick", "ordinary"])
def node(
    request: pytest.FixtureRequest, authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Station]:
    """The same station by both ways of receiving."""
    with contextlib.ExitStack() as stack:
        with pytest.MonkeyPatch.context() as patch:
            if request.param == "ordinary":
                patch.setattr(streaming, "usable", lambda: False)
            tls = authority.tls(authority.sign(request.param))
            running = stack.enter_context(station(tmp_path_factory.mktemp(request.param), tls=tls))
        yield running


def _port(node: Station) -> int:
    return node.receiver.ports["dicom_tls"]


def _flags(pair: Pair, authority: Authority) -> list[str]:
    return ["+tls", str(pair.key), str(pair.certificate), "+cf", authority.file]


def _film(folder: Path, seed: str, size: int = 512) -> tuple[Path, Encoded]:
    path = write(wrap(Film(drawn(1, size), seed)), folder)
    return path, as_sent(path)


def _context(authority: Authority, pair: Pair | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=authority.file)
    if pair is not None:
        context.load_cert_chain(pair.certificate, pair.key)
    return context


@contextlib.contextmanager
def _associated(port: int, context: ssl.SSLContext, instance: Encoded) -> Iterator[Association]:
    ae = AE("TESTSCU")
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 30
    ae.add_requested_context(instance.sop_class_uid, instance.transfer_syntax_uid)
    association = ae.associate(LOOPBACK, port, ae_title="LUNGNODE", tls_args=(context, LOOPBACK))
    association.dimse = Questions(association)
    try:
        yield association
    finally:
        if association.is_established:
            association.release()


def test_dcmtk_stores_the_same_bytes_as_without(
    node: Station, authority: Authority, sender: Pair, tmp_path: Path
) -> None:
    sent = [_film(tmp_path, f"by DCMTK {number} to {node.port}") for number in range(5)]
    ran = peers.storescu(_port(node), [path for path, _ in sent], *_flags(sender, authority))
    assert ran.code == 0, ran.text
    for _, instance in sent:
        assert node.stored(instance.sop_instance_uid) == instance.data_set


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("size", [16, 1500])
def test_either_version_stores_objects_of_any_size(
    node: Station, authority: Authority, sender: Pair, version: ssl.TLSVersion, size: int
) -> None:
    """1500 squared is several PDUs, each of many TLS records."""
    context = _context(authority, sender)
    context.minimum_version = context.maximum_version = version
    instances = [film(f"{version.name} {size} {number} {node.port}", size) for number in range(3)]
    with _associated(_port(node), context, instances[0]) as association:
        assert [store_encoded(association, instance) for instance in instances] == [0x0000] * 3
        assert association.dul.socket.socket.version() == version.name.replace("_", ".")
    assert [node.stored(one.sop_instance_uid) for one in instances] == [one.data_set for one in instances]


def test_the_quick_way_is_taken_over_tls_too(
    authority: Authority, sender: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served: list[bool] = []
    serve = streaming.StreamingProvider._serve_store

    def counted(*arguments: object) -> bool:
        served.append(serve(*arguments))  # type: ignore[arg-type]
        return served[-1]

    monkeypatch.setattr(streaming.StreamingProvider, "_serve_store", counted)
    instances = [film(f"quickly {number}", 300) for number in range(4)]
    with (
        station(tmp_path, tls=authority.tls(authority.sign("quickly"))) as node,
        _associated(_port(node), _context(authority, sender), instances[0]) as association,
    ):
        assert [store_encoded(association, instance) for instance in instances] == [0x0000] * 4
    assert served.count(True) == 4


@pytest.mark.parametrize("shown", ["none", "of a stranger"])
def test_who_shows_no_certificate_that_is_trusted_gets_no_association(
    node: Station, authority: Authority, stranger: Authority, shown: str
) -> None:
    pair = None if shown == "none" else stranger.sign("intruder")
    with _associated(_port(node), _context(authority, pair), film("intruder")) as association:
        assert not association.is_established


def test_without_mutual_authentication_anybody_who_trusts_us_gets_in(authority: Authority, tmp_path: Path) -> None:
    tls = authority.tls(authority.sign("one-sided"), require_peer_certificate=False, authorities="")
    instance = film("anybody")
    with (
        station(tmp_path, tls=tls) as node,
        _associated(_port(node), _context(authority, None), instance) as association,
    ):
        assert store_encoded(association, instance) == 0x0000


@pytest.mark.parametrize("offer", ["TLS 1.1", "no ephemeral key", "no authenticated encryption"])
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_what_the_profile_forbids_is_not_spoken(node: Station, authority: Authority, sender: Pair, offer: str) -> None:
    context = _context(authority, sender)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    if offer == "TLS 1.1":
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    else:
        context.set_ciphers("kRSA+AES" if offer == "no ephemeral key" else "ECDHE+AES:!AESGCM:!AESCCM")
    with (
        socket.create_connection((LOOPBACK, _port(node)), 20) as plain,
        pytest.raises(ssl.SSLError, match=r"(?i)alert"),
    ):
        context.wrap_socket(plain, server_hostname=LOOPBACK)


def test_a_plain_sender_at_the_tls_port_gets_nothing_and_hurts_nobody(
    node: Station, authority: Authority, sender: Pair
) -> None:
    instance = film(f"after a plain one {node.port}")
    with pytest.raises(ConnectionError):
        store(_port(node), [instance])
    with _associated(_port(node), _context(authority, sender), instance) as association:
        assert store_encoded(association, instance) == 0x0000


def test_silence_in_the_handshake_holds_up_nobody(authority: Authority, sender: Pair, tmp_path: Path) -> None:
    instance = film("beside the silent")
    with (
        contextlib.ExitStack() as stack,
        station(tmp_path, tls=authority.tls(authority.sign("silence")), acse_timeout_seconds=1) as node,
    ):
        silent = [stack.enter_context(socket.create_connection((LOOPBACK, _port(node)), 20)) for _ in range(20)]
        with _associated(_port(node), _context(authority, sender), instance) as association:
            assert store_encoded(association, instance) == 0x0000
        assert [connection.recv(1) for connection in silent] == [b""] * 20, "each is closed after the time-out"


def test_a_renewed_certificate_is_shown_and_the_old_associations_go_on(
    authority: Authority, sender: Pair, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """First the certificate alone is replaced, as a renewal in its midst: what was stays in use, then both."""
    caplog.set_level(logging.INFO, "node")
    pair = authority.sign("renewed")
    context, one, two = _context(authority, sender), film("before"), film("after")
    with (
        station(tmp_path, tls=authority.tls(pair)) as node,
        _associated(_port(node), context, one) as association,
    ):
        first = _serial(_port(node), context)
        key = pair.key.read_bytes()
        authority.sign("renewed")
        renewed_key = pair.key.read_bytes()
        pair.key.write_bytes(key)
        assert _serial(_port(node), context) == first
        assert any(record.getMessage() == "tls.not_renewed" for record in caplog.records)
        pair.key.write_bytes(renewed_key)
        assert _serial(_port(node), context) != first
        assert store_encoded(association, one) == 0x0000
        with _associated(_port(node), context, two) as later:
            assert store_encoded(later, two) == 0x0000


def _serial(port: int, context: ssl.SSLContext) -> object:
    with (
        socket.create_connection((LOOPBACK, port), 20) as plain,
        context.wrap_socket(plain, server_hostname=LOOPBACK) as secured,
    ):
        return secured.getpeercert()["serialNumber"]  # type: ignore[index]


def test_results_go_to_dcmtk_over_tls(authority: Authority, tmp_path: Path) -> None:
    path, instance = _film(tmp_path, "to storescp", 200)
    ours = Certificates(authority.tls(authority.sign("ours")))
    with peers.Storescp(*_flags(authority.sign("archive"), authority)) as archive:
        peer = Peer(LOOPBACK, archive.port, archive.aet, "LUNGNODE", certificates=ours)
        (sent,) = send(peer, [path])
        assert sent.delivered, sent
        (received,) = archive.files()
        assert as_sent(received).data_set == instance.data_set


def test_what_is_stored_is_found_and_fetched_with_mutual_authentication(
    node: Station, authority: Authority, stranger: Authority, sender: Pair, tmp_path: Path
) -> None:
    """By DCMTK's findscu, and by another node's C-GET (DCMTK 3.6.7 has none over TLS); a stranger learns nothing."""
    wanted = Film(drawn(1, 64), f"asked for over TLS at {node.port}")
    instance, flags = as_sent(write(wrap(wanted), tmp_path)), _flags(sender, authority)
    assert store(node.port, [instance]) == [0x0000]
    keys = {"StudyInstanceUID": wanted.study_uid, "QueryRetrieveLevel": "STUDY"}
    (found,) = findscu(_port(node), tmp_path / "found", "-S", *flags, **keys, PatientID="")
    assert found.PatientID == MARKER.patient_id
    with station(tmp_path / "other") as other:

        def fetched(pair: Pair) -> int:
            peer = Peer(LOOPBACK, _port(node), "LUNGNODE", "OTHER", certificates=Certificates(authority.tls(pair)))
            listed = pull.list_objects(peer, wanted.study_uid)
            return pull.get(peer, wanted.study_uid, listed, other.intake, lambda: None).status

        with pytest.raises(PeerAway):
            fetched(stranger.sign("intruder"))
        assert other.rows("SELECT * FROM instances") == []
        assert fetched(sender) == 0x0000
        assert other.stored(instance.sop_instance_uid) == instance.data_set


def test_the_node_pulls_from_orthanc_over_tls(authority: Authority, stranger: Authority, tmp_path: Path) -> None:
    theirs = authority.sign("orthanc")
    secured = {
        "DicomAlwaysAllowFind": True,
        "DicomAlwaysAllowGet": True,
        "DicomTlsEnabled": True,
        "DicomTlsCertificate": str(theirs.certificate),
        "DicomTlsPrivateKey": str(theirs.key),
        "DicomTlsTrustedCertificates": authority.file,
    }
    wanted = Film(drawn(1, 64), "pulled over TLS")
    path = write(wrap(wanted), tmp_path)
    instance, study = as_sent(path), wanted.study_uid
    with Orthanc(configuration=secured) as orthanc, station(tmp_path / "node") as node:

        def with_certificate(pair: Pair) -> Peer:
            ours = Certificates(authority.tls(pair))
            return Peer(LOOPBACK, orthanc.dicom_port, orthanc.aet, "LUNGNODE", certificates=ours)

        def pulled(peer: Peer) -> list[str]:
            listed = pull.list_objects(peer, study)
            assert pull.get(peer, study, listed, node.intake, lambda: None).status == 0x0000
            return [one.sop_instance_uid for one in listed]

        ours = with_certificate(authority.sign("puller"))
        assert [sent.delivered for sent in send(ours, [path])] == [True]
        with pytest.raises(PeerAway):
            pulled(with_certificate(stranger.sign("not ours")))
        assert node.rows("SELECT * FROM instances") == []
        assert pulled(ours) == [instance.sop_instance_uid]
        assert node.stored(instance.sop_instance_uid) == instance.data_set


@pytest.mark.parametrize("fault", ["it is a stranger's", "we are strangers", "it names another host"])
def test_nothing_is_sent_to_a_peer_that_is_not_the_one(
    authority: Authority, stranger: Authority, tmp_path: Path, fault: str
) -> None:
    path, _ = _film(tmp_path, f"never sent {fault}", 64)
    theirs = (stranger if fault == "it is a stranger's" else authority).sign("archive2")
    ours = (stranger if fault == "we are strangers" else authority).sign("ours2")
    certificates = Certificates(authority.tls(ours))
    host = "localhost" if fault == "it names another host" else LOOPBACK  # the certificate names 127.0.0.1
    with peers.Storescp(*_flags(theirs, authority)) as archive:
        (sent,) = send(Peer(host, archive.port, archive.aet, "LUNGNODE", certificates=certificates), [path])
        assert not sent.delivered and sent.status is None
        assert archive.files() == []
    if fault == "it names another host":
        relaxed = Certificates(authority.tls(ours, check_host_name=False))
        with peers.Storescp(*_flags(theirs, authority)) as archive:
            (sent,) = send(Peer(host, archive.port, archive.aet, "LUNGNODE", certificates=relaxed), [path])
            assert sent.delivered


def test_only_tls_opens_no_plain_port(authority: Authority, sender: Pair, tmp_path: Path) -> None:
    with station(tmp_path, tls=authority.tls(authority.sign("only"), only=True)) as node:
        assert list(node.receiver.ports) == ["dicom_tls"]
        with _associated(node.port, _context(authority, sender), film("only")) as association:
            assert association.is_established


def test_settings_that_cannot_work_are_refused(authority: Authority, stranger: Authority, tmp_path: Path) -> None:
    good = authority.tls(authority.sign("good"))
    for wrong in ({"key": ""}, {"certificate": "", "key": "", "only": True}, {"authorities": ""}, {"port": 65536}):
        with pytest.raises(Misconfigured):
            check_tls(dataclasses.replace(good, **wrong))  # type: ignore[arg-type]
    (tmp_path / "empty.pem").write_text("")
    for wrong in (
        {"certificate": str(tmp_path / "nowhere.pem")},
        {"authorities": str(tmp_path / "empty.pem")},
        {"key": str(stranger.own.key)},
    ):
        with pytest.raises(Misconfigured, match=r"\[tls\]"):
            Certificates(dataclasses.replace(good, **wrong))


def test_by_default_there_is_no_tls() -> None:
    tls: Tls = settings.load().tls
    assert not tls.certificate and not tls.destinations
