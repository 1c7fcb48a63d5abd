"""Who may ask over HTTP: ties the settings of [web] and [oidc] to login, rights and what stands before all routes.

Part of the composition root. Where there is no user yet, and this machine needs a login too, the start
makes one: ``admin``, whose password is printed once to standard error and stands nowhere else.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from starlette.middleware import Middleware
from starlette.routing import BaseRoute

from node.core.audit import AuditEvent
from node.core.settings import Settings
from node.db import accounts, audit
from node.db.session import Database
from node.web.auth.identity import Identity, Recogniser, Rules
from node.web.auth.login import Login, Shown
from node.web.auth.passwords import Passwords, hashed, made_up
from node.web.connections import Secrecy
from node.web.secured import Secured, words_of

FIRST = "admin"
HEALTH = ("health", "live", "ready", "metrics")


class Admitting:
    """shown: how the pages of login are drawn."""

    def __init__(self, effective: Settings, database: Database, clock: Callable[[], datetime], shown: Shown) -> None:
        self._settings, self._database, self._clock = effective, database, clock
        web, wanted = effective.web, effective.oidc
        rules = Rules(
            loopback_roles=frozenset({web.loopback_role} if web.loopback_needs_no_login else ()),
            plain_http=web.plain_http,
            basic_under=effective.dicomweb.prefix,
            idle=timedelta(minutes=web.session_idle_minutes),
            longest=timedelta(hours=web.session_hours),
        )
        passwords = Passwords(database, clock)
        login = Login(database, passwords, rules, clock, shown, bool(wanted.issuer))
        self.routes = login.routes()
        if wanted.issuer:
            oidc = importlib.import_module("node.web.auth.oidc")  # with its libraries half a second of the start
            self.routes += oidc.OidcLogin(login, oidc.Provider(wanted)).routes()
        self._identity = Middleware(Identity, recogniser=Recogniser(database, passwords, rules, clock))
        self.secrecy = Secrecy(web.certificate, web.key, web.proxies)

    def before(self, told: Middleware, routes: Sequence[BaseRoute]) -> list[Middleware]:
        """What stands before these routes, outermost first; a question that is refused is told too."""
        dicomweb = self._settings.dicomweb
        shares, words = bool(dicomweb.cors_origins), words_of(routes) | set(HEALTH)
        return [Middleware(Secured, words=words, uploads=dicomweb.prefix, shares=shares), told, self._identity]

    def started(self) -> None:
        """Once the schema is there."""
        if self._settings.web.loopback_needs_no_login:
            return
        with self._database.read() as session:
            if accounts.users(session):
                return
        password = made_up()
        password_hash, now = hashed(password), self._clock()
        with self._database.write() as session:
            if accounts.users(session):  # by another node on this database, meanwhile
                return
            accounts.add(session, FIRST, ("admin",), password_hash, now)
            audit.append(session, AuditEvent("account", details={"changed": "the first user", "user": FIRST}), now)
        sys.stderr.write(
            f"lungnode: there was no user yet. Log in as {FIRST} with the password {password}\n"
            "lungnode: it is not shown again; `lungnode users passwd admin --data DIR` sets another.\n"
        )
        sys.stderr.flush()
