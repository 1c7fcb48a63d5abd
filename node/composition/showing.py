"""The pages people use, put together: each is given what it reads and what it may ask to be done.

Part of the composition root: it ties settings and models to the rooms that the pages ask.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from starlette.routing import BaseRoute

from models.api import Registry
from node.archive import Archive
from node.composition.peers import Peers
from node.composition.publishing import viewer_folder
from node.core.settings import Settings
from node.core.site import of_site
from node.db.session import Database
from node.pipeline.catalogue import Catalogue
from node.web.dicomweb.renderings import Renderings
from node.web.pages.audit_page import AuditTrail
from node.web.pages.destinations import Destinations
from node.web.pages.effective import Effective
from node.web.pages.images import Images
from node.web.pages.models import Models
from node.web.pages.reports import Reports
from node.web.pages.site import Site
from node.web.pages.studies import Studies
from node.web.pages.study import OneStudy
from node.web.pages.upload import Upload


def routes(
    site: Site,
    effective: Settings,
    database: Database,
    archive: Archive,
    catalogue: Catalogue,
    registry: Registry,
    peers: Peers,
    clock: Callable[[], datetime],
) -> list[BaseRoute]:
    cards, dicomweb = registry.cards(), effective.dicomweb
    has_viewer = dicomweb.serve and (viewer_folder(dicomweb) / "index.html").is_file()
    store = f"{dicomweb.prefix}/studies" if dicomweb.serve else ""
    analyses = [of_site(effective, name).analysis for name in ("", *effective.sites)]
    names = tuple(peer.name for peer in effective.peers)
    pages = (
        Studies(site, database),
        OneStudy(site, database, {card.system: card for card in cards}, catalogue.describe, clock, has_viewer),
        Images(site, database, archive, catalogue, Renderings(dicomweb.most_renderings)),
        Upload(site, store, dicomweb.most_upload_bytes),
        Models(site, cards, analyses, registry.verify),
        Destinations(site, database, names, lambda name: peers.probe(peers.find(name)), clock),
        Reports(site, database, clock),
        Effective(site, effective),
        AuditTrail(site, database),
    )
    return [*site.frame(), *(route for page in pages for route in page.routes())]
