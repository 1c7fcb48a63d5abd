"""The list of studies: newest first, by filters, page by page. A script asks for its rows anew; an ETag spares them.

What names a patient is looked for by a posted form, so that it stands in no URL and in no log.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from urllib.parse import urlencode

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute

from node.core.study import StudyState
from node.db import worklist
from node.db.session import Database
from node.db.worklist import Page, Wanted
from node.web.pages import words
from node.web.pages.site import HEADERS, Posted, Site

LONGEST_SEARCH = 64
MODALITIES = ("CR", "DX", "CT")


@dataclass(frozen=True)
class Studies:
    site: Site
    database: Database

    def routes(self) -> list[BaseRoute]:
        return [
            self.site.route("/studies", self._page, "view"),
            self.site.route("/studies", self._search, "view", methods=("POST",)),
            self.site.route("/studies/rows", self._rows, "view"),
        ]

    def _page(self, request: Request, _: Posted) -> Response:
        return self._shown(request, _wanted(request.query_params))

    def _search(self, request: Request, posted: Posted) -> Response:
        person = posted.get("person", "").strip()
        if len(person) > LONGEST_SEARCH or "\0" in person:
            raise HTTPException(400, f"A search has at most {LONGEST_SEARCH} characters.")
        return self._shown(request, Wanted(person=person))

    def _shown(self, request: Request, wanted: Wanted) -> Response:
        with self.database.read() as session:
            found = worklist.page(session, wanted, _after(request))
            states = worklist.states(session)
        return self.site.page(
            request,
            "studies.html",
            found=found,
            wanted=wanted,
            choices=[(state.value, words.STATES[state], states.get(state.value, 0)) for state in StudyState],
            modalities=MODALITIES,
            total=sum(states.values()),
            following=_following(wanted, found),
            is_first="after" not in request.query_params,
            live=f"/studies/rows?{request.url.query}".rstrip("?") if not wanted.person else "",
        )

    def _rows(self, request: Request, _: Posted) -> Response:
        """The rows alone, for the script that keeps them up to date."""
        wanted = _wanted(request.query_params)
        with self.database.read() as session:
            found = worklist.page(session, wanted, _after(request))
        text = self.site.environment.get_template("rows.html").render(found=found)
        tag = f'"{hashlib.sha256(text.encode()).hexdigest()[:32]}"'
        headers = {**HEADERS, "Cache-Control": "private, no-cache", "ETag": tag}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return HTMLResponse(text, headers=headers)


def _wanted(given: Mapping[str, str]) -> Wanted:
    state, modality, day = (given.get(name, "") for name in ("state", "modality", "day"))
    if state and state not in set(StudyState):
        raise HTTPException(400, "There is no such state of a study.")
    if not re.fullmatch(r"[A-Z]{0,16}", modality):
        raise HTTPException(400, "A modality is two capital letters, such as DX.")
    if day:
        try:
            if date.fromisoformat(day).isoformat() != day:
                raise ValueError
        except ValueError:
            raise HTTPException(400, "A day is written as 2026-01-31.") from None
    return Wanted(state, modality, day)


def _after(request: Request) -> tuple[datetime, int] | None:
    cursor = request.query_params.get("after", "")
    if not cursor:
        return None
    try:
        at, number = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        found = datetime.fromisoformat(at)
        found = found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
        if type(number) is not int or not 0 <= number < 2**63:
            raise ValueError
    except (ValueError, TypeError, OverflowError, RecursionError):
        raise HTTPException(400, "This page of the list does not exist; begin with the first.") from None
    return found, number


def _following(wanted: Wanted, found: Page) -> str:
    """The address of the next page; empty: this is the last, or the list was searched."""
    if found.next is None or wanted.person:
        return ""
    at, number = found.next
    cursor = base64.urlsafe_b64encode(json.dumps([at.isoformat(), number]).encode()).decode().rstrip("=")
    given = {"state": wanted.state, "modality": wanted.modality, "day": wanted.day, "after": cursor}
    return "/studies?" + urlencode({name: value for name, value in given.items() if value})
