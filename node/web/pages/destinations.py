"""Where results go: how each destination stands, what waits for it and why, and what an operator may do about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlencode

from pydicom.uid import UID
from sqlalchemy.orm import Session
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute

from node.core import tabular
from node.db import destinations, fallback, stuck, told
from node.db.destinations import Standing
from node.db.queries import pages
from node.db.queries.resources import DELIVERIES
from node.db.session import Database
from node.db.stuck import DestinationState, Stuck
from node.web.auth.needs import who
from node.web.pages.site import Posted, Site

SHOWN = 20  # of what waits
DONE = {
    "pause": "It is sent nothing from now on. An association that is under way ends as it ends.",
    "resume": "It is sent to again.",
    "retry": "What waits or was given up is sent now.",
    "forget": "What it did not take is tried again.",
}


@dataclass(frozen=True)
class Shown:
    state: DestinationState
    standing: Standing
    refused: tuple[str, ...]  # names of SOP classes
    stuck: tuple[Stuck, ...]
    queue: tuple[dict[str, object], ...]


@dataclass(frozen=True)
class Destinations:
    """configured: names from the settings. probe: C-ECHO or a search, by name; its problem in words, else empty."""

    site: Site
    database: Database
    configured: tuple[str, ...]
    probe: Callable[[str], str]
    clock: Callable[[], datetime]

    def routes(self) -> list[BaseRoute]:
        return [
            self.site.route("/destinations", self._page, "settings"),
            self.site.route("/destinations", self._act, "steer", methods=("POST",)),
        ]

    def _page(self, request: Request, _: Posted) -> Response:
        done = DONE.get(request.query_params.get("done", ""), "")
        return self._shown(request, request.query_params.get("of", ""), done, bad=False)

    def _shown(self, request: Request, named: str, said: str, bad: bool) -> Response:
        with self.database.read() as session:
            backlog = {one.name: one for one in stuck.backlog(session).destinations}
            problems = stuck.stuck(session)
            names = dict.fromkeys((*self.configured, *backlog))
            found = [self._one(session, name, backlog.get(name), problems) for name in names]
        return self.site.page(
            request,
            "destinations.html",
            found=found,
            named=named,
            said=said,
            bad=bad,
            is_url=_is_url,
            may_steer=who(request).may("steer"),
            sees_studies=who(request).may("view"),  # what a peer said may quote a patient
        )

    def _one(self, session: Session, name: str, state: DestinationState | None, problems: list[Stuck]) -> Shown:
        waits = pages.page(session, DELIVERIES, {"destination": name, "state": "waiting"}, "owed_at", SHOWN)
        refused = sorted(UID(uid).name for uid in fallback.refused_classes(session, name))
        return Shown(
            state or DestinationState(name, "delivered", 0, None, 0, 0, None, None),
            destinations.standing(session, name),
            tuple(refused),
            tuple(one for one in problems if one.subject == name),
            tuple(tabular.as_objects(DELIVERIES.names, waits.rows)),
        )

    def _act(self, request: Request, posted: Posted) -> Response:
        action, name = posted.get("action", ""), posted.get("of", "")
        with self.database.read() as session:
            if name not in (*self.configured, *fallback.destinations(session)):
                raise HTTPException(400, "There is no such destination here.")
        if action == "test":
            problem = self.probe(name)
            return self._shown(
                request, name, f"Does not answer: {problem}" if problem else "It answers.", bool(problem)
            )
        if action not in DONE:
            raise HTTPException(400, "There is no such action.")
        with self.database.write() as session:
            told.command(session, who(request).said, f"destinations {action} {name}", self.clock())
            _do(session, action, name, self.clock())
        return RedirectResponse(f"/destinations?{urlencode({'of': name, 'done': action})}", 303)


def _do(session: Session, action: str, name: str, now: datetime) -> None:
    if action == "pause":
        destinations.pause(session, name, now)
    elif action == "resume":
        destinations.resume(session, name)
    elif action == "retry":
        destinations.retry(session, name, now)
    else:
        fallback.forget(session, name, now)


def _is_url(name: str) -> bool:
    return "://" in name
