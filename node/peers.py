"""The destinations of a node as delivery sees them: who a name is, how files are sent, who knows whose a study is.

Part of the composition root, beside ``app``: it ties settings to the two rooms that speak to peers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from node.core.settings import Destination, Settings
from node.dimse import query, scu
from node.pipeline.deliver import Outcome
from node.pipeline.identity import Known
from node.web import qido


@dataclass(frozen=True)
class Peers:
    settings: Settings

    def find(self, name: str) -> Destination:
        """A destination of the ledger; one that left the settings is treated as usual."""
        known = {peer.name: peer for peer in self.settings.peers}
        return known.get(name) or replace(Destination.parse(name), objects=self.settings.objects)

    def send(self, destination: Destination, files: Sequence[Path]) -> list[Outcome]:
        sent = scu.send(self._address(destination), files)
        return [Outcome(one.status, one.comment, one.delivered) for one in sent]

    def ask(self, destination: Destination, study_uids: Sequence[str]) -> Mapping[str, Known]:
        """As whom it knows the studies, by C-FIND at the destination itself or by the QIDO-RS service it has."""
        check = destination.objects.identity_check if destination.objects else ""
        if check == "c-find":
            return query.find_studies(self._address(destination), study_uids)
        return qido.find_studies(check, study_uids, self.settings.delivery.dimse_timeout_seconds)

    def _address(self, destination: Destination) -> scu.Peer:
        delivery = self.settings.delivery
        return scu.Peer(
            destination.host,
            destination.port,
            destination.aet,
            self.settings.node.aet,
            delivery.acse_timeout_seconds,
            delivery.dimse_timeout_seconds,
        )
