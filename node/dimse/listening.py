"""The ports that we listen on, shared by several receiver processes.

One process opens them and the others inherit the very same sockets, so each connection is taken by one process that is
alive, and those that come while none is wait in the kernel's queue. SO_REUSEPORT would give each process a queue of its
own instead: filled by a hash that puts half of all pairs of associations into one process, and lost with it.
"""

from __future__ import annotations

import errno
import logging
import socket
import time
from collections.abc import Mapping
from socketserver import BaseServer
from typing import Any

from pynetdicom import AE
from pynetdicom.transport import AddressInformation, ThreadedAssociationServer

from node.core import log
from node.core.errors import Misconfigured
from node.core.security import Tls

logger = logging.getLogger(__name__)
PLAIN, OVER_TLS = "dicom", "dicom_tls"
Doors = Mapping[str, socket.socket]  # by these names
BACKLOG = 128  # connections that nobody has taken yet
OTHERS_END_SECONDS = 5.0  # for receivers of a node that was killed a moment ago: they have its port until they end too
POLITE_SECONDS = 0.003  # for each association that a process has it lets others go first so long,
MOST_POLITE = 5  # up to so many
SCARCE = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)  # descriptors or memory
SCARCE_SECONDS = 0.5  # until they are asked for again


def open_doors(host: str, port: int, tls: Tls | None) -> dict[str, socket.socket]:
    """Every DICOM port of the settings, listening. Port 0 takes a free one."""
    over_tls = tls is not None and bool(tls.certificate)
    wanted = {PLAIN: port} if tls is None or not (over_tls and tls.only) else {}
    if tls is not None and over_tls:
        wanted[OVER_TLS] = tls.port
    return {name: _listening(host, number) for name, number in wanted.items()}


def _listening(host: str, port: int) -> socket.socket:
    end = time.monotonic() + OTHERS_END_SECONDS
    while True:
        try:
            information = AddressInformation(host, port)
            family = information.address_family
            both = host == "::" and socket.has_dualstack_ipv6()
            return socket.create_server(information.as_tuple, family=family, backlog=BACKLOG, dualstack_ipv6=both)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or time.monotonic() >= end:
                raise Misconfigured(f"the DICOM port {host}:{port} cannot be opened: {error.strerror}") from error
        time.sleep(0.1)


def ports(doors: Doors) -> dict[str, int]:
    return {name: int(door.getsockname()[1]) for name, door in doors.items()}


class SharedDoor(ThreadedAssociationServer):
    """A server at a socket that listens already, and that other processes accept from too. The one with the fewest
    associations comes first: each waits a little for every association that it has."""

    def __init__(self, ae: AE, address: Any, *arguments: Any, door: socket.socket, **keywords: Any) -> None:
        self._door = door
        self.turned_at = time.monotonic()
        super().__init__(ae, door.getsockname(), *arguments, **keywords)

    def server_bind(self) -> None:
        assert self.socket is not None
        self.socket.close()
        self.socket = self._door
        self.socket.setblocking(False)  # another process may be quicker
        self.server_address = self.socket.getsockname()

    def server_activate(self) -> None:
        """It listens."""

    def service_actions(self) -> None:
        """At each turn of the loop that looks for connections, twice a second where none come."""
        super().service_actions()
        self.turned_at = time.monotonic()

    def get_request(self) -> Any:
        """OSError, which the loop of ``socketserver`` passes over, where another process took the connection, or where
        this one cannot: it waits in the queue then, and is not asked for again at once."""
        time.sleep(POLITE_SECONDS * min(len(self.active_associations), MOST_POLITE))
        try:
            return super().get_request()
        except OSError as error:
            if error.errno in SCARCE:
                log.event(logger, "connection.not_taken", logging.ERROR, reason=error.strerror)
                time.sleep(SCARCE_SECONDS)
            raise

    def close_door(self) -> None:
        """Take no more connections; the associations go on."""
        BaseServer.shutdown(self)
        self.server_close()

    def server_close(self) -> None:
        """Without the shutdown of the original, which would end the listening of the other processes too."""
        assert self.socket is not None
        self.socket.close()
