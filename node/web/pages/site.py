"""What every page shares: templates, navigation, header fields of security, errors in words, and how a route is made.

A page is a synchronous function of the request (and of a posted form) that returns a response; it runs in a thread.
Who may see it stands on its route (``needs``); the frame of the page offers what the visitor may.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from sqlalchemy.exc import OperationalError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from models.api import RESEARCH_USE_ONLY
from node import __version__
from node.core.errors import LungnodeError, Refused, Transient
from node.web.auth.needs import ANYBODY, LOGGED_IN, csrf_token, form, needs, who
from node.web.dicomweb.renderings import Renderings
from node.web.pages import charts, words

logger = logging.getLogger(__name__)
HERE = Path(__file__).parent
STATIC = "/static"
Posted = Mapping[str, str]
Answer = Callable[[Request, Posted], Response]
NAVIGATION = (  # path, words, the right it needs
    ("/studies", "Studies", "view"),
    ("/upload", "Upload", "store"),
    ("/models", "Models", "figures"),
    ("/reports", "Reports", "figures"),
    ("/destinations", "Destinations", "settings"),
    ("/settings", "Settings", "settings"),
    ("/audit", "Audit", "audit"),
)
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
SAID = {  # for those whom no sentence of a page reached
    400: "The request cannot be understood.",
    403: "You may not see this.",
    404: "There is no such page here.",
    405: "This page does not do that.",
    500: "This is a fault of the node. Its log has the event page.failed.",
    503: "The database does not answer. Try again in a moment.",
}


@dataclass(frozen=True)
class Site:
    """aet: the name of the node in its header."""

    aet: str
    environment: Environment = field(default_factory=lambda: _environment())

    def page(self, request: Request, template: str, status: int = 200, **known: Any) -> HTMLResponse:
        account = who(request)
        frame = {
            "account": account,
            "csrf": csrf_token(request),
            "navigation": [(path, text) for path, text, right in NAVIGATION if account.may(right)],
            "path": request.url.path,
            "aet": self.aet,
        }
        text = self.environment.get_template(template).render(**frame, **known)
        return HTMLResponse(text, status, HEADERS)

    def route(
        self,
        path: str,
        answer: Answer,
        right: str,
        methods: Sequence[str] = ("GET",),
        renderings: Renderings | None = None,
    ) -> Route:
        """answer: is given the fields of a posted form, or none. renderings: among which it waits for its turn."""

        async def endpoint(request: Request) -> Response:
            posted = await form(request) if request.method == "POST" else {}
            if renderings is not None:
                return await renderings.answer(lambda asked: self._answered(answer, asked, posted), request)
            return await run_in_threadpool(self._answered, answer, request, posted)

        return Route(path, endpoint, methods=list(methods), middleware=[needs(right)])

    def frame(self) -> list[BaseRoute]:
        """What belongs to no page: the way in, and the files of the style and the scripts."""
        files = StaticFiles(directory=HERE / "static")
        return [
            self.route("/", self._entrance, LOGGED_IN),
            Mount(STATIC, files, middleware=[needs(ANYBODY)]),
        ]

    def handlers(self) -> Mapping[Any, Callable[[Request, Exception], Response]]:
        """For the application: errors outside of the pages, as pages for people and as JSON for programs."""
        return {HTTPException: self._error, OperationalError: self._without_database}

    def _entrance(self, request: Request, _: Posted) -> Response:
        may = who(request).may
        first = next((path for path, _, right in NAVIGATION if may(right)), None)
        if first is None:
            raise HTTPException(403, "Your account has no right to any page of this node.")
        return RedirectResponse(first, 303)

    def _answered(self, answer: Answer, request: Request, posted: Posted) -> Response:
        try:
            return answer(request, posted)
        except HTTPException as error:
            return self._error(request, error)
        except OperationalError as error:
            return self._without_database(request, error)
        except LungnodeError as error:
            status = 422 if isinstance(error, Refused) else 503 if isinstance(error, Transient) else 500
            return self._error(request, HTTPException(status, str(error)))
        except FileNotFoundError:
            return self._error(request, HTTPException(404, "The file of this image is no longer in the archive."))
        except Exception:
            logger.exception("page.failed", extra={"fields": {"path": request.scope["route"].path}})
            return self._error(request, HTTPException(500, SAID[500]))

    def _without_database(self, request: Request, error: Exception) -> Response:
        logger.error("page.not_answered", exc_info=error, extra={"fields": {"path": request.url.path}})
        return self._error(request, HTTPException(503, SAID[503]))

    def _error(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        usual = error.detail == HTTPStatus(error.status_code).phrase
        sentence = SAID.get(error.status_code, error.detail) if usual else error.detail
        title = HTTPStatus(error.status_code).phrase
        if "text/html" not in request.headers.get("accept", ""):
            said = {"title": title, "status": error.status_code, "detail": sentence}
            return JSONResponse(said, error.status_code, error.headers, media_type="application/problem+json")
        found = self.page(request, "error.html", error.status_code, title=title, sentence=sentence)
        found.headers.update(error.headers or {})
        return found


def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        auto_reload=False,  # an upgrade beside a node that runs changes none of its pages
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals |= {"research": RESEARCH_USE_ONLY, "version": __version__, "static": _static, "words": words}
    made.globals |= {"bar": charts.bar}
    made.filters |= {"moment": words.moment, "class_name": words.class_name}
    return made


def _static(name: str) -> str:
    """The path of a file with a digest of what is in it, so that a browser never keeps an older one."""
    digest = hashlib.sha256((HERE / "static" / name).read_bytes()).hexdigest()[:12]
    return f"{STATIC}/{name}?{digest}"
