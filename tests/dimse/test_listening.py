"""The ports: both families at one of them, and a process that has no descriptor left.

Not covered: sharing between processes (tests/e2e/test_receivers.py), TLS (test_tls.py).
"""

from __future__ import annotations

import errno
import io
import itertools
import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from socketserver import BaseServer

import pytest

from node.core import log
from node.dimse import scp
from node.dimse.listening import SCARCE_SECONDS, SharedDoor, open_doors
from tests.dimse.station import film, station
from tests.peers import wait_until
from tests.sending import store


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no IPv6 on this machine")
def test_all_of_ipv6_is_all_of_ipv4_too() -> None:
    doors = open_doors("::", 0, None)
    with doors["dicom"] as door:
        port = door.getsockname()[1]
        for host in ("127.0.0.1", "::1"):
            socket.create_connection((host, port), 5).close()
            taken, address = door.accept()
            taken.close()
            assert host in address[0]


@contextmanager
def logged() -> Iterator[io.StringIO]:
    stream, before = io.StringIO(), logging.getLogger().handlers[:]
    try:
        log.start("info", stream)
        yield stream
    finally:
        logging.getLogger().handlers[:] = before


def test_without_a_descriptor_connections_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing spins meanwhile, and who waited is served when there is one again."""
    tries: list[float] = []
    take = SharedDoor.get_request.__globals__["ThreadedAssociationServer"].get_request

    def scarce(server: SharedDoor) -> object:
        tries.append(time.monotonic())
        if len(tries) < 4:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return take(server)

    monkeypatch.setattr("node.dimse.listening.ThreadedAssociationServer.get_request", scarce)
    with logged() as stream, station(tmp_path) as node:
        assert store(node.port, [film("patient")]) == [0x0000]
    assert min(b - a for a, b in itertools.pairwise(tries[:4])) >= SCARCE_SECONDS
    assert stream.getvalue().count("connection.not_taken") == 3
    assert "Too many open files" in stream.getvalue()


def test_a_port_that_nobody_looks_after_any_more_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else its process would live on and take nothing. One that was closed need not be looked after."""
    monkeypatch.setattr(scp, "TURN_SECONDS", 1.5)
    with station(tmp_path) as node:
        assert store(node.port, [film("patient")]) == [0x0000] and node.receiver.is_turning
        for server in node.receiver._servers.values():
            BaseServer.shutdown(server)  # as its loop ends in an error
        wait_until(lambda: not node.receiver.is_turning, 10, "it is noticed")
        node.receiver.close()
        assert node.receiver.is_turning
