"""A web server with login as a node has it, with the API behind it, on a real port of this process; time can be moved.

``client`` is a browser with a cookie jar; nothing is followed by itself.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

import httpx
from argon2 import PasswordHasher
from sqlalchemy import text
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from node.composition.admitting import Admitting
from node.core import settings
from node.db import accounts
from node.db.accounts import User
from node.db.session import Database, sqlite_url
from node.pipeline.trail import Trail
from node.web.api.routes import Api
from node.web.auth.identity import TOKEN, new_secret
from node.web.auth.needs import form, needs, who
from node.web.pages.site import Site
from node.web.server import Vitals, WebServer
from node.web.told import Told
from tests.peers import LOOPBACK

PASSWORD = "correct horse battery"
QUICK = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)
HASH = QUICK.hash(PASSWORD)
READ = "/api/v1/results"


async def _changed(request: Request) -> Response:
    """A page that changes something; it reads the form that was posted."""
    fields = dict(await form(request)) if "form" in request.headers.get("content-type", "") else {}
    return JSONResponse({"account": who(request).said, "fields": fields})


class Door:
    """empty: a database without rows; folder: where the door has its copy."""

    def __init__(self, empty: Path, folder: Path, flags: Mapping[tuple[str, str], Any] | None = None) -> None:
        self.moment = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
        folder.mkdir(exist_ok=True)
        shutil.copy(empty, folder / empty.name)
        self.database = Database(sqlite_url(folder))
        effective = settings.load(flags=flags or {})
        site = Site("DOOR")
        self.admitting = Admitting(effective, self.database, self.clock, site.page)
        changing = Route("/change", _changed, methods=["POST"], middleware=[needs("steer")])
        stored = Route("/dicom-web/studies", _changed, methods=["POST"], middleware=[needs("store")])
        searched = Route("/dicom-web/studies", _changed, methods=["GET"], middleware=[needs("view")])
        routes = [*Api(self.database, self.clock).routes(), *self.admitting.routes, changing, stored, searched]
        told = Middleware(Told, tell=Trail(self.database, self.clock).tell, dicomweb="/dicom-web")
        before = self.admitting.before(told, routes)
        secrecy, handlers = self.admitting.secrecy, site.handlers()
        self.server = WebServer(Vitals(list, dict), LOOPBACK, 0, routes, before, secrecy, handlers)
        self.scheme = "https" if effective.web.certificate else "http"

    def __enter__(self) -> Self:
        self.server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.stop()
        self.database.close()

    def clock(self) -> datetime:
        return self.moment

    def pass_by(self, **time: float) -> None:
        self.moment += timedelta(**time)

    @property
    def url(self) -> str:
        return f"{self.scheme}://{LOOPBACK}:{self.server.port}"

    def client(self, **headers: str) -> httpx.Client:
        return httpx.Client(base_url=self.url, headers=headers, timeout=30)

    def user(self, name: str, *roles: str) -> User:
        with self.database.write() as session:
            return accounts.add(session, name, roles, HASH, self.moment)

    def token(self, user: User, *scopes: str, days: float = 90) -> str:
        secret = new_secret(TOKEN)
        with self.database.write() as session:
            until = self.moment + timedelta(days=days)
            accounts.add_token(session, user.id, f"of-{user.name}", secret, scopes, self.moment, until)
        return secret

    def log_in(self, client: httpx.Client, name: str, password: str = PASSWORD, next_page: str = "") -> httpx.Response:
        """By the form, as a person does."""
        page = client.get("/login", params={"next": next_page} if next_page else {})
        fields = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', page.text))
        return client.post("/login", data={**fields, "name": name, "password": password})

    def entered(self, name: str, *roles: str, **headers: str) -> httpx.Client:
        """A client that is logged in as a new user."""
        self.user(name, *roles)
        client = self.client(**headers)
        assert self.log_in(client, name).status_code == 303
        return client

    def csrf(self, client: httpx.Client) -> str:
        found = re.search(r'name="csrf" value="([0-9a-f]{64})"', client.get("/account").text)
        assert found
        return found[1]

    def rows(self, sql: str) -> list[dict[str, Any]]:
        with self.database.read() as session:
            return [dict(row._mapping) for row in session.execute(text(sql))]

    def told(self, *kinds: str) -> list[tuple[str, str, str, dict[str, Any]]]:
        """(kind, outcome, actor, details) of these kinds, oldest first."""
        found = self.rows("SELECT * FROM audit_events ORDER BY id")
        return [
            (row["kind"], row["outcome"], row["actor"], json.loads(row["details"]))
            for row in found
            if row["kind"] in kinds
        ]
