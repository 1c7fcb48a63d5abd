"""The provider of an association of ours waits for what it is there for: something to send or something to read.

pynetdicom's sleeps a millisecond and looks, for as long as the association lasts (3.0.4): with a slow peer that costs
more than all that is sent. The names used are semi-private, hence the pinned version.
"""

from __future__ import annotations

import os
import select
import socket
import ssl
import threading
from typing import Any

from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.transport import AddressInformation, AssociationSocket

from node.dimse.ending import EndingProvider

LOOK_SECONDS = 0.1  # between two looks at the ARTIM timer (PS3.8 section 9.1.5), the only thing that nobody rings for
CLOSING = "Sta13"  # PS3.8 Table 9-2: awaiting transport connection close


class Doorbell:
    """Rung from any thread. One thread waits for it and for a connection at once, and closes it; then ringing does
    nothing."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._bell: int | None = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def ring(self) -> None:
        with self._guard:
            if self._bell is not None:
                os.eventfd_write(self._bell, 1)

    def wait(self, connection: socket.socket | None, seconds: float) -> None:
        """Until it rings, has rung since the last time, or there is something to read; for ``seconds`` at most."""
        if self._bell is None:
            return
        poll, number = select.poll(), -1 if connection is None else connection.fileno()
        poll.register(self._bell, select.POLLIN)
        if number >= 0:  # another thread may close it at any moment
            poll.register(number, select.POLLIN)
        if any(ready == self._bell for ready, _ in poll.poll(1000 * seconds)):
            os.eventfd_read(self._bell)

    def __del__(self) -> None:
        """Of an association that never began."""
        self.close()

    def close(self) -> None:
        with self._guard:
            bell, self._bell = self._bell, None
        if bell is not None:
            os.close(bell)


class WaitingProvider(EndingProvider):
    """As the original, but between two events it waits."""

    def __init__(self, assoc: Association) -> None:
        super().__init__(assoc)
        self._bell = Doorbell()
        self._run_loop_delay = 0.0

    def run_reactor(self) -> None:
        try:
            super().run_reactor()
        finally:
            self._bell.close()

    def send_pdu(self, primitive: Any) -> None:
        super().send_pdu(primitive)
        self._bell.ring()

    def kill_dul(self) -> None:
        super().kill_dul()
        self._bell.ring()

    def stop_dul(self) -> bool:
        if self.state_machine.current_state != "Sta1":
            return False
        self.kill_dul()
        self.join()
        return True

    def _is_transport_event(self) -> bool:
        """Asked where nothing is to be sent."""
        if self.state_machine.current_state != CLOSING and self.event_queue.empty() and not self._kill_thread:
            self._wait()
        return bool(super()._is_transport_event())

    def _wait(self) -> None:
        connection = self.socket.socket if self.socket is not None and self.socket._is_connected else None
        if isinstance(connection, ssl.SSLSocket) and connection.pending():
            return
        self._bell.wait(connection, LOOK_SECONDS)


class WaitingEntity(AE):
    """Its associations have such a provider."""

    def _create_socket(self, assoc: Association, address: AddressInformation, tls_args: Any) -> AssociationSocket:
        connection = super()._create_socket(assoc, address, tls_args)
        assoc.dul = WaitingProvider(assoc)
        assoc.acse_timeout, assoc.network_timeout = self.acse_timeout, self.network_timeout  # its timers are new
        return connection
