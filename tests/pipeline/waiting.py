"""A received study in a database and an archive of its own, without a process: what the pipeline tests begin with."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path

from pydicom import Dataset, dcmread
from sqlalchemy import text

from node.archive import Archive
from node.board import Board
from node.core.settings import Completeness
from node.core.study import Origin
from node.db import intake as study_rows
from node.db import results as rows
from node.db import schema
from node.db.session import Database, sqlite_url
from node.pipeline.completeness import close_quiet_studies
from node.pipeline.header import Received
from node.pipeline.intake import Intake
from node.results.build import build
from node.results.common import encode
from node.results.record import BuiltObject
from tests.films import Film, drawn, encoded, uid, wrap
from tests.results.records import outcome, record

START = datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)
SETTINGS = Completeness(quiet_seconds=60, quiet_seconds_film=10, hard_limit_seconds=600)


@dataclass
class Clock:
    now: datetime = START

    def __call__(self) -> datetime:
        return self.now

    def pass_by(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@functools.cache
def migrated() -> bytes:
    """An empty database: all migrations are run once, not for each test."""
    with tempfile.TemporaryDirectory() as folder:
        database = Database(sqlite_url(Path(folder)))
        schema.migrate(database.engine)
        database.close()
        return (Path(folder) / "lungnode.sqlite").read_bytes()


class Room:
    """Database, archive and clock, and what a modality would do to them."""

    def __init__(self, folder: Path) -> None:
        self.clock = Clock()
        file, url = folder / "lungnode.sqlite", sqlite_url(folder)
        if url.startswith("sqlite") and not file.exists():  # else tests.on_postgres has one
            file.write_bytes(migrated())
        self.database = Database(url)
        self.archive = Archive(folder / "archive")
        self.board = Board(folder / "board", "receiver-1")
        self.board.serve()
        self.intake = Intake(self.database, self.archive, 2**30, self.clock, board=self.board)

    def receive(self, film: Film, association: str = "a") -> str:
        """The study UID."""
        return self.take(wrap(film), association)

    def take(self, ds: Dataset, association: str = "a") -> str:
        """The study UID."""
        sent = encoded(ds)
        received = Received(sent.data_set, sent.transfer_syntax_uid, sent.sop_class_uid, sent.sop_instance_uid)
        return self.intake.receive(
            received, Origin(association, "MODALITY", "LUNGNODE", "127.0.0.1")
        ).study_instance_uid

    def close(self, key: str = "pipeline") -> list[str]:
        return close_quiet_studies(self.database, SETTINGS, key, self.board.open_studies(), self.clock())

    def rows(self, sql: str, **values: object) -> list[dict[str, object]]:
        with self.database.read() as session:
            return [dict(row._mapping) for row in session.execute(text(sql), values)]

    def events(self) -> str:
        return " ".join(str(row["sentence"]) for row in self.rows("SELECT sentence FROM events ORDER BY id"))

    def analysed(
        self,
        destinations: Sequence[str],
        film: Film | None = None,
        *,
        kinds: Sequence[str] = (),
        page_for: Sequence[str] = (),
    ) -> list[str]:
        """A film received and results that no model made, owed to ``destinations``; their SOP Instance UIDs.

        kinds: as in the settings, the usual ones if none is named. page_for: for whom a made-up page is kept.
        """
        film = film or Film(drawn(1, 96), "results")
        self.receive(film)
        source = wrap(film)
        del source.PixelData
        made = record(source, images=(outcome(source),))
        wanted = dataclasses.replace(made.wanted, kinds=tuple(kinds) or made.wanted.kinds)
        objects = build(dataclasses.replace(made, wanted=wanted))
        (study,) = self.rows("SELECT id FROM studies WHERE study_uid = :uid", uid=film.study_uid)
        with self.database.write() as session:
            analysis = rows.add_analysis(session, self._new_analysis(int(str(study["id"]))))
            for built in objects:
                rows.add_output(session, analysis, self._stored(built), destinations, self.clock())
            if page_for:
                page = self._stored(_page(next(built for built in objects if built.kind == "sc")))
                rows.add_output(session, analysis, page, (), self.clock(), page_for)
            study_rows.add_event(session, int(str(study["id"])), self.clock(), "made up")
        return [built.sop_instance_uid for built in objects]

    def _stored(self, built: BuiltObject) -> rows.NewOutput:
        path = self.archive.put_bytes(built.sop_instance_uid, built.content)
        digest = hashlib.sha256(built.content).hexdigest()
        return rows.NewOutput(
            built.kind, built.sop_instance_uid, built.sop_class_uid, built.series_instance_uid, digest, path
        )

    def _new_analysis(self, study: int) -> rows.NewAnalysis:
        return rows.NewAnalysis(study, f"key {study}", "c" * 64, "d" * 64, "", False, 1, 0, START, START, "{}")


def _page(picture: BuiltObject) -> BuiltObject:
    """Any picture under another UID."""
    ds = dcmread(BytesIO(picture.content))
    ds.SOPInstanceUID, ds.SeriesInstanceUID = uid("page", ds.SOPInstanceUID), uid("pages", ds.SOPInstanceUID)
    return encode(ds, "page")
