"""The peers of a node as delivery sees them too: who a name is, how files are sent, who knows whose a study is.

Part of the composition root: it ties settings to the two rooms that speak to peers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from node.composition.known import KnownPeers
from node.core.settings import Destination
from node.db.commitments import Named
from node.db.session import Database
from node.dimse import query, scu
from node.dimse.commitment import ask
from node.pipeline.commitment import Commitments, Committing
from node.pipeline.deliver import Outcome
from node.pipeline.identity import Known
from node.web import qido, stow_client


@dataclass(frozen=True)
class Peers(KnownPeers):
    def find(self, name: str) -> Destination:
        """A destination of the ledger; one that left the settings is treated as usual."""
        known = {peer.name: peer for peer in self.settings.peers}
        return known.get(name) or replace(Destination.named(name), objects=self.settings.objects)

    def send(self, destination: Destination, files: Sequence[Path]) -> list[Outcome]:
        if destination.url:
            stored = stow_client.store(self._service(destination), files)
            return [Outcome(one.status, one.comment, one.delivered, one.away) for one in stored]
        sent = scu.send(self.address(destination), files)
        return [Outcome(one.status, one.comment, one.delivered, one.away) for one in sent]

    def probe(self, destination: Destination) -> str:
        """Empty when it is there, else the problem in words."""
        if destination.url:
            return stow_client.probe(self._service(destination))
        return scu.echo(self.address(destination))

    def ask(self, destination: Destination, study_uids: Sequence[str]) -> Mapping[str, Known]:
        """As whom it knows the studies, by C-FIND at the destination itself or by the QIDO-RS service it has."""
        check = destination.objects.identity_check if destination.objects else ""
        if check == "c-find":
            return query.find_studies(self.address(destination), study_uids)
        return qido.find_studies(check, study_uids, self.settings.delivery.dimse_timeout_seconds)

    def committing(self, commitments: Commitments, database: Database, clock: Callable[[], datetime]) -> Committing:
        """What asks destinations to commit."""

        def request(destination: Destination, transaction_uid: str, instances: Sequence[Named]) -> str:
            return ask(self.address(destination), transaction_uid, instances, commitments)

        return Committing(database, clock, timedelta(seconds=self.settings.commitment.ask_again_seconds), request)

    def _service(self, destination: Destination) -> stow_client.Service:
        authorization = destination.objects.authorization if destination.objects else ""
        return stow_client.Service(destination.url, self.settings.delivery.dimse_timeout_seconds, authorization)
