"""The pages of a node, put together as ``lungnode serve`` does, on a real port of this process, for any account."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx
from sqlalchemy import insert
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send

from node.archive import Archive
from node.composition import showing
from node.composition.peers import Peers
from node.composition.routing import open_registry
from node.core import settings
from node.core.rights import Account, scopes_of
from node.db.key_tables import StudyKeys
from node.db.session import Database, sqlite_url
from node.pipeline.catalogue import Catalogue
from node.pipeline.trail import Trail
from node.web.auth.needs import CSRF, WHO
from node.web.pages.site import Site
from node.web.server import Vitals, WebServer
from node.web.told import Told
from tests.peers import LOOPBACK

HTML = {"Accept": "text/html"}


def now() -> datetime:
    return datetime.now(UTC)


class _As:
    """ASGI: whoever asks is this account."""

    def __init__(self, app: ASGIApp, pages: Pages) -> None:
        self._app, self._pages = app, pages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope[WHO], scope[CSRF], scope["lungnode.account"] = self._pages.account, "token", self._pages.account.said
        await self._app(scope, receive, send)


class Pages:
    """``roles`` says who asks. rows: a folder with a database, of which a copy is used."""

    def __init__(self, folder: Path, rows: Path) -> None:
        shutil.copytree(rows, folder, dirs_exist_ok=True)
        self.database = Database(sqlite_url(folder))
        self.account = Account()
        self.roles("admin")
        effective, archive = settings.load(), Archive(folder / "archive")
        self.site, catalogue = Site("PAGES"), Catalogue(self.database, archive)
        catalogue.describe = lambda: None  # type: ignore[method-assign] # the rows have no files
        routes = showing.routes(
            self.site, effective, self.database, archive, catalogue, open_registry(), Peers(effective), now
        )
        told = Middleware(Told, tell=Trail(self.database, now).tell, dicomweb="/dicom-web")
        before = [Middleware(_As, pages=self), told]
        self._server = WebServer(Vitals(list, dict), LOOPBACK, 0, routes, before, handlers=self.site.handlers())
        self._server.start()
        self.client = httpx.Client(base_url=f"http://{LOOPBACK}:{self._server.port}", headers=HTML, timeout=30)

    def roles(self, *roles: str) -> None:
        self.account = Account("somebody", frozenset(roles), scopes_of(roles), "loopback")

    def get(self, path: str) -> httpx.Response:
        return self.client.get(path)

    def post(self, path: str, **fields: str) -> httpx.Response:
        return self.client.post(path, data={"csrf": "token", **fields})

    def name(self, study: int, name: str) -> None:
        """Of the patient of a study, by the number of the study."""
        with self.database.write() as session:
            session.execute(insert(StudyKeys), [{"study_id": study + 1, "patient_name": name}])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.client.close()
        self._server.stop()
        self.database.close()
