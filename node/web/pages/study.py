"""The page of one study, and what a person may do about it: another analysis, another try of deliveries, a verdict."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import BaseRoute

from models.api import Card
from node.core.audit import AuditEvent
from node.core.study import StudyState
from node.db import audit, destinations, story, stuck, study_page, told, verdicts, worklist
from node.db.queries.resources import OWED
from node.db.session import Database
from node.db.study_page import StudyView
from node.db.verdicts import Verdict
from node.pipeline.header import is_uid
from node.web.auth.needs import who
from node.web.pages import reading, words
from node.web.pages.site import HEADERS, Posted, Site

LONGEST_COMMENT = 500
DONE = {  # what a page says after something was done
    "again": "It goes to analysis again. With the same models and settings the result stands; the story says so.",
    "deliver": "What was waiting or given up is being delivered now.",
    "nothing": "Nothing was waiting or given up: every object was delivered, or is owed to nobody.",
    "verdict": "Your verdict was kept.",
}


@dataclass(frozen=True)
class OneStudy:
    """cards: by system. describe: reads the names of what has just come. has_viewer: OHIF is installed and there is a
    DICOMweb service for it."""

    site: Site
    database: Database
    cards: Mapping[str, Card]
    describe: Callable[[], None]
    clock: Callable[[], datetime]
    has_viewer: bool

    def routes(self) -> list[BaseRoute]:
        route = self.site.route
        return [
            route("/studies/{study}", self._page, "view"),
            route("/studies/{study}/progress", self._progress, "view"),
            route("/studies/{study}/state", self._state, "view"),
            route("/studies/{study}/again", self._again, "steer", methods=("POST",)),
            route("/studies/{study}/deliver", self._deliver, "steer", methods=("POST",)),
            route("/studies/{study}/verdict", self._verdict, "judge", methods=("POST",)),
        ]

    def _page(self, request: Request, _: Posted) -> Response:
        self.describe()
        with self.database.read() as session:
            view = _found(session, request)
            given = verdicts.given(session, view.analysis.number) if view.analysis else []
        analysis = view.analysis
        return self.site.page(
            request,
            "study.html",
            view=view,
            reads=reading.reads(analysis, view.images, self.cards) if analysis else [],
            two_steps=reading.two_steps(analysis, view.images) if analysis else [],
            refusals=[model for model in analysis.models if model.refused] if analysis else [],
            viewer=(shown := reading.viewer(view)),
            slices=reading.slices(shown),
            taken=[image for image in view.images if image.taken],
            left_out=[image for image in view.images if image.taken is False],
            is_moving=_is_moving(view),
            verdicts=given,
            has_viewer=self.has_viewer,
            may=who(request).may,
            done=DONE.get(request.query_params.get("done", ""), ""),
        )

    def _progress(self, request: Request, _: Posted) -> Response:
        """The state and the story, for the script that keeps them up to date."""
        with self.database.read() as session:
            view = _found(session, request)
        reload = request.query_params.get("from") in words.MOVING and view.state not in words.MOVING
        text = self.site.environment.get_template("progress.html").render(view=view, reload=reload)
        tag = f'"{hashlib.sha256(text.encode()).hexdigest()[:32]}"'
        headers = {**HEADERS, "Cache-Control": "private, no-cache", "ETag": tag}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return HTMLResponse(text, headers=headers)

    def _state(self, request: Request, _: Posted) -> Response:
        """For the upload page, which follows what it sent."""
        with self.database.read() as session:
            line = story.study_line(session, _uid(request))
            outcome = worklist.outcome(session, _uid(request))
        if line is None:
            raise HTTPException(404, "There is no such study here.")
        said = {"words": words.state(line.state, outcome), "tone": words.tone(line.state, outcome)}
        return JSONResponse({"state": line.state, "sentence": line.sentence, **said}, headers=HEADERS)

    def _again(self, request: Request, _: Posted) -> Response:
        study = _uid(request)
        with self.database.write() as session:
            view = _found(session, request)
            told.command(session, who(request).said, "analyse again", self.clock(), study)
            if view.state is StudyState.FAILED:
                refused = "" if stuck.study_again(session, study, self.clock()) else "The analysis has begun already."
            else:
                refused = stuck.study_anew(session, study, self.clock())
        if refused:
            raise HTTPException(409, refused)
        return _back(study, "again")

    def _deliver(self, request: Request, _: Posted) -> Response:
        study = _uid(request)
        with self.database.write() as session:
            view = _found(session, request)
            told.command(session, who(request).said, "deliver again", self.clock(), study)
            names = dict.fromkeys(one.destination for one in view.sent if one.destination)
            for name in names:
                destinations.retry(session, name, self.clock(), study)
        return _back(study, "deliver" if any(one.state in OWED for one in view.sent) else "nothing")

    def _verdict(self, request: Request, posted: Posted) -> Response:
        study, account = _uid(request), who(request)
        verdict, comment = posted.get("verdict", ""), posted.get("comment", "").strip()
        if verdict not in verdicts.VERDICTS:
            raise HTTPException(400, "Say whether you agree, disagree or are unsure.")
        if len(comment) > LONGEST_COMMENT or "\0" in comment:
            raise HTTPException(400, f"A comment has at most {LONGEST_COMMENT} characters.")
        with self.database.write() as session:
            analysis = _found(session, request).analysis
            if analysis is None or str(analysis.number) != posted.get("analysis"):
                raise HTTPException(409, "The study has another analysis by now: look at that one first.")
            if verdicts.names_the_patient(session, analysis.number, comment):
                raise HTTPException(400, "The comment names the patient or the request; write it without.")
            said = Verdict(account.name, verdict, comment, self.clock())
            verdicts.give(session, analysis.number, said)
            details = {"analysis": analysis.number, "verdict": verdict}
            address = request.client.host if request.client else ""
            event = AuditEvent("verdict", actor=account.said, address=address, study_uid=study, details=details)
            audit.append(session, event, said.at)
        return _back(study, "verdict")


def _uid(request: Request) -> str:
    study = str(request.path_params["study"])
    if not is_uid(study):
        raise HTTPException(404, "There is no such study here.")
    return study


def _found(session: Session, request: Request) -> StudyView:
    view = study_page.read(session, _uid(request))
    if view is None:
        raise HTTPException(404, "There is no such study here.")
    return view


def _is_moving(view: StudyView) -> bool:
    return view.state in words.MOVING or any(one.state in ("waiting", "committing") for one in view.sent)


def _back(study: str, done: str) -> Response:
    return RedirectResponse(f"/studies/{study}?done={done}", 303)
