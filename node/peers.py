"""The destinations of a node as delivery sees them: who a name is, how files are sent, who knows whose a study is.

Part of the composition root, beside ``app``: it ties settings to the two rooms that speak to peers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from node.archive import Archive
from node.core.settings import Destination, Settings
from node.dimse import query, scu
from node.dimse.find import FindService
from node.dimse.retrieve import RetrieveService
from node.dimse.scp import Service
from node.dimse.tls import Certificates
from node.pipeline.catalogue import Catalogue
from node.pipeline.deliver import Outcome
from node.pipeline.identity import Known
from node.web import qido


@dataclass(frozen=True)
class Peers:
    settings: Settings
    certificates: Certificates | None = None  # needed where tls.destinations names anybody

    def find(self, name: str) -> Destination:
        """A destination of the ledger; one that left the settings is treated as usual."""
        known = {peer.name: peer for peer in self.settings.peers}
        return known.get(name) or replace(Destination.parse(name), objects=self.settings.objects)

    def send(self, destination: Destination, files: Sequence[Path]) -> list[Outcome]:
        sent = scu.send(self._address(destination), files)
        return [Outcome(one.status, one.comment, one.delivered, one.away) for one in sent]

    def probe(self, destination: Destination) -> str:
        """Empty when it is there, else the problem in words."""
        return scu.echo(self._address(destination))

    def ask(self, destination: Destination, study_uids: Sequence[str]) -> Mapping[str, Known]:
        """As whom it knows the studies, by C-FIND at the destination itself or by the QIDO-RS service it has."""
        check = destination.objects.identity_check if destination.objects else ""
        if check == "c-find":
            return query.find_studies(self._address(destination), study_uids)
        return qido.find_studies(check, study_uids, self.settings.delivery.dimse_timeout_seconds)

    def services(self, catalogue: Catalogue, archive: Archive) -> list[Service]:
        """What the receiver offers beside storage."""
        wanted = self.settings.query
        if not wanted.serve:
            return []
        find = FindService(catalogue, self.settings.node.aet, wanted.max_matches)
        return [find, RetrieveService(catalogue, archive, self.move_destinations())]

    def move_destinations(self) -> dict[str, scu.Peer]:
        """Whom C-MOVE may send to, by AE title: the destinations of results, and those of [query], which go first."""
        extra = [Destination.parse(text) for text in self.settings.query.move_destinations]
        return {peer.aet: self._address(peer) for peer in (*self.settings.peers, *extra)}

    def _address(self, destination: Destination) -> scu.Peer:
        delivery = self.settings.delivery
        return scu.Peer(
            destination.host,
            destination.port,
            destination.aet,
            self.settings.node.aet,
            delivery.acse_timeout_seconds,
            delivery.dimse_timeout_seconds,
            self.certificates if destination.name in self.settings.tls.destinations else None,
        )
