"""The DICOM port after a node that was killed: the next one has it, also where receivers were just being started.

That receivers that run end with their node is in tests/faults.
"""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Iterator

import pytest

from node.core.errors import Misconfigured
from node.dimse import listening
from node.dimse.listening import PLAIN, open_doors
from tests.peers import LOOPBACK, wait_until
from tests.served import LungnodeProcess


@pytest.fixture
def taken() -> Iterator[socket.socket]:
    with socket.create_server((LOOPBACK, 0)) as door:
        yield door


def test_a_port_that_becomes_free_in_a_moment_is_waited_for(taken: socket.socket) -> None:
    port = taken.getsockname()[1]
    threading.Timer(0.3, taken.close).start()
    door = open_doors(LOOPBACK, port, None)[PLAIN]
    assert door.getsockname()[1] == port
    door.close()


def test_one_that_another_program_keeps_is_said(taken: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "OTHERS_END_SECONDS", 0.2)
    with pytest.raises(Misconfigured, match="in use"):
        open_doors(LOOPBACK, taken.getsockname()[1], None)


def test_a_node_killed_while_its_receivers_start_leaves_the_port_to_the_next(taken: socket.socket) -> None:
    port = taken.getsockname()[1]
    taken.close()
    node = LungnodeProcess("--dicom-port", str(port), "--workers", "0")
    try:
        killer = threading.Thread(target=_kill_while_receivers_start, args=(node,))
        killer.start()
        with pytest.raises(AssertionError, match="ended at once"):
            node.start()
        killer.join()
        assert node.start().dicom_port == port
    finally:
        node.__exit__(None, None, None)


def _kill_while_receivers_start(node: LungnodeProcess) -> None:
    wait_until(lambda: bool(node.events("receiver.started")), 60, "a receiver is being started")
    assert node.process is not None
    node.process.send_signal(signal.SIGKILL)
