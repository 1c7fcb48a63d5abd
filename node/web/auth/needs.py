"""What a route needs of who asks: ``Route(path, answer, middleware=[needs("view")])``. A test finds routes without it.

Inside, ``who(request)`` is the account, with ``may(scope)``, and ``csrf_token(request)`` what a form posts as ``csrf``
(a script as X-CSRF-Token). Who asks was found before (``identity``); where nothing did, a route is closed. A request
that changes something and is recognised by a cookie, or by this machine's address, must come from our own pages.
"""

from __future__ import annotations

import hmac
import math
from collections.abc import Mapping
from urllib.parse import parse_qs, quote

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from node.core.rights import NOBODY, SCOPES, Account

ANYBODY, LOGGED_IN = "anybody", "logged in"  # instead of a scope: health and login; pages of one's own account
WHO, CSRF, CHALLENGE = "lungnode.who", "lungnode.csrf", "lungnode.challenge"  # where ``identity`` puts what it found
LOGIN = "/login"
SAFE = ("GET", "HEAD", "OPTIONS")
FORM = "application/x-www-form-urlencoded"
LARGEST_FORM = 1 << 16  # bytes
LOGIN_NEEDED = "This needs a login, or a token in the Authorization header."
FOREIGN = "This request did not come from a page of this node, or its page is too old: load it again."


def needs(scope: str) -> Middleware:
    """For ``middleware=`` of a route or a mount. scope: of ``node.core.rights``, ANYBODY or LOGGED_IN."""
    if scope not in (*SCOPES, ANYBODY, LOGGED_IN):
        raise AssertionError(f"there is no scope {scope}")
    return Middleware(Needs, needed=scope)


def who(request: Request) -> Account:
    """Nobody on routes for anybody."""
    found: Account = request.scope.get(WHO, NOBODY)
    return found


def csrf_token(request: Request) -> str:
    """Of this session; empty where there is none."""
    return str(request.scope.get(CSRF, ""))


async def form(request: Request) -> Mapping[str, str]:
    """Of a form that was posted, the first value of each field."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != FORM:
        raise HTTPException(415, "A form is wanted.")
    return _fields(await _body(request.receive))


class Needs:
    """ASGI. needed: what the routes behind it need."""

    def __init__(self, app: ASGIApp, needed: str) -> None:
        self.app, self.needed = app, needed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if "\0" in scope["path"]:
            raise HTTPException(404)  # there is no file of such a name, and to ask for one fails
        account: Account = scope.get(WHO, NOBODY)
        if self.needed != ANYBODY:
            if account is NOBODY:
                await unknown(scope)(scope, receive, send)
                return
            if self.needed != LOGGED_IN and not account.may(self.needed):
                await refused(scope, f"{account.said} may not do this: it needs the right {self.needed}.")(
                    scope, receive, send
                )
                return
            if scope["method"] not in SAFE and account.way in ("session", "loopback"):
                ours, receive = await _is_ours(scope, receive, account)
                if not ours:
                    await refused(scope, FOREIGN)(scope, receive, send)
                    return
        await self.app(scope, receive, send)


def from_here(headers: Headers) -> bool:
    """Whether a browser says that one of our pages sent it. Programs say neither."""
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = headers.get("origin")
    return origin is None or origin.partition("://")[2] == headers.get("host", "")


async def _is_ours(scope: Scope, receive: Receive, account: Account) -> tuple[bool, Receive]:
    """Also what is to be received, since a form has its token in its body."""
    headers = Headers(scope=scope)
    if account.way == "loopback":
        return from_here(headers), receive
    given = headers.get("x-csrf-token", "")
    if not given and headers.get("content-type", "").partition(";")[0].strip().lower() == FORM:
        body = await _body(receive)
        given, receive = _fields(body).get("csrf", ""), _again(body, receive)
    expected = str(scope.get(CSRF, ""))
    return bool(expected) and hmac.compare_digest(given.encode(), expected.encode()), receive


async def _body(receive: Receive) -> bytes:
    body: bytes = b""
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise HTTPException(400, "The request broke off.")
        body += message.get("body", b"")
        if len(body) > LARGEST_FORM:
            raise HTTPException(413, f"A form has at most {LARGEST_FORM} bytes.")
        if not message.get("more_body", False):
            return body


def _again(body: bytes, receive: Receive) -> Receive:
    left = [body]

    async def received() -> Message:
        return {"type": "http.request", "body": left.pop(), "more_body": False} if left else await receive()

    return received


def _fields(body: bytes) -> Mapping[str, str]:
    try:
        found = parse_qs(body.decode("ascii"), keep_blank_values=True, max_num_fields=200)
    except ValueError:
        raise HTTPException(400, "This is no form.") from None
    return {name: values[0] for name, values in found.items()}


def wants_page(scope: Scope) -> bool:
    """A person in a browser, who is shown pages; a program is answered in JSON."""
    headers = Headers(scope=scope)
    return scope["method"] in SAFE and "text/html" in headers.get("accept", "")


def unknown(scope: Scope, sentence: str = LOGIN_NEEDED, retry_seconds: float = 0.0) -> Response:
    """To the login, or 401 with the ways to prove who one is (RFC 9110 section 15.5.2); 429 where it is too early."""
    if retry_seconds:
        return problem(429, "Too Many Requests", sentence, {"Retry-After": str(math.ceil(retry_seconds))})
    if wants_page(scope):
        query = scope["query_string"].decode("latin-1")
        return RedirectResponse(f"{LOGIN}?next={quote(scope['path'] + (f'?{query}' if query else ''))}", 303)
    challenge = scope.get(CHALLENGE, 'Bearer realm="lungnode"')
    return problem(401, "Unauthorized", sentence, {"WWW-Authenticate": challenge})


def refused(scope: Scope, sentence: str) -> Response:
    """403. A page of it is drawn by the handler of exceptions."""
    if wants_page(scope) or Headers(scope=scope).get("content-type", "").startswith(FORM):
        raise HTTPException(403, sentence)
    return problem(403, "Forbidden", sentence)


def problem(status: int, title: str, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    said = {"title": title, "status": status, "detail": detail}
    return JSONResponse(said, status, headers, media_type="application/problem+json")
