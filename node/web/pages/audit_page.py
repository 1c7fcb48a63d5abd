"""The audit trail, to search: newest first, by time, kind, outcome, account and study, page by page."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from node.core import tabular
from node.core.audit import KINDS, OUTCOMES
from node.core.filters import BadFilter, parse
from node.db import audit
from node.db.queries import pages
from node.db.queries.resources import AUDIT
from node.db.session import Database
from node.web.auth.needs import who
from node.web.pages.site import Posted, Site

PAGE = 50


@dataclass(frozen=True)
class AuditTrail:
    site: Site
    database: Database

    def routes(self) -> list[BaseRoute]:
        return [self.site.route("/audit", self._page, "audit")]

    def _page(self, request: Request, _: Posted) -> Response:
        given = {name: request.query_params[name].strip() for name in AUDIT.filters if request.query_params.get(name)}
        cursor = request.query_params.get("cursor", "")
        request.scope["lungnode.asked"] = {"asked": given}
        try:
            wanted = parse(given, AUDIT.filters)
            with self.database.read() as session:
                found = pages.page(session, AUDIT, wanted, "-id", PAGE, cursor)
                head = audit.head(session)
        except BadFilter as error:
            raise HTTPException(400, str(error)) from None
        return self.site.page(
            request,
            "audit.html",
            rows=[_shown(row) for row in tabular.as_objects(AUDIT.names, found.rows)],
            given=given,
            kinds=KINDS,
            outcomes=tuple(OUTCOMES),
            head=head,
            is_first=not cursor,
            first="/audit?" + urlencode(given),
            following="/audit?" + urlencode({**given, "cursor": found.next}) if found.next else "",
            sees_studies=who(request).may("view"),
        )


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    """With its details as words instead of JSON; what is empty is left out."""
    try:
        details = json.loads(row["details"])
        said = ", ".join(
            f"{name} {_plain(value)}" for name, value in details.items() if value not in ("", [], {}, None)
        )
    except (ValueError, AttributeError):
        said = str(row["details"])
    return {**row, "said": said, "moment": str(row["at"])[:19].replace("T", " ")}


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
