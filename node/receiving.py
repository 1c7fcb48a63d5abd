"""One receiver process: the composition root of what DICOM peers talk to. Started by ``app`` and bound to it.

It inherits sockets that listen already and shares them, the database, the archive and the board with the other
receivers. It imports pynetdicom, pydicom and sqlalchemy and nothing heavier, so that a dead one is soon replaced.
"""

from __future__ import annotations

import logging
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from node.board import Board
from node.composition.archiving import archive_of
from node.composition.known import KnownPeers
from node.core import heap, log
from node.core.settings import Settings
from node.db.session import Database, url_of
from node.dimse.access import Access
from node.dimse.scp import Receiver
from node.dimse.tls import Certificates
from node.folders import Folders
from node.pipeline import strays
from node.pipeline.catalogue import Catalogue
from node.pipeline.commitment import Commitments
from node.pipeline.intake import Intake
from node.pipeline.pressure import Pressure
from node.pipeline.trail import Trail
from node.queue import pulse
from node.queue.worker import bind_to_parent, retire_when_told, stop_on_sigterm

logger = logging.getLogger(__name__)
DRAIN_SECONDS = 60.0  # for associations that run when SIGTERM comes
POLL_SECONDS = 0.5
SWITCH_SECONDS = 0.0005  # threads of associations and of the archive hand over often; Python's 5 ms are an fsync long
Duties = Mapping[str, Callable[[], object]]  # by name


def run_receiver(data: Path, name: str, parent: int, doors: Mapping[str, int]) -> int:
    """doors: name -> descriptor, see ``dimse.listening``. 0 when it drained, or ended with its last association after
    another process had taken its place."""
    heap.one_arena()
    orphaned, stop, retire = bind_to_parent(parent), stop_on_sigterm(), retire_when_told()
    effective = Folders(data).read_worker_settings()
    folders = Folders(data, effective.database.archive)
    log.start(effective.node.log_level, process=name)
    sys.setswitchinterval(SWITCH_SECONDS)
    database = Database(url_of(data, effective.database.url), effective.receive.fsync)
    board = Board(folders.board, name)
    receiver, duties = _compose(effective, folders, database, board)
    heap.has_started()  # pynetdicom collects garbage at every turn
    heap.gives_back()
    if orphaned():
        return 1  # the next node wants the port
    board.serve()  # first: whoever connects is written there
    pulse.tell(lambda: receiver.is_turning)
    receiver.start({door: socket.socket(fileno=descriptor) for door, descriptor in doors.items()})
    threading.Thread(target=_do, args=(duties, stop), name="duties", daemon=True).start()
    while not stop.wait(POLL_SECONDS):
        if orphaned():
            return 1
        if retire.is_set():
            receiver.close()
            board.retire()
            if receiver.is_idle:
                break
    receiver.stop(DRAIN_SECONDS)
    database.close()
    return 0


def _compose(effective: Settings, folders: Folders, database: Database, board: Board) -> tuple[Receiver, Duties]:
    receive, now = effective.receive, database.clock
    archive = archive_of(effective, folders)
    archive.prepare()
    pressure = Pressure(database, archive, effective.limits)
    intake = Intake(database, archive, receive.max_instance_bytes, now, pressure.refusal, board)
    certificates = Certificates(effective.tls)
    peers = KnownPeers(effective, certificates)
    commitment = peers.commitment(Commitments(database, archive, now, effective.delivery.backoff_seconds))
    services = [*peers.services(Catalogue(database, archive), archive, Trail(database, now).tell), commitment]
    access = Access.of(board, effective)
    receiver = Receiver(effective.node, receive, intake, access, services, certificates)
    return receiver, {"commitment": commitment.pump_kept, "archive": partial(strays.look_again, database, archive)}


def _do(duties: Duties, stop: threading.Event) -> None:
    """What concerns this process alone: peers that wait on its associations to be told what was committed, say."""
    while not stop.wait(POLL_SECONDS):
        for name, duty in duties.items():
            try:
                duty()
            except Exception:
                logger.exception("duty.failed", extra={"fields": {"duty": name}})
