"""Peers that stop in the middle, by silence or by a cut: whoever sends to them gets his thread back.

Deliveries, the sub-operations of C-MOVE on associations of ours, and those of C-GET on the peer's. What stalls while we
receive is in test_hanging.
"""

from __future__ import annotations

import contextlib
import dataclasses
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom import Dataset
from pynetdicom import AE, build_role, evt
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelGet  # type: ignore[attr-defined]

from node.db.catalogue import Held
from node.dimse.associating import Peer
from node.dimse.scu import send
from node.dimse.suboperations import open_association, store
from tests import sending
from tests.dimse.station import film, station
from tests.films import SC, Film, drawn, wrap, write
from tests.peers import LOOPBACK, wait_until

PATIENT_SECONDS = 1.0
LARGE = 2048  # rows and columns, two bytes each: more than the buffers of a connection hold
TAKEN = 1 << 20  # bytes, after which a peer takes no more


class Between:
    """Between us and a real SCP. upwards, downwards: what becomes of bytes that go to it and come from it, None: the
    connection is cut; they may also wait for ``over``."""

    def __init__(self, upwards: Callable[[Between, bytes], bytes | None], downwards: Any = None) -> None:
        self.over, self.seen = threading.Event(), 0
        self._ways = (upwards, downwards or (lambda _, content: content))
        self._door, self._open = socket.create_server((LOOPBACK, 0)), list[socket.socket]()
        self.port: int = self._door.getsockname()[1]

    def serve(self, port: int) -> None:
        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    ours, _ = self._door.accept()
                    theirs = socket.create_connection((LOOPBACK, port))
                    self._open += (ours, theirs)
                    for way, one, other in zip(self._ways, (ours, theirs), (theirs, ours), strict=True):
                        threading.Thread(target=self._pass_on, args=(way, one, other), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()

    def _pass_on(self, way: Any, one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while content := one.recv(1 << 16):
                if (passed := way(self, content)) is None:
                    break
                other.sendall(passed)
        for end in (one, other):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.over.set()
        for one in (self._door, *self._open):
            with contextlib.suppress(OSError):  # it is closed already
                one.shutdown(socket.SHUT_RDWR)  # who waits in it is woken
            one.close()


def takes_no_more(between: Between, content: bytes) -> bytes | None:
    between.seen += len(content)
    if between.seen > TAKEN:
        between.over.wait()
    return content


def cuts(between: Between, content: bytes) -> bytes | None:
    between.seen += len(content)
    return content if between.seen <= TAKEN else None


def all_of_it(_: Between, content: bytes) -> bytes:
    return content


def first_bytes(most: int) -> Callable[[Between, bytes], bytes]:
    """Of the answer; the association is accepted by what comes before."""
    begun: list[bytes] = []

    def way(_: Between, content: bytes) -> bytes:
        begun.append(content)
        return content if len(begun) == 1 else content[:most]

    return way


@contextlib.contextmanager
def through(between: Between) -> Iterator[Peer]:
    ae = AE("ARCHIVE")
    ae.add_supported_context(SC)
    server = ae.start_server((LOOPBACK, 0), block=False, evt_handlers=[(evt.EVT_C_STORE, lambda event: 0x0000)])
    between.serve(server.socket.getsockname()[1])
    try:
        yield Peer(LOOPBACK, between.port, "ARCHIVE", "LUNGNODE", PATIENT_SECONDS, PATIENT_SECONDS)
    finally:
        between.close()
        server.shutdown()


def _large(folder: Path) -> Path:
    return write(wrap(Film(drawn(1, LARGE), "stalls", sop_class=SC)), folder)


def _ends(act: Callable[[], Any]) -> list[Any]:
    """What it gives, in a thread of its own."""
    given: list[Any] = []
    threading.Thread(target=lambda: given.append(act()), daemon=True).start()
    wait_until(lambda: given, 60, "it has ended")
    return given


@pytest.mark.parametrize(
    "upwards, downwards",
    [(takes_no_more, None), (cuts, None), (all_of_it, first_bytes(3)), (all_of_it, first_bytes(20))],
    ids=["takes no more", "cuts", "half the head of an answer", "half an answer"],
)
def test_a_delivery_gives_up(tmp_path: Path, upwards: Any, downwards: Any) -> None:
    path = _large(tmp_path)
    with through(Between(upwards, downwards)) as peer:
        ((sent,),) = _ends(lambda: send(peer, [path]))
    assert (sent.status, sent.delivered, sent.away) == (None, False, True)


@pytest.mark.parametrize("upwards", [takes_no_more, cuts], ids=["takes no more", "cuts"])
def test_a_move_gives_up(tmp_path: Path, upwards: Any) -> None:
    path = _large(tmp_path)
    ds = pydicom.dcmread(path, stop_before_pixels=True)
    held = Held(**{one.name: "" for one in dataclasses.fields(Held)})
    held = dataclasses.replace(
        held,
        sop_class_uid=str(ds.SOPClassUID),
        sop_instance_uid=str(ds.SOPInstanceUID),
        transfer_syntax_uid=str(ds.file_meta.TransferSyntaxUID),
    )
    with through(Between(upwards)) as peer:
        association = open_association(peer, [held])
        assert association is not None
        assert _ends(lambda: store(association, held, path, 1)) == [None]


@pytest.mark.parametrize("cut", [True, False], ids=["cuts", "takes no more"])
def test_a_requester_of_c_get_that_goes_is_let_go(tmp_path: Path, cut: bool) -> None:
    """It would hold one of the receiver's associations for ever."""
    large, over = film("fetched", LARGE), threading.Event()
    with station(tmp_path, network_timeout_seconds=PATIENT_SECONDS, dimse_timeout_seconds=PATIENT_SECONDS) as node:
        assert sending.store(node.port, [large]) == [0x0000]
        ae = AE("GETTER")
        ae.add_requested_context(StudyRootQueryRetrieveInformationModelGet)
        ae.add_requested_context(large.sop_class_uid, large.transfer_syntax_uid)
        came: list[int] = []

        def stall(event: evt.Event) -> None:
            came.append(len(event.data))
            if sum(came) < TAKEN:
                return
            if cut:
                event.assoc.dul.socket.socket.close()  # type: ignore[union-attr]
            else:
                over.wait(120)

        association = ae.associate(
            LOOPBACK,
            node.port,
            ext_neg=[build_role(large.sop_class_uid, scp_role=True)],
            evt_handlers=[(evt.EVT_DATA_RECV, stall), (evt.EVT_C_STORE, lambda event: 0x0000)],
        )
        keys = Dataset()
        keys.QueryRetrieveLevel, keys.StudyInstanceUID = (
            "STUDY",
            node.rows("SELECT study_uid FROM studies")[0]["study_uid"],
        )

        def fetch() -> None:
            with contextlib.suppress(Exception):
                list(association.send_c_get(keys, StudyRootQueryRetrieveInformationModelGet))

        threading.Thread(target=fetch, daemon=True).start()
        try:
            wait_until(lambda: sum(came) >= TAKEN, 30, "a part has come")
            wait_until(lambda: not node.receiver._ae.active_associations, 30, "the association is let go")
        finally:
            over.set()
