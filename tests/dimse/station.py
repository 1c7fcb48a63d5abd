"""A receiver with its own archive and database in this process, without analysis: what the DICOM tests talk to."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

from pydicom.filereader import read_file_meta_info, read_preamble
from sqlalchemy import text

from node.archive import Archive
from node.board import Board
from node.composition.peers import Peers
from node.core import settings
from node.core.limits import Limits
from node.core.security import Tls
from node.core.site import Site
from node.db import schema
from node.db.session import Database, sqlite_url
from node.dimse.access import Access
from node.dimse.listening import open_doors
from node.dimse.scp import Receiver
from node.dimse.tls import Certificates
from node.pipeline.catalogue import Catalogue
from node.pipeline.intake import Intake
from node.pipeline.pressure import Pressure
from tests.films import Film, drawn, encoded, wrap
from tests.sending import Encoded


@dataclass
class Station:
    archive: Archive
    database: Database
    intake: Intake
    receiver: Receiver
    catalogue: Catalogue
    board: Board

    @property
    def port(self) -> int:
        """The plain one, or the only one."""
        return next(iter(self.receiver.ports.values()))

    def rows(self, sql: str, **values: object) -> list[dict[str, object]]:
        with self.database.read() as session:
            return [dict(row._mapping) for row in session.execute(text(sql), values)]

    def stored(self, sop_uid: str) -> bytes | None:
        """The encoded data set as the archive holds it; None when there is no row."""
        found = self.rows("SELECT path, sha256, bytes FROM instances WHERE sop_uid = :uid", uid=sop_uid)
        if not found:
            return None
        content = data_set_of(self.archive.path(str(found[0]["path"])))
        assert hashlib.sha256(content).hexdigest() == found[0]["sha256"]
        assert len(content) == found[0]["bytes"]
        return content

    def files(self) -> list[Path]:
        return [path for path in self.archive.root.rglob("*") if path.is_file()]

    def refusals(self) -> list[tuple[int, str]]:
        return [(int(str(row["status"])), str(row["reason"])) for row in self.rows("SELECT * FROM refusals")]


def data_set_of(path: Path) -> bytes:
    """A file without preamble and meta group: what travels."""
    with path.open("rb") as file:
        read_preamble(file, False)
        file.seek(0)
        read_file_meta_info(path)  # raises where the group is not in order
    content = path.read_bytes()
    stream = BytesIO(content)
    stream.seek(132)
    length = int.from_bytes(content[140:144], "little")  # (0002,0000) UL, PS3.10 section 7.1
    assert content[132:136] == b"\x02\0\0\0"
    return content[144 + length :]


def as_sent(path: Path) -> Encoded:
    meta = read_file_meta_info(path)
    return Encoded(
        str(meta.MediaStorageSOPClassUID),
        str(meta.MediaStorageSOPInstanceUID),
        str(meta.TransferSyntaxUID),
        data_set_of(path),
    )


@contextmanager
def station(
    folder: Path,
    max_matches: int = 0,
    move_to: Sequence[str] = (),
    tls: Tls | None = None,
    access: Callable[[Board], Access] | None = None,
    limits: Limits | None = None,
    sites: Mapping[str, Site] | None = None,
    **receive: object,
) -> Iterator[Station]:
    """``receive``: settings of [receive] that differ from the defaults. The first two are of [query]."""
    effective = settings.load(flags={("node", "dicom_host"): "127.0.0.1", ("node", "dicom_port"): 0})
    effective = dataclasses.replace(effective, sites=sites or {})
    receive = {"min_free_bytes": 0, **receive}
    wanted = dataclasses.replace(effective.receive, **receive)  # type: ignore[arg-type]
    folder.mkdir(parents=True, exist_ok=True)
    database = Database(sqlite_url(folder))
    schema.migrate(database.engine)
    archive = Archive(folder / "archive", wanted.fsync, wanted.min_free_bytes)
    archive.prepare()
    pressure = Pressure(database, archive, limits or effective.limits)
    board = Board(folder / "board", "receiver-1")
    board.serve()
    intake = Intake(database, archive, wanted.max_instance_bytes, lambda: datetime.now(UTC), pressure.refusal, board)
    query = dataclasses.replace(effective.query, max_matches=max_matches, move_destinations=tuple(move_to))
    catalogue = Catalogue(database, archive)
    services = Peers(dataclasses.replace(effective, query=query)).services(catalogue, archive)
    rules = access(board) if access else Access.of(board, dataclasses.replace(effective, receive=wanted))
    receiver = Receiver(effective.node, wanted, intake, rules, services, Certificates(tls) if tls else None)
    receiver.start(open_doors(effective.node.dicom_host, 0, tls))
    try:
        yield Station(archive, database, intake, receiver, catalogue, board)
    finally:
        receiver.stop(5)
        database.close()


def film(seed: str, size: int = 64, **changes: object) -> Encoded:
    return encoded(wrap(Film(drawn(1, size), seed, **changes)))  # type: ignore[arg-type]
