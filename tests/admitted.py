"""For tests that are about something else: what stands before routes where this machine needs no login."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from starlette.middleware import Middleware

from node.core.rights import ROLES
from node.db import accounts
from node.db.session import Database
from node.web.auth.identity import TOKEN, Identity, Recogniser, Rules, new_secret
from node.web.auth.passwords import Passwords


def now() -> datetime:
    return datetime.now(UTC)


def rules(*loopback_roles: str, plain_http: bool = False, basic_under: str = "/dicom-web") -> Rules:
    return Rules(frozenset(loopback_roles), plain_http, basic_under, timedelta(minutes=30), timedelta(hours=12))


def everybody_here(database: Database) -> list[Middleware]:
    recogniser = Recogniser(database, Passwords(database, now), rules(*ROLES), now)
    return [Middleware(Identity, recogniser=recogniser)]


def token(database: Database, *scopes: str) -> str:
    """Of a user of its own, an administrator; for a while."""
    secret = new_secret(TOKEN)
    with database.write() as session:
        user = accounts.add(session, f"user-{secret[-8:]}", ("admin",), "", now())
        until = now() + timedelta(hours=1)
        accounts.add_token(session, user.id, f"token-{secret[-8:]}", secret, scopes, now(), until)
    return secret
