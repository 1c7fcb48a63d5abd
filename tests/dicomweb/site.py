"""The DICOMweb service with an archive and a database of its own, on a real port of this process, without analysis."""

from __future__ import annotations

import http.client
import json
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

from pydicom import Dataset
from sqlalchemy import text

from node.archive import Archive
from node.board import Board
from node.composition import publishing
from node.core import settings
from node.core.study import Origin
from node.db import schema
from node.db.session import Database, sqlite_url
from node.pipeline.catalogue import Catalogue
from node.pipeline.header import Received
from node.pipeline.intake import Intake
from node.web.server import Vitals, WebServer
from tests.admitted import everybody_here
from tests.peers import LOOPBACK
from tests.sending import Encoded

PREFIX = "/dicom-web"


@dataclass(frozen=True)
class Answered:
    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def text(self) -> str:
        return self.body.decode()

    def parts(self) -> list[tuple[Mapping[str, str], bytes]]:
        """Headers, in small letters, and content of each part."""
        boundary = self.headers["content-type"].partition("boundary=")[2].strip('"').encode()
        assert self.body.endswith(b"\r\n--" + boundary + b"--\r\n"), "the message is whole"
        found = []
        for piece in (b"\r\n" + self.body).split(b"\r\n--" + boundary)[1:-1]:
            lines, _, content = piece.removeprefix(b"\r\n").partition(b"\r\n\r\n")
            named = (line.partition(": ") for line in lines.decode().split("\r\n"))
            found.append(({name.lower(): value for name, _, value in named}, content))
        return found


@dataclass
class Site:
    archive: Archive
    database: Database
    intake: Intake
    board: Board
    port: int

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}{PREFIX}"

    def get(self, path: str, accept: str = "", **headers: str) -> Answered:
        return self.ask("GET", path, {**({"Accept": accept} if accept else {}), **headers})

    def ask(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | Iterable[bytes] | None = None
    ) -> Answered:
        connection = http.client.HTTPConnection(LOOPBACK, self.port, timeout=60)
        try:
            connection.request(method, PREFIX + path, body, dict(headers))  # type: ignore[arg-type]
            found = connection.getresponse()
            return Answered(found.status, {k.lower(): v for k, v in found.getheaders()}, found.read())
        finally:
            connection.close()

    def post(self, files: Iterable[bytes], path: str = "/studies", kind: str = "application/dicom") -> Answered:
        body, content_type = message([(kind, "", file) for file in files], kind)
        return self.ask("POST", path, {"Content-Type": content_type}, body)

    def keep(self, *instances: Encoded) -> None:
        """As if they had come by C-STORE."""
        for one in instances:
            received = Received(one.data_set, one.transfer_syntax_uid, one.sop_class_uid, one.sop_instance_uid)
            self.intake.receive(received, Origin("", "TESTSCU", "LUNGNODE", LOOPBACK))

    def rows(self, sql: str) -> list[dict[str, Any]]:
        with self.database.read() as session:
            return [dict(row._mapping) for row in session.execute(text(sql))]

    def files(self) -> list[Path]:
        return [path for path in self.archive.root.rglob("*") if path.is_file()]


def message(parts: Iterable[tuple[str, str, bytes]], kind: str) -> tuple[bytes, str]:
    """(body, Content-Type) of parts (type, Content-Location, content)."""
    boundary, made = uuid.uuid4().hex, BytesIO()
    for content_type, location, content in parts:
        made.write(f"--{boundary}\r\nContent-Type: {content_type}\r\n".encode())
        made.write(f"Content-Location: {location}\r\n".encode() if location else b"")
        made.write(b"\r\n" + content + b"\r\n")
    made.write(f"--{boundary}--\r\n".encode())
    return made.getvalue(), f'multipart/related; type="{kind}"; boundary={boundary}'


def as_file(ds: Dataset) -> bytes:
    made = BytesIO()
    ds.save_as(made, enforce_file_format=True)
    return made.getvalue()


@contextmanager
def site(folder: Path, tree: Mapping[tuple[str, str], Any] | None = None, url: str = "") -> Iterator[Site]:
    """tree: settings that differ. url: of an empty database; SQLite where none is given."""
    flags = {("receive", "min_free_bytes"): 0, **(tree or {})}
    effective = settings.load(flags=flags)
    folder.mkdir(parents=True, exist_ok=True)
    database = Database(url or sqlite_url(folder))
    schema.migrate(database.engine)
    archive = Archive(folder / "archive", False, effective.receive.min_free_bytes)

    def now() -> datetime:
        return datetime.now(UTC)

    catalogue = Catalogue(database, archive)
    routes = publishing.routes(effective, folder / "board", database, archive, catalogue, now)
    web = WebServer(Vitals(list, dict), LOOPBACK, 0, routes, everybody_here(database))
    web.start()
    try:
        intake = Intake(database, archive, effective.receive.max_instance_bytes, now)
        yield Site(archive, database, intake, Board(folder / "board"), web.port)
    finally:
        web.stop()
        database.close()
