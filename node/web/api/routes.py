"""The routes of ``/api/v1``. A route reads its parameters by the tables of filters, asks ``db.queries`` and answers.

Every page can be asked for by GET, with the parameters in the URL, or by POST, with the same ones as a JSON object, so
that a Patient ID need not stand in a URL. Each route names the right that it needs. No value of a filter is logged.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from sqlalchemy.exc import OperationalError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from node.core.audit import AuditEvent
from node.core.filters import FILTERS, BadFilter, parse
from node.core.rights import Account
from node.core.tabular import plain as plain_value
from node.db import audit, verdicts
from node.db.queries import aggregate, pages
from node.db.queries.fields import Resource
from node.db.queries.resources import RESOURCES
from node.db.session import Database
from node.web.api import answers, openapi
from node.web.api.answers import Problem
from node.web.auth.needs import LOGGED_IN, needs, who

logger = logging.getLogger(__name__)
PREFIX = "/api/v1"
CONTROLS = ("sort", "limit", "cursor", "format")
LARGEST_BODY = 1 << 16
LONGEST_COMMENT = 500
Given = dict[str, str]
Answer = Callable[[Request, Given], Response]


@dataclass(frozen=True)
class Api:
    """clock: for what is written. Reads and writes the database alone."""

    database: Database
    clock: Callable[[], datetime]

    def routes(self) -> list[Route]:
        rights = {name: "audit" if name == "audit" else "view" for name in RESOURCES}
        found = [_route(name, self._page_of(resource), rights[name]) for name, resource in RESOURCES.items()]
        return [
            *found,
            _route("aggregate", self._aggregate, "figures"),
            Route(f"{PREFIX}/openapi.json", self._openapi, methods=["GET"], middleware=[needs(LOGGED_IN)]),
            _route("analyses/{number}/verdicts", self._verdicts, "view", ("GET",)),
            _route("analyses/{number}/verdict", self._verdict, "judge", ("POST",)),
        ]

    def _page_of(self, resource: Resource) -> Answer:
        def answer(request: Request, given: Given) -> Response:
            controls = {name: given.pop(name, "") for name in CONTROLS}
            form, limit = answers.form_of(request, controls["format"]), _limit(controls["limit"])
            wanted = parse(given, resource.filters)
            with self.database.read() as session:
                page = pages.page(session, resource, wanted, controls["sort"], limit, controls["cursor"])
            return answers.rows(page, form, _following(request, page.next))

        return answer

    def _aggregate(self, request: Request, given: Given) -> Response:
        form, by = answers.form_of(request, given.pop("format", "")), aggregate.parse(given.pop("by", ""))
        wanted = parse(given, aggregate.FILTERS)
        with self.database.read() as session:
            page = aggregate.aggregate(session, wanted, by)
        return answers.rows(page, form, None)

    def _openapi(self, _: Request) -> Response:
        return answers.plain(openapi.document())

    def _verdicts(self, request: Request, given: Given) -> Response:
        parse(given, ())
        number = _number(request)
        with self.database.read() as session:
            if verdicts.study_of(session, number) is None:
                raise _no_analysis(number)
            found = verdicts.given(session, number)
        return answers.plain(
            {"rows": [{name: plain_value(value) for name, value in vars(one).items()} for one in found]}
        )

    def _verdict(self, request: Request, given: Given) -> Response:
        number = _number(request)
        said = _read_verdict(given, self.clock(), who(request))
        with self.database.write() as session:
            study_uid = verdicts.study_of(session, number)
            if study_uid is None:
                raise _no_analysis(number)
            if verdicts.names_the_patient(session, number, f"{said.comment} {said.reader}"):
                raise bad("comment", "it names the patient or the request; it is kept without them or not at all")
            verdicts.give(session, number, said)
            audit.append(session, _told(request, said, study_uid, number), said.at)
        return answers.plain({name: plain_value(value) for name, value in vars(said).items()}, status=201)


def bad(name: str, sentence: str) -> Problem:
    return answers.bad(BadFilter(name, f"{name}: {sentence}"))


def _no_analysis(number: int | str) -> Problem:
    return Problem(404, f"There is no analysis {number}.")


def _number(request: Request) -> int:
    text = request.path_params["number"]
    if not re.fullmatch(r"[0-9]{1,9}", text):  # a column of the database holds them all
        raise _no_analysis(text[:32])
    return int(text)


def _read_verdict(given: Given, now: datetime, account: Account) -> verdicts.Verdict:
    """Who logged in speaks for themselves; without a login a verdict says whose it is."""
    for name in given:
        if name not in ("reader", "verdict", "comment"):
            raise bad(name, "a verdict has reader, verdict and comment")
    verdict, comment, own = given.get("verdict", ""), given.get("comment", ""), account.way != "loopback"
    reader = given.get("reader", account.name if own else "")
    if own and reader != account.name:
        raise Problem(403, f"A verdict is given in one's own name, {account.name}.")
    if not re.fullmatch(r"[A-Za-z0-9._@-]{1,64}", reader):
        raise bad("reader", "who says it, 1 to 64 letters, digits, '.', '_', '@' or '-'")
    if verdict not in verdicts.VERDICTS:
        raise bad("verdict", f"one of {', '.join(verdicts.VERDICTS)}")
    if len(comment) > LONGEST_COMMENT or "\0" in comment:
        raise bad("comment", f"a text of at most {LONGEST_COMMENT} characters")
    return verdicts.Verdict(reader, verdict, comment, now)


def _told(request: Request, said: verdicts.Verdict, study_uid: str, number: int) -> AuditEvent:
    address = request.client.host if request.client else ""
    details = {"analysis": number, "verdict": said.verdict}
    return AuditEvent("verdict", actor=said.reader, address=address, study_uid=study_uid, details=details)


def _limit(text: str) -> int:
    if not text:
        return pages.USUAL
    if not re.fullmatch(r"[0-9]{1,9}", text) or not 1 <= int(text) <= pages.MOST:
        raise bad("limit", f"{text!r} is not a number from 1 to {pages.MOST}")
    return int(text)


def _following(request: Request, cursor: str | None) -> str | None:
    """The next page's URL; of a POST there is none, its body has to be sent again with the cursor."""
    if cursor is None or request.method == "POST":
        return None
    given = {**request.query_params, "cursor": cursor}
    return f"{request.url.path}?{urlencode(given)}"


def _route(path: str, answer: Answer, right: str, methods: tuple[str, ...] = ("GET", "POST")) -> Route:
    async def endpoint(request: Request) -> Response:
        try:
            given = await _given(request)
            request.scope["lungnode.asked"] = {"asked": _not_identifying(given)}
            return await run_in_threadpool(answer, request, given)
        except Problem as problem:
            return problem.answer()
        except HTTPException as error:
            return Problem(error.status_code, error.detail).answer()
        except BadFilter as error:
            return answers.bad(error).answer()
        except OperationalError:
            logger.exception("api.not_answered", extra={"fields": {"path": request.url.path}})
            return Problem(503, "The database does not answer; try again later.").answer()
        except Exception:
            logger.exception("api.failed", extra={"fields": {"path": request.url.path}})
            return Problem(500, "This is a fault of the node; its log has the event api.failed.").answer()

    return Route(f"{PREFIX}/{path}", endpoint, methods=list(methods), middleware=[needs(right)])


def _not_identifying(given: Given) -> Given:
    """What the audit trail has of a question; of what identifies a patient only that it was asked for."""
    named = {name for name, one in FILTERS.items() if one.identifying} | {"comment", "cursor"}
    return {
        name[:64]: "given" if name in named or name not in FILTERS else value[:128] for name, value in given.items()
    }


async def _given(request: Request) -> Given:
    """The parameters: of the URL, or of the JSON object that was posted."""
    if request.method != "POST":
        return _once(request.query_params.multi_items())
    if request.url.query:
        raise Problem(400, "A POST has its parameters in the body, not in the URL.")
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind != "application/json":
        raise Problem(415, "The body is a JSON object, application/json.")
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > LARGEST_BODY:
            raise Problem(413, f"The body has at most {LARGEST_BODY} bytes.")
    try:
        given = json.loads(body)
    except (ValueError, RecursionError):
        given = None
    if not isinstance(given, Mapping):
        raise Problem(400, "The body is not a JSON object.")
    return _once([(name, _text(name, value)) for name, value in given.items()])


def _once(items: list[tuple[str, str]]) -> Given:
    given: Given = {}
    for name, value in items:
        if name in given:
            raise bad(name, "it is given twice")
        given[name] = value
    return given


def _text(name: str, value: Any) -> str:
    """A JSON value as a URL would have it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (str, int, float)):
        return str(value)
    raise bad(name, "a text, a number or a truth value")
