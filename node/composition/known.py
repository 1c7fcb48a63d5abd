"""Who the peers of a node are, and what it offers to them: all that a receiver has to know of them.

Part of the composition root. How results reach them is ``peers``; what that takes to import, each receiver would wait
for at its start.
"""

from __future__ import annotations

from dataclasses import dataclass

from node.archive import Archive
from node.core.settings import Destination, Settings
from node.core.site import of_site, site_called
from node.dimse.associating import Peer
from node.dimse.commitment import CommitmentService
from node.dimse.find import FindService
from node.dimse.retrieve import RetrieveService
from node.dimse.scp import Service
from node.dimse.tls import Certificates
from node.pipeline.catalogue import Catalogue
from node.pipeline.commitment import Commitments
from node.pipeline.trail import Tell, untold


@dataclass(frozen=True)
class KnownPeers:
    settings: Settings
    certificates: Certificates | None = None  # needed where tls.destinations names anybody

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

    def told_at(self, aet: str, address: str) -> Peer | None:
        """Where one who asked for commitment listens: as [commitment] says, as a destination, or whence it asked."""
        wanted = self.settings.commitment
        named = {peer.aet: peer for peer in (*self._dicom_peers(), *map(Destination.parse, wanted.peers))}
        if aet in named:
            return self.address(named[aet])
        return self.address(Destination(aet, address, wanted.default_port)) if wanted.default_port else None

    def move_destinations(self, site: str = "") -> dict[str, Peer]:
        """Whom C-MOVE may send to, by AE title: the destinations of results, the site's own alone, and those of
        [query], which go first."""
        own = (peer for peer in of_site(self.settings, site).peers if not peer.url)
        extra = (Destination.parse(text) for text in self.settings.query.move_destinations)
        return {peer.aet: self.address(peer) for peer in (*own, *extra)}

    def _dicom_peers(self) -> list[Destination]:
        return [peer for peer in self.settings.peers if not peer.url]

    def address(self, destination: Destination) -> Peer:
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
