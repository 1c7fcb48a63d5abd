"""The upload page: DICOM files from a person's disk, sent by its script to the Store Transaction of DICOMweb (STOW-RS).

So a film that a person drops here takes the way of one that a modality sends: the same checks, durable before it is
acknowledged, refused with the same sentences.
"""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from node.web.pages import words
from node.web.pages.site import Posted, Site


@dataclass(frozen=True)
class Upload:
    """store: the path of STOW-RS; empty: there is no DICOMweb service. largest: bytes of one request."""

    site: Site
    store: str
    largest: int

    def routes(self) -> list[BaseRoute]:
        return [self.site.route("/upload", self._page, "store")]

    def _page(self, request: Request, _: Posted) -> Response:
        told = {"store": self.store, "largest": self.largest, "reasons": words.REASONS}
        return self.site.page(request, "upload.html", told=told)
