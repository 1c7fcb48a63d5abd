"""Who asks: by an Authorization header, else by the cookie of a session, else by the address of this machine.

What is found stands in the scope for ``needs`` and ``told``. A header that names nobody is refused, whatever else there
is. Secrets count only where nobody on the way can read them: over TLS, or on this machine. A password in a header (HTTP
Basic) is for DICOMweb alone; a token may stand there too, in the place of the password.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.exc import OperationalError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.types import ASGIApp, Receive, Scope, Send

from node.core.audit import AuditEvent, Recent
from node.core.limits import LOOPBACK, within
from node.core.rights import NOBODY, Account, scopes_of
from node.db import accounts, audit
from node.db.accounts import User
from node.db.session import Database
from node.web.auth.needs import CHALLENGE, CSRF, WHO, problem, unknown
from node.web.auth.passwords import Denied, Passwords

logger = logging.getLogger(__name__)
TOKEN = "lungnode_"  # a token begins so, that scanners for leaked secrets find it
USED_SECONDS = 60.0  # that a session is used is written so often
UNATTENDED = "lungnode-unattended"  # header field of what a script asks while nobody does anything: no use of a session
REALM = 'realm="lungnode"'
FORWARDED = ("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip")
HOSTS_HERE = ("localhost", "127.0.0.1", "[::1]")
NOT_IN_THE_CLEAR = "Passwords and tokens are taken over TLS alone, or on this machine."
DATABASE_AWAY = "The database does not answer; try again later."
BAD_TOKEN, BAD_HEADER = "This token is not valid.", "This Authorization header is not understood."


@dataclass(frozen=True)
class Rules:
    """What the settings say. loopback_roles empty: this machine needs a login too. basic_under: where Basic may be."""

    loopback_roles: frozenset[str]
    plain_http: bool
    basic_under: str
    idle: timedelta
    longest: timedelta


@dataclass(frozen=True)
class Asked:
    """What of a request says who asks. is_here: it came from this machine, by no proxy, to a name of this machine.
    is_attended: no script asks by itself."""

    authorization: str
    cookie: str
    address: str
    path: str
    is_here: bool
    is_secret: bool
    is_attended: bool

    @classmethod
    def of(cls, scope: Scope, rules: Rules) -> Asked:
        headers = Headers(scope=scope)
        address = (scope.get("client") or ("", 0))[0]
        is_near = bool(address) and within(address, LOOPBACK)
        forwarded = any(name in headers for name in FORWARDED)
        is_here = is_near and not forwarded and _host(headers.get("host", "")) in HOSTS_HERE
        is_secret = scope["scheme"] == "https" or is_near or rules.plain_http
        cookie = cookie_parser(headers.get("cookie", "")).get(cookie_name(scope["scheme"] == "https"), "")
        is_attended = UNATTENDED not in headers
        return cls(headers.get("authorization", ""), cookie, address, scope["path"], is_here, is_secret, is_attended)


@dataclass(frozen=True)
class Found:
    """problem: one sentence, where what was shown is not valid. csrf: of the session."""

    account: Account = NOBODY
    csrf: str = ""
    problem: str = ""
    retry_seconds: float = 0.0


def cookie_name(is_https: bool) -> str:
    return "__Host-lungnode" if is_https else "lungnode"  # the prefix binds it to this host (RFC 6265bis 4.1.3.2)


def csrf_of(secret: str) -> str:
    """What the forms of a session post: nobody can derive it who has not the cookie, nor the cookie from it."""
    return hmac.new(secret.encode(), b"csrf", hashlib.sha256).hexdigest()


def new_secret(prefix: str = "") -> str:
    return prefix + secrets.token_urlsafe(32)


@dataclass
class Recogniser:
    database: Database
    passwords: Passwords
    rules: Rules
    clock: Callable[[], datetime]

    def __post_init__(self) -> None:
        self._told = Recent()

    def find(self, asked: Asked) -> Found:
        if asked.authorization:
            return self._by_header(asked)
        found = self._by_cookie(asked) if asked.cookie and asked.is_secret else Found()
        return found if found.account is not NOBODY else self.by_address(asked)

    def by_address(self, asked: Asked) -> Found:
        roles = self.rules.loopback_roles
        if not roles or not asked.is_here:
            return Found()
        return Found(Account("loopback", roles, scopes_of(roles), "loopback"))

    def may_use_basic(self, path: str) -> bool:
        return path.startswith(f"{self.rules.basic_under}/")

    def _by_header(self, asked: Asked) -> Found:
        if not asked.is_secret:
            return Found(problem=NOT_IN_THE_CLEAR)
        kind, _, given = asked.authorization.partition(" ")
        if kind.lower() == "bearer":
            return self._by_token(given.strip(), asked)
        if kind.lower() != "basic" or not self.may_use_basic(asked.path):
            return Found(problem=BAD_HEADER)
        try:
            name, colon, password = base64.b64decode(given.strip(), validate=True).decode().partition(":")
        except ValueError:
            return Found(problem=BAD_HEADER)
        if not colon:
            return Found(problem=BAD_HEADER)
        if password.startswith(TOKEN):
            return self._by_token(password, asked)
        answer = self.passwords.check(name, password, asked.address, "password")
        if isinstance(answer, Denied):
            return Found(problem=answer.sentence, retry_seconds=answer.retry_seconds)
        return Found(account_of(answer, "password"))

    def _by_token(self, secret: str, asked: Asked) -> Found:
        now = self.clock()
        with self.database.read() as session:
            token = accounts.token(session, secret)
        if token is None or token.revoked_at or token.expires_at <= now or token.user.disabled_at:
            self._tell_bad_token(token, asked.address, now)
            return Found(problem=BAD_TOKEN)
        roles = frozenset(token.user.roles)
        return Found(Account(token.user.name, roles, scopes_of(roles) & set(token.scopes), "token", token.name))

    def _tell_bad_token(self, token: accounts.Token | None, address: str, now: datetime) -> None:
        """One row a minute for each token and address, however often a program asks."""
        name = f"{token.user.name}/{token.name}" if token else "unknown token"
        if self._told.has((name, address), now.timestamp() - USED_SECONDS):
            return
        self._told.add((name, address), now.timestamp())
        details = {"way": "token", "reason": "unknown" if token is None else "revoked, expired or disabled"}
        with self.database.write() as session:
            audit.append(session, AuditEvent("login", "minor", actor=name, address=address, details=details), now)

    def _by_cookie(self, asked: Asked) -> Found:
        now = self.clock()
        with self.database.read() as session:
            held = accounts.held(session, asked.cookie)
        if held is None or held.user.disabled_at or now - held.created_at > self.rules.longest:
            return Found()
        if now - held.used_at > self.rules.idle:
            return Found()
        if asked.is_attended and (now - held.used_at).total_seconds() > USED_SECONDS:
            with self.database.write() as session:
                accounts.use_session(session, held.id, now)
        return Found(account_of(held.user, "session"), csrf_of(asked.cookie))


def account_of(user: User, way: str) -> Account:
    roles = frozenset(user.roles)
    return Account(user.name, roles, scopes_of(roles), way)


class Identity:
    """ASGI middleware: puts who asks into the scope, or refuses what was shown."""

    def __init__(self, app: ASGIApp, recogniser: Recogniser) -> None:
        self._app, self._recogniser = app, recogniser

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        asked, recogniser = Asked.of(scope, self._recogniser.rules), self._recogniser
        by_secret = bool(asked.authorization or asked.cookie)
        try:
            found = await run_in_threadpool(recogniser.find, asked) if by_secret else recogniser.by_address(asked)
        except OperationalError:
            logger.exception("login.not_answered")
            await problem(503, "Service Unavailable", DATABASE_AWAY)(scope, receive, send)
            return
        scope[WHO], scope[CSRF] = found.account, found.csrf
        scope["lungnode.account"] = found.account.said
        scope[CHALLENGE] = self._challenge(scope, asked)
        if found.problem:
            await unknown(scope, found.problem, found.retry_seconds)(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _challenge(self, scope: Scope, asked: Asked) -> str:
        """Basic is not offered to scripts of our pages: the browser would ask for a password in a box of its own."""
        is_script = "sec-fetch-mode" in Headers(scope=scope)
        if asked.is_secret and not is_script and self._recogniser.may_use_basic(asked.path):
            return f'Bearer {REALM}, Basic {REALM}, charset="UTF-8"'
        return f"Bearer {REALM}"


def _host(text: str) -> str:
    """Of a Host header, without its port. A page of another name that leads here (DNS rebinding) names that."""
    host, colon, port = text.rpartition(":")
    return (host if colon and port.isdigit() else text).lower()
