"""The pages of login and of one's own account: /login, /logout, /account.

A login makes a new session, whatever cookie the browser had before; the form of the login is bound to a cookie of its
own, so that no other site can log somebody in. Where the audit trail cannot be written nobody is logged in.
"""

from __future__ import annotations

import hmac
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from node.core.audit import AuditEvent
from node.core.errors import Misconfigured
from node.core.rights import SCOPES
from node.db import accounts, audit
from node.db.accounts import User
from node.db.session import Database
from node.web.auth.identity import NOT_IN_THE_CLEAR, Asked, Rules, cookie_name, csrf_of, new_secret
from node.web.auth.needs import ANYBODY, FOREIGN, LOGGED_IN, LOGIN, form, needs, who
from node.web.auth.passwords import SHORTEST, Denied, Passwords, hashed

BEFORE = "lungnode-login"  # the cookie that the form of the login is bound to
HOME = "/"


Shown = Callable[..., Response]  # request, template, status; and what the template wants


@dataclass
class Login:
    """shown: draws a page of ours; has_provider: OpenID Connect is configured."""

    database: Database
    passwords: Passwords
    rules: Rules
    clock: Callable[[], datetime]
    shown: Shown
    has_provider: bool = False

    def routes(self) -> list[BaseRoute]:
        anybody, mine = [needs(ANYBODY)], [needs(LOGGED_IN)]
        return [
            Route(LOGIN, self._form, methods=["GET"], middleware=anybody),
            Route(LOGIN, self._login, methods=["POST"], middleware=anybody),
            Route("/logout", self._logout, methods=["POST"], middleware=mine),
            Route("/account", self._account, methods=["GET"], middleware=mine),
            Route("/account/password", self._change, methods=["POST"], middleware=mine),
        ]

    def page(self, request: Request, problem: str = "", status: int = 200, next_page: str = "") -> Response:
        """The form of the login. next_page: where it leads, if the URL does not say it."""
        bound = request.cookies.get(BEFORE) or new_secret()
        answer = self.shown(
            request,
            "login.html",
            status,
            bound=csrf_of(bound),
            next=local(next_page or request.query_params.get("next", "")),
            problem=problem,
            provider=self.has_provider,
        )
        _keep(request, answer, BEFORE, bound, path=LOGIN)
        return answer

    def entered(self, request: Request, user: User, way: str, next_page: str) -> Response:
        """A new session, in the transaction that tells of it."""
        secret, now = new_secret(), self.clock()
        address = request.client.host if request.client else ""
        event = AuditEvent("login", actor=user.name, address=address, details={"way": way})
        with self.database.write() as session:
            accounts.forget_sessions(session, now - self.rules.longest, now - self.rules.idle)
            accounts.end_session(session, _cookie(request))
            accounts.begin_session(session, user.id, secret, now)
            audit.append(session, event, now)
        answer = RedirectResponse(local(next_page), 303)
        _keep(request, answer, _name(request), secret)
        answer.delete_cookie(BEFORE, path=LOGIN)
        return answer

    def _form(self, request: Request) -> Response:
        if who(request).way == "session":
            return RedirectResponse(local(request.query_params.get("next", "")), 303)
        return self.page(request)

    async def _login(self, request: Request) -> Response:
        given = await form(request)
        return await run_in_threadpool(self._enter, request, given.get("name", ""), given)

    def _enter(self, request: Request, name: str, given: Any) -> Response:
        if not Asked.of(request.scope, self.rules).is_secret:
            return self.page(request, NOT_IN_THE_CLEAR, 403, given.get("next", ""))
        bound = request.cookies.get(BEFORE, "")
        if not bound or not hmac.compare_digest(csrf_of(bound).encode(), given.get("csrf", "").encode()):
            return self.page(request, FOREIGN, 403, given.get("next", ""))
        address = request.client.host if request.client else ""
        answer = self.passwords.check(name, given.get("password", ""), address, "session")
        if isinstance(answer, Denied):
            shown = self.page(request, answer.sentence, 429 if answer.retry_seconds else 403, given.get("next", ""))
            if answer.retry_seconds:
                shown.headers["Retry-After"] = str(math.ceil(answer.retry_seconds))
            return shown
        return self.entered(request, answer, "password", given.get("next", ""))

    def _logout(self, request: Request) -> Response:
        account, now = who(request), self.clock()
        address = request.client.host if request.client else ""
        event = AuditEvent("logout", actor=account.name, address=address)
        with self.database.write() as session:
            accounts.end_session(session, _cookie(request))
            audit.append(session, event, now)
        answer = RedirectResponse(LOGIN, 303, headers={"Clear-Site-Data": '"cache", "storage"'})
        answer.delete_cookie(_name(request), path="/", secure=request.url.scheme == "https")
        return answer

    def _account(self, request: Request, problem: str = "", status: int = 200) -> Response:
        account = who(request)
        with self.database.read() as session:
            user = accounts.by_name(session, account.name)
        return self.shown(
            request,
            "account.html",
            status,
            rights=[(scope, SCOPES[scope]) for scope in SCOPES if account.may(scope)],
            has_password=account.way == "session" and bool(user and user.password_hash),
            shortest=SHORTEST,
            problem=problem,
        )

    async def _change(self, request: Request) -> Response:
        given = await form(request)
        return await run_in_threadpool(self._changed, request, given.get("old", ""), given.get("new", ""))

    def _changed(self, request: Request, old: str, new: str) -> Response:
        account, address = who(request), request.client.host if request.client else ""
        if account.way != "session":
            return self._account(request, "Only a person who logged in has a password to change.", 403)
        answer = self.passwords.check(account.name, old, address, "session")
        if isinstance(answer, Denied):
            return self._account(request, answer.sentence, 403)
        try:
            password_hash = hashed(new)
        except Misconfigured as error:
            return self._account(request, f"{str(error).capitalize()}.", 400)
        event = AuditEvent("account", actor=account.name, address=address, details={"changed": "own password"})
        with self.database.write() as session:
            accounts.set_password(session, answer.id, password_hash)
            audit.append(session, event, self.clock())
        return RedirectResponse(LOGIN, 303)


def local(path: str) -> str:
    """A page of ours; HOME instead of anything that a browser could take for another host."""
    return path if re.fullmatch(r"/(?![/\\])[\x21-\x5b\x5d-\x7e]*", path) else HOME


def _name(request: Request) -> str:
    return cookie_name(request.url.scheme == "https")


def _cookie(request: Request) -> str:
    return request.cookies.get(_name(request), "")


def _keep(request: Request, answer: Response, name: str, value: str, path: str = "/") -> None:
    is_https = request.url.scheme == "https"
    answer.set_cookie(name, value, path=path, httponly=True, samesite="lax", secure=is_https)
