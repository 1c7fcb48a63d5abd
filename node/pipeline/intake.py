"""Receipt: read the header, write the bytes durably, commit the rows, and only then return.

Who calls this answers success after it has returned and a failure after it has raised; nothing else decides. Uncertain
of the sender's connection, the same instance may come again: the same bytes are a success without effect.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from pydicom.dataset import FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import UID
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from node import __version__
from node.archive import Archive, failure
from node.board import Board
from node.core import log
from node.core.audit import Recent
from node.core.errors import BadDataSet, Conflict, LungnodeError, OfAnotherSite, OutOfResources
from node.core.study import InstanceHeader, Origin
from node.core.uids import PRODUCT_UID
from node.db import anew, told
from node.db import intake as rows
from node.db.group import GroupCommit
from node.db.session import Database
from node.incoming import Incoming
from node.pipeline.header import MismatchError, Received, is_uid, read_header

logger = logging.getLogger(__name__)
LET_THROUGH = 1 << 20  # bytes at once of a data set that is not kept
PLACE = b"7"  # a whole UID of it is none that occurs


@dataclass(frozen=True)
class Receipt:
    """What became of one instance. ``duplicate``: the same bytes were here already."""

    kind: Literal["stored", "duplicate"]
    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str


@dataclass(frozen=True)
class Announced:
    """What the command set of a C-STORE says before its data set comes."""

    transfer_syntax_uid: str
    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str = ""  # where a STOW-RS client says of which study it must be


class Arriving:
    """A data set while it comes in. file: None where it is only let through, because of ``error``."""

    def __init__(self, announced: Announced, origin: Origin, largest: int) -> None:
        self.announced, self.origin, self._largest = announced, origin, largest
        self.file: Incoming | None = None
        self.error: Exception | None = None
        self._size = 0

    def room(self, most: int) -> memoryview:
        """Where the next bytes go: at least one, at most ``most``."""
        if self.file is None or self.error is not None:
            return memoryview(bytearray(min(most, LET_THROUGH)))
        return self.file.room(most)

    def took(self, count: int) -> None:
        self._size += count
        if self.error is not None:
            return
        if self.file is not None:
            self.file.took(count)
        if self._size > self._largest:
            self.error = BadDataSet(f"The data set is larger than the limit of {self._largest} bytes.")

    def add(self, content: bytes | memoryview) -> None:
        """Bytes that are in memory already."""
        view = memoryview(content)
        while len(view):
            room = self.room(len(view))
            room[:] = view[: len(room)]
            self.took(len(room))
            view = view[len(room) :]


class Intake:
    """Shared by all associations; every method may be called from any thread."""

    def __init__(
        self,
        database: Database,
        archive: Archive,
        max_instance_bytes: int,
        clock: Callable[[], datetime],
        too_much: Callable[[], str] = str,
        board: Board | None = None,
    ) -> None:
        """too_much: why a sender that begins now is to come later; empty where it need not. board: where associations
        stand whose end completeness waits for; None: there are none."""
        self._database, self._archive, self._clock, self._too_much = database, archive, clock, too_much
        self._group, self._largest = GroupCommit(database), max_instance_bytes
        self._told = Recent()  # by association: studies that it began, statuses that it was answered
        self._board = board

    def begin(self, announced: Announced, origin: Origin) -> Arriving:
        """Room for a data set that begins to come. Never raises: what is wrong is said when it has come."""
        arriving = Arriving(announced, origin, self._largest)
        try:
            if not self._archive.has_room():
                raise OutOfResources("the archive's disk is nearly full")
            begun = self._board is not None and self._board.has_begun(origin.association)
            if not begun and (sentence := self._too_much()):
                raise OutOfResources(sentence)
            arriving.file = self._archive.incoming(meta_group(announced, origin.calling_aet))
        except (LungnodeError, OSError, SQLAlchemyError) as error:
            arriving.error = error
        return arriving

    def finish(self, arriving: Arriving) -> Receipt:
        """Keep what has come; raises a LungnodeError, after which nothing of it is kept."""
        try:
            if arriving.error:
                raise arriving.error
            return self._finish(arriving)
        except OSError as error:  # the sender keeps it and tries again, whatever ails the disk
            log.event(logger, "archive.failed", logging.ERROR, reason=error.strerror or type(error).__name__)
            raise OutOfResources(failure(error)) from error
        except SQLAlchemyError as error:
            raise OutOfResources("the database cannot be read") from error
        finally:
            self.drop(arriving)

    def drop(self, arriving: Arriving) -> None:
        """Let go of what was not kept."""
        if arriving.file is not None:
            self._archive.drop(arriving.file)
            arriving.file = None

    def receive(self, received: Received, origin: Origin) -> Receipt:
        """``begin``, all of it, ``finish``."""
        announced = Announced(received.transfer_syntax_uid, received.sop_class_uid, received.sop_instance_uid)
        arriving = self.begin(announced, origin)
        arriving.add(received.encoded)
        return self.finish(arriving)

    def _finish(self, arriving: Arriving) -> Receipt:
        file, announced = arriving.file, arriving.announced
        assert file is not None
        file.finish()

        def read(data: memoryview) -> InstanceHeader:
            received = Received(
                data, announced.transfer_syntax_uid, announced.sop_class_uid, announced.sop_instance_uid
            )
            return read_header(received, self._largest)

        header = file.whole(read)
        if announced.study_instance_uid not in ("", header.study_instance_uid):
            raise MismatchError("The instance is of another study than the one it was sent for.")
        sha256, size = file.digest(), file.received
        self._admit(arriving.origin.association, header.study_instance_uid)
        with self._archive.claimed(header.sop_instance_uid):
            known = self._known(header, sha256, arriving.origin.site)
            if known.sha256 is not None and self._archive.holds(known.path, sha256):
                return self._noted("duplicate", header, arriving.origin, size)
            if known.is_our_output:
                header = dataclasses.replace(header, is_own_result=True)
            path = self._archive.keep(file, header.sop_instance_uid)
            arriving.file = None
            if known.sha256 is not None:  # its file was gone or damaged
                self._have_judged_again(header.study_instance_uid, known.path, path)
                return self._noted("stored", header, arriving.origin, size)
            try:
                self._commit(header, sha256, size, path, arriving.origin)
            except OfAnotherSite:  # it began at both at the same time
                self._archive.discard(path)
                raise
            except SQLAlchemyError as error:
                if getattr(error, "connection_invalidated", False):
                    self._archive.in_doubt.add(path)  # the server may have committed the row, and nobody has heard it
                else:
                    self._archive.discard(path)
                raise OutOfResources("the database cannot be written") from error
        return self._noted("stored", header, arriving.origin, size)

    def _have_judged_again(self, study_uid: str, old: str, path: str) -> None:
        """What was said of the study without this file, whose path may be another one now, does not stand."""
        try:
            with self._database.write() as session:
                if path != old:
                    rows.move_file(session, old, path)
                anew.file_came_again(session, study_uid, self._clock())
        except SQLAlchemyError as error:
            self._archive.discard(path)  # or the next time that it comes it would be a duplicate
            raise OutOfResources("the database cannot be written") from error

    def _admit(self, association: str, study_uid: str) -> None:
        """Under pressure an association goes on with studies that it has begun, since half of one helps nobody, and
        begins no other, however long ago it was accepted."""
        if self._board is None:
            return
        if not self._board.has_begun(association, study_uid) and (sentence := self._too_much()):
            raise OutOfResources(sentence)
        self._board.sends(association, study_uid)

    def _known(self, header: InstanceHeader, sha256: str, site: str | None) -> rows.Known:
        """What is known of the UID; Conflict when it stands for other bytes, OfAnotherSite when its study is not of
        the site that it came to: nobody there would ever hear of it."""
        with self._database.looking() as connection:
            rows.check_site(connection, header.study_instance_uid, site)
            known = rows.known_instance(connection, header.sop_instance_uid)
        if known.sha256 not in (None, sha256):
            raise Conflict("Another object with this SOP Instance UID is stored already; it is kept.")
        return known

    def _commit(self, header: InstanceHeader, sha256: str, size: int, path: str, origin: Origin) -> None:
        now = self._clock()
        begins = (origin.association, header.study_instance_uid)

        def add(connection: Connection) -> None:
            rows.add_instance(connection, header, sha256, size, path, origin, now)
            if not self._told.has(begins):
                with Session(connection) as session:
                    told.receipt(session, origin, header.study_instance_uid, now)
                    session.flush()

        self._group.run(add)
        self._told.add(begins)

    def _noted(
        self, kind: Literal["stored", "duplicate"], header: InstanceHeader, origin: Origin, size: int
    ) -> Receipt:
        log.event(
            logger,
            f"instance.{kind}",
            association=origin.association,
            sop_instance_uid=header.sop_instance_uid,
            study_instance_uid=header.study_instance_uid,
            bytes=size,
        )
        return Receipt(kind, header.study_instance_uid, header.series_instance_uid, header.sop_instance_uid)

    def refuse(self, announced: Announced, origin: Origin, status: int, error: LungnodeError) -> None:
        """Write down why a data set was answered with a failure; never raises."""
        claimed = announced.sop_instance_uid.strip("\0 ")
        claimed = claimed if is_uid(claimed) else "not a UID"  # what a peer says may be anybody's name
        log.event(
            logger,
            "instance.refused",
            logging.WARNING,
            association=origin.association,
            sop_instance_uid=claimed,
            status=f"0x{status:04X}",
            reason=str(error),
        )
        if isinstance(error.__cause__, SQLAlchemyError):
            return  # the sender has waited long enough for a database that takes nothing
        try:
            kind, now = (origin.association, status), self._clock()
            with self._database.write() as session:
                rows.add_refusal(session, now, claimed, "", status, str(error), origin)
                if not self._told.has(kind):
                    told.refusal(session, origin, status, str(error), now)
            self._told.add(kind)
        except SQLAlchemyError:
            log.event(logger, "refusal.not_written", logging.ERROR, association=origin.association)


def meta_group(announced: Announced, source_aet: str) -> bytes:
    """The file meta group (PS3.10 section 7.1) for a data set stored as received."""
    uid = announced.sop_instance_uid.strip("\0 ").encode("ascii", "replace")[:64]
    uid += bytes(len(uid) % 2)
    form = _meta_form(announced.sop_class_uid, announced.transfer_syntax_uid, source_aet[:16], len(uid))
    return form.replace(PLACE * len(uid), uid)


@functools.lru_cache(256)
def _meta_form(sop_class_uid: str, transfer_syntax_uid: str, source_aet: str, length: int) -> bytes:
    """A meta group in which the SOP Instance UID of ``length`` bytes stands as so many ``PLACE``."""
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\x00\x01"
    meta.MediaStorageSOPClassUID = UID(sop_class_uid)
    meta.MediaStorageSOPInstanceUID = UID(PLACE.decode() * length)
    meta.TransferSyntaxUID = UID(transfer_syntax_uid)
    meta.ImplementationClassUID = UID(PRODUCT_UID)
    meta.ImplementationVersionName = f"LUNGNODE_{__version__}"
    meta.SourceApplicationEntityTitle = source_aet
    buffer = DicomBytesIO()
    write_file_meta_info(buffer, meta, enforce_standard=True)
    return buffer.getvalue()


def digest_of(instances: Iterable[tuple[str, str]]) -> str:
    """Digest of a set of (SOP Instance UID, digest of its bytes), whatever their order."""
    return hashlib.sha256("\n".join(f"{uid} {sha}" for uid, sha in sorted(instances)).encode()).hexdigest()
