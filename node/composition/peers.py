"""The destinations of a node as delivery sees them: who a name is, how files are sent, who knows whose a study is.

Part of the composition root: it ties settings to the two rooms that speak to peers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from node.archive import Archive
from node.core.settings import Destination, Settings
from node.core.site import of_site, site_called
from node.db.commitments import Named
from node.db.session import Database
from node.dimse import query, scu
from node.dimse.associating import Peer
from node.dimse.commitment import CommitmentService, ask
from node.dimse.find import FindService
from node.dimse.retrieve import RetrieveService
from node.dimse.scp import Service
from node.dimse.tls import Certificates
from node.pipeline.catalogue import Catalogue
from node.pipeline.commitment import Commitments, Committing
from node.pipeline.deliver import Outcome
from node.pipeline.identity import Known
from node.pipeline.trail import Tell, untold
from node.web import qido, stow_client


@dataclass(frozen=True)
class Peers:
    settings: Settings
    certificates: Certificates | None = None  # needed where tls.destinations names anybody

    def find(self, name: str) -> Destination:
        """A destination of the ledger; one that left the settings is treated as usual."""
        known = {peer.name: peer for peer in self.settings.peers}
        return known.get(name) or replace(Destination.named(name), objects=self.settings.objects)

    def send(self, destination: Destination, files: Sequence[Path]) -> list[Outcome]:
        if destination.url:
            stored = stow_client.store(self._service(destination), files)
            return [Outcome(one.status, one.comment, one.delivered, one.away) for one in stored]
        sent = scu.send(self._address(destination), files)
        return [Outcome(one.status, one.comment, one.delivered, one.away) for one in sent]

    def probe(self, destination: Destination) -> str:
        """Empty when it is there, else the problem in words."""
        if destination.url:
            return stow_client.probe(self._service(destination))
        return scu.echo(self._address(destination))

    def ask(self, destination: Destination, study_uids: Sequence[str]) -> Mapping[str, Known]:
        """As whom it knows the studies, by C-FIND at the destination itself or by the QIDO-RS service it has."""
        check = destination.objects.identity_check if destination.objects else ""
        if check == "c-find":
            return query.find_studies(self._address(destination), study_uids)
        return qido.find_studies(check, study_uids, self.settings.delivery.dimse_timeout_seconds)

    def services(self, catalogue: Catalogue, archive: Archive, tell: Tell = untold) -> list[Service]:
        """What the receiver offers beside storage. tell: the audit trail."""
        wanted = self.settings.query
        if not wanted.serve:
            return []

        def site_of(called_aet: str) -> str | None:
            return site_called(self.settings.sites, called_aet)

        find = FindService(catalogue, self.settings.node.aet, wanted.max_matches, tell, site_of)
        return [find, RetrieveService(catalogue, archive, self.move_destinations, tell, site_of)]

    def commitment(self, commitments: Commitments) -> CommitmentService:
        """What the receiver offers of storage commitment, the reports of destinations included."""
        return CommitmentService(commitments, self.told_at, self.settings.commitment.serve)

    def committing(self, commitments: Commitments, database: Database, clock: Callable[[], datetime]) -> Committing:
        """What asks destinations to commit."""

        def request(destination: Destination, transaction_uid: str, instances: Sequence[Named]) -> str:
            return ask(self._address(destination), transaction_uid, instances, commitments)

        return Committing(database, clock, timedelta(seconds=self.settings.commitment.ask_again_seconds), request)

    def told_at(self, aet: str, address: str) -> Peer | None:
        """Where one who asked for commitment listens: as [commitment] says, as a destination, or whence it asked."""
        wanted = self.settings.commitment
        named = {peer.aet: peer for peer in (*self._dicom_peers(), *map(Destination.parse, wanted.peers))}
        if aet in named:
            return self._address(named[aet])
        return self._address(Destination(aet, address, wanted.default_port)) if wanted.default_port else None

    def move_destinations(self, site: str = "") -> dict[str, Peer]:
        """Whom C-MOVE may send to, by AE title: the destinations of results, the site's own alone, and those of
        [query], which go first."""
        own = (peer for peer in of_site(self.settings, site).peers if not peer.url)
        extra = (Destination.parse(text) for text in self.settings.query.move_destinations)
        return {peer.aet: self._address(peer) for peer in (*own, *extra)}

    def _dicom_peers(self) -> list[Destination]:
        return [peer for peer in self.settings.peers if not peer.url]

    def _service(self, destination: Destination) -> stow_client.Service:
        authorization = destination.objects.authorization if destination.objects else ""
        return stow_client.Service(destination.url, self.settings.delivery.dimse_timeout_seconds, authorization)

    def _address(self, destination: Destination) -> Peer:
        delivery = self.settings.delivery
        return Peer(
            destination.host,
            destination.port,
            destination.aet,
            self.settings.node.aet,
            delivery.acse_timeout_seconds,
            delivery.dimse_timeout_seconds,
            self.certificates if destination.name in self.settings.tls.destinations else None,
        )
