"""C-MOVE and C-GET of a node: DCMTK and pynetdicom fetch; what arrives is what was stored, counts and statuses hold.

Not covered: results among what is fetched (tests/e2e/test_pull.py); C-MOVE over TLS; objects of big endian for peers
that take little endian alone, which fail and are listed as failed.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLSLossless,
    RLELossless,
)
from pynetdicom import AE, build_role, evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import decode
from pynetdicom.dul import DULServiceProvider
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    PatientRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
)

from node.dimse import contexts, suboperations
from node.dimse.suboperations import WAITING_PDUS
from tests.dimse.asking import getscu, identifier, movescu
from tests.dimse.station import Station, as_sent, data_set_of, film, station
from tests.films import DX, Film, drawn, encoded, uid, wrap
from tests.peers import LOOPBACK, Storescp, free_port
from tests.sending import Encoded, store

GET, MOVE = str(StudyRootQueryRetrieveInformationModelGet), str(StudyRootQueryRetrieveInformationModelMove)
PATIENT_GET = str(PatientRootQueryRetrieveInformationModelGet)
STUDY, OTHER = uid("study", "mixed"), uid("study", "other")
SYNTAXES = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGLSLossless, RLELossless, ExplicitVRBigEndian)
MIXED = [film(f"mixed {syntax}", study="mixed", transfer_syntax=syntax) for syntax in SYNTAXES]


@pytest.fixture(scope="module")
def taker() -> Iterator[Storescp]:
    with Storescp(aet="TAKER") as running:
        yield running


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory, taker: Storescp) -> Iterator[Station]:
    """One study of a film in each transfer syntax, and another of one film."""
    move_to = [taker.address, f"AWAY@{LOOPBACK}:{free_port()}"]
    with station(tmp_path_factory.mktemp("retrieve"), move_to=move_to) as running:
        assert store(running.port, [*MIXED, film("other")]) == [0] * 6
        yield running


@dataclass
class Fetched:
    """statuses of the responses; counts of the last: completed, failed, warning, remaining."""

    statuses: list[int] = field(default_factory=list)
    counts: list[tuple[int, int, int, int | None]] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    comment: str = ""
    came: list[Encoded] = field(default_factory=list)


def by_get(
    port: int,
    keys: Dataset,
    syntaxes: list[str],
    answers: list[int] | None = None,
    model: str = GET,
    stop: int = 0,
    twice: bool = False,
) -> Fetched:
    """C-GET; the C-STOREs are answered by ``answers``, then by success. stop: cancel after so many objects. twice: each
    answer comes twice."""
    found, script = Fetched(), list(answers or [])
    ae = AE("GETTER")
    ae.add_requested_context(model)
    for syntax in syntaxes:
        ae.add_requested_context(DX, syntax)

    def take(event: evt.Event) -> int:
        request: Any = event.request
        content = request.DataSet.getvalue()
        found.came.append(
            Encoded(str(request.AffectedSOPClassUID), str(request.AffectedSOPInstanceUID),
                    str(event.context.transfer_syntax), content)
        )  # fmt: skip
        if len(found.came) == stop:
            event.assoc.send_c_cancel(1, query_model=model)
        status = script.pop(0) if script else 0
        if twice:
            answer = C_STORE()
            answer.MessageIDBeingRespondedTo, answer.Status = request.MessageID, status
            answer.AffectedSOPClassUID = request.AffectedSOPClassUID
            answer.AffectedSOPInstanceUID = request.AffectedSOPInstanceUID
            event.assoc.dimse.send_msg(answer, event.context.context_id)
        return status

    association = ae.associate(
        LOOPBACK, port, ext_neg=[build_role(DX, scp_role=True)], evt_handlers=[(evt.EVT_C_STORE, take)]
    )
    assert association.is_established
    for answer, ds in association.send_c_get(keys, model):
        _note(found, answer, ds)
    association.release()
    return found


@contextmanager
def _mover(port: int) -> Iterator[Association]:
    ae = AE("MOVER")
    ae.add_requested_context(MOVE)
    association = ae.associate(LOOPBACK, port)
    assert association.is_established
    yield association
    association.release()


def by_move(port: int, keys: Dataset, to: str) -> Fetched:
    found = Fetched()
    with _mover(port) as association:
        for answer, ds in association.send_c_move(keys, to, MOVE):
            _note(found, answer, ds)
    return found


def _note(found: Fetched, answer: Dataset, ds: Dataset | None) -> None:
    found.statuses.append(int(answer.Status))
    number = {which: answer.get(f"NumberOf{which}Suboperations") for which in ("Completed", "Failed", "Warning")}
    remaining = answer.get("NumberOfRemainingSuboperations")
    if number["Completed"] is not None:
        found.counts.append((*(int(one) for one in number.values()), remaining))  # type: ignore[arg-type]
    listed = ds.get("FailedSOPInstanceUIDList", []) if ds is not None else []
    found.failed = [uid for uid in ([listed] if isinstance(listed, str) else listed) if uid]
    found.comment = str(answer.get("ErrorComment", ""))


def study(study_uid: str = STUDY, level: str = "STUDY", **keys: object) -> Dataset:
    return identifier(level, StudyInstanceUID=study_uid, **keys)


def test_a_get_brings_every_object_as_it_is_stored(node: Station) -> None:
    """A peer that takes each transfer syntax by itself gets the very bytes."""
    fetched = by_get(node.port, study(), [str(syntax) for syntax in SYNTAXES])
    assert fetched.came == MIXED
    assert fetched.statuses == [0xFF00] * 4 + [0x0000]
    assert fetched.counts == [(n, 0, 0, 5 - n) for n in (1, 2, 3, 4)] + [(5, 0, 0, None)]


def test_only_what_the_peer_cannot_take_is_decompressed(node: Station) -> None:
    fetched = by_get(node.port, study(), [ImplicitVRLittleEndian, JPEGLSLossless])
    got = {one.sop_instance_uid: one for one in fetched.came}
    assert got[MIXED[1].sop_instance_uid] == MIXED[1] and got[MIXED[2].sop_instance_uid] == MIXED[2]
    for source in (MIXED[0], MIXED[3]):
        assert got[source.sop_instance_uid].transfer_syntax_uid == ImplicitVRLittleEndian
        assert np.array_equal(_pixels(got[source.sop_instance_uid]), drawn(1, 64))
    assert fetched.failed == [MIXED[4].sop_instance_uid] and fetched.statuses[-1] == 0xB000  # big endian
    assert fetched.counts[-1] == (4, 1, 0, None) and "big endian" in fetched.comment


def _pixels(one: Encoded) -> Any:
    ds = decode(BytesIO(one.data_set), one.transfer_syntax_uid == ImplicitVRLittleEndian, True)
    return np.frombuffer(ds.PixelData, "<u2").reshape(ds.Rows, ds.Columns)


@pytest.mark.parametrize(
    "answers, status, counts, failed",
    [
        ([0xA700, 0, 0, 0, 0], 0xB000, (4, 1, 0, None), [0]),
        ([0xB000, 0xB007, 0, 0, 0], 0xB000, (3, 0, 2, None), []),
        ([0xB000] * 5, 0xB000, (0, 0, 5, None), []),
        ([0xA900, 0xC000, 0x0110, 0x0122, 0xA700], 0xA702, (0, 5, 0, None), [0, 1, 2, 3, 4]),
    ],
)
def test_failures_and_warnings_of_the_peer_are_counted(
    node: Station, answers: list[int], status: int, counts: tuple[int, int, int, None], failed: list[int]
) -> None:
    """The final status of PS3.4 section C.4.3.3.1, and who failed."""
    fetched = by_get(node.port, study(), [str(syntax) for syntax in SYNTAXES], answers)
    assert (fetched.statuses[-1], fetched.counts[-1]) == (status, counts)
    assert fetched.failed == [MIXED[number].sop_instance_uid for number in failed]


def test_an_answer_that_comes_twice_is_not_that_to_the_next_object(node: Station) -> None:
    script = [0x0000, 0xA700, 0x0000, 0xA700, 0x0000]
    fetched = by_get(node.port, study(), [str(syntax) for syntax in SYNTAXES], script, twice=True)
    assert fetched.failed == [fetched.came[number].sop_instance_uid for number in (1, 3)]


@pytest.mark.parametrize(
    "keys, count",
    [
        (study(), 5),
        (study([STUDY, OTHER]), 6),  # type: ignore[arg-type]
        (study(level="SERIES", SeriesInstanceUID=uid("series", f"mixed {JPEGLSLossless}")), 1),
        (
            study(level="IMAGE", SeriesInstanceUID=uid("series", f"mixed {RLELossless}"),
                  SOPInstanceUID=[MIXED[3].sop_instance_uid, "1.2.3"]),
            1,
        ),
        (study("1.2.3"), 0),
    ],
)  # fmt: skip
def test_each_level_means_its_objects(node: Station, keys: Dataset, count: int) -> None:
    fetched = by_get(node.port, keys, [str(syntax) for syntax in SYNTAXES])
    assert len(fetched.came) == count and fetched.statuses[-1] == 0x0000
    assert fetched.counts[-1] == (count, 0, 0, None)


def test_a_patient_is_fetched_whole(node: Station) -> None:
    keys = identifier("PATIENT", PatientID="PIDMARKER77120")
    assert len(by_get(node.port, keys, [str(one) for one in SYNTAXES], model=PATIENT_GET).came) == 6


@pytest.mark.parametrize(
    "keys",
    [
        identifier("STUDY"),
        identifier("STUDY", StudyInstanceUID=""),
        identifier("SERIES", SeriesInstanceUID="1.2.3"),
        identifier("PATIENT", PatientID="PIDMARKER77120"),  # no level of Study Root
        identifier("WARD", StudyInstanceUID=STUDY),
    ],
)
def test_an_identifier_that_names_nothing_is_refused(node: Station, keys: Dataset) -> None:
    fetched = by_get(node.port, keys, [ExplicitVRLittleEndian])
    assert (fetched.statuses, fetched.came) == ([0xA900], []) and fetched.comment  # PS3.4 Table C.4-3


def test_a_get_is_cancelled(node: Station) -> None:
    fetched = by_get(node.port, study(), [str(syntax) for syntax in SYNTAXES], stop=2)
    assert fetched.statuses[-1] == 0xFE00 and 2 <= len(fetched.came) < 5
    completed, failed, warning, remaining = fetched.counts[-1]
    assert (completed, failed, warning) == (len(fetched.came), 0, 0) and remaining == 5 - completed


def test_a_move_goes_where_the_settings_say(node: Station, taker: Storescp) -> None:
    fetched = by_move(node.port, study(), taker.aet)
    assert fetched.statuses == [0xFF00] * 4 + [0x0000] and fetched.counts[-1] == (5, 0, 0, None)
    received = {str(dcmread(path).SOPInstanceUID): data_set_of(path) for path in taker.files()}
    assert received == {one.sop_instance_uid: one.data_set for one in MIXED}


def test_movescu_and_getscu_fetch(node: Station, taker: Storescp, tmp_path: Path) -> None:
    keys = {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": OTHER}
    assert movescu(node.port, taker.aet, **keys).code == 0
    assert any(str(dcmread(path).StudyInstanceUID) == OTHER for path in taker.files())
    ran = getscu(node.port, tmp_path / "got", **keys)
    assert ran.code == 0, ran.text
    (path,) = (tmp_path / "got").iterdir()
    assert as_sent(path) == film("other")


def test_a_destination_that_is_not_known_or_away(node: Station) -> None:
    unknown, away = by_move(node.port, study(), "NOBODY"), by_move(node.port, study(), "AWAY")
    assert unknown.statuses == [0xA801] and unknown.counts == []  # PS3.4 Table C.4-2
    assert away.statuses == [0xA702] and away.counts == [(0, 5, 0, None)] and len(away.failed) == 5


@contextmanager
def moved_to(answers: Sequence[int | None], seconds: float = 0) -> Iterator[tuple[int, list[tuple[str, Any, Any]]]]:
    """A destination that answers so after ``seconds``, None aborts; its port, and (UID, originator, message id)."""
    came: list[tuple[str, Any, Any]] = []

    def take(event: evt.Event) -> int:
        request: Any = event.request
        status = answers[len(came)]
        time.sleep(seconds)
        came.append((str(request.AffectedSOPInstanceUID), request.MoveOriginatorApplicationEntityTitle,
                     request.MoveOriginatorMessageID))  # fmt: skip
        if status is None:
            event.assoc.abort()
            return 0
        return status

    ae = AE("SCRIPTED")
    ae.add_supported_context(DX, contexts.TRANSFER_SYNTAXES)
    server = ae.start_server((LOOPBACK, 0), block=False, evt_handlers=[(evt.EVT_C_STORE, take)])
    try:
        yield server.socket.getsockname()[1], came
    finally:
        server.shutdown()


def test_a_destination_that_refuses_and_then_breaks_off(tmp_path: Path) -> None:
    with (
        moved_to([0, 0xA700, None]) as (port, came),
        station(tmp_path, move_to=[f"SCRIPTED@{LOOPBACK}:{port}"]) as node,
    ):
        assert store(node.port, MIXED) == [0] * 5
        fetched = by_move(node.port, study(), "SCRIPTED")
    assert fetched.statuses[-1] == 0xB000 and fetched.counts[-1] == (1, 4, 0, None)
    assert fetched.failed == [one.sop_instance_uid for one in MIXED[1:]]
    assert came == [(one.sop_instance_uid, "MOVER", 1) for one in MIXED[:3]]


def test_a_long_move_is_no_idle_association(tmp_path: Path) -> None:
    """The requestor says nothing for longer than the network timeout, and may ask again afterwards."""
    with moved_to([0] * 10, seconds=0.5) as (port, came):
        move_to = [f"SCRIPTED@{LOOPBACK}:{port}"]
        with station(tmp_path, move_to=move_to, network_timeout_seconds=1.0) as node:
            assert store(node.port, MIXED) == [0] * 5
            with _mover(node.port) as association:
                for _ in range(2):
                    fetched = Fetched()
                    for answer, ds in association.send_c_move(study(), "SCRIPTED", MOVE):
                        _note(fetched, answer, ds)
                    assert fetched.statuses[-1] == 0x0000
                    time.sleep(0.3)
                assert association.is_established
    assert len(came) == 10


def test_a_file_that_is_gone_is_a_failure_and_the_rest_comes(tmp_path: Path) -> None:
    with station(tmp_path) as node:
        assert store(node.port, MIXED[:2]) == [0, 0]
        (row,) = node.rows("SELECT path FROM instances WHERE sop_uid = :uid", uid=MIXED[0].sop_instance_uid)
        node.archive.path(str(row["path"])).unlink()
        fetched = by_get(node.port, study(), [str(syntax) for syntax in SYNTAXES])
    assert fetched.came == MIXED[1:2] and fetched.failed == [MIXED[0].sop_instance_uid]
    assert fetched.statuses[-1] == 0xB000 and "cannot be read" in fetched.comment


def test_a_file_that_goes_in_the_middle_of_its_message_ends_the_association(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its command is on the way already: anything but data would be taken for a part of the object."""
    split = suboperations.split_dataset

    def removed(path: Path) -> Any:
        found = split(path)
        path.unlink()
        return found

    monkeypatch.setattr(suboperations, "split_dataset", removed)
    objects = [film(f"goes {number}", study="mixed") for number in range(2)]
    with moved_to([]) as (port, came), station(tmp_path, move_to=[f"TAKER@{LOOPBACK}:{port}"]) as node:
        assert store(node.port, objects) == [0, 0]
        found = by_move(node.port, study(), "TAKER")
        assert (found.statuses[-1], found.counts[-1][:2], came) == (0xA702, (0, 2), [])
        assert sorted(found.failed) == sorted(one.sop_instance_uid for one in objects)


def test_the_association_stores_and_fetches_in_turn(node: Station) -> None:
    """After a C-GET the quick way for C-STORE goes on; both roles on one association."""
    ae = AE("BOTH")
    ae.add_requested_context(GET)
    ae.add_requested_context(DX, ExplicitVRLittleEndian)
    came: list[str] = []

    def take(event: evt.Event) -> int:
        came.append(str(event.request.AffectedSOPInstanceUID))
        return 0

    role = build_role(DX, scu_role=True, scp_role=True)
    association = ae.associate(LOOPBACK, node.port, ext_neg=[role], evt_handlers=[(evt.EVT_C_STORE, take)])
    for number in (1, 2):
        ds = wrap(Film(drawn(1, 64), f"turn {number}", "turn"))
        assert association.send_c_store(ds).Status == 0x0000
        statuses = [int(answer.Status) for answer, _ in association.send_c_get(study(ds.StudyInstanceUID), GET)]
        assert statuses[-1] == 0x0000 and len(came) == (1 if number == 1 else 3)
    association.release()


def test_a_large_object_is_never_in_memory_as_a_whole(node: Station, monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits for the wire stays at a few PDUs while the peer is slow to read."""
    large = encoded(wrap(Film(drawn(1, 2048), "large", "large")))
    assert store(node.port, [large]) == [0]
    most = 0
    ordinary = DULServiceProvider.send_pdu

    def counted(self: DULServiceProvider, pdu: Any) -> None:
        nonlocal most
        most = max(most, self.to_provider_queue.qsize())
        ordinary(self, pdu)

    monkeypatch.setattr(DULServiceProvider, "send_pdu", counted)
    fetched = by_get(node.port, study(uid("study", "large")), [ExplicitVRLittleEndian])
    assert fetched.came == [large] and most <= WAITING_PDUS
