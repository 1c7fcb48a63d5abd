"""The archive: complete DICOM files in a folder, durable before they have their name.

Owns the layout ``root/received|results/xx/<sha256 of the SOP Instance UID>.dcm`` and ``root/tmp``; a path is never
made of text that a peer sent. A file is written in ``tmp``, synced, renamed, and its folder is synced: it exists whole
or not at all.
Knows no database and no data set.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

from node.core.errors import OutOfResources

PREAMBLE = bytes(128) + b"DICM"  # PS3.10 section 7.1
RECEIVED, RESULTS = "received", "results"
WRITERS = 16  # threads that write and sync; each holds one file
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE)


class Archive:
    """Files by SOP Instance UID. ``fsync`` false gives up durability, to compare speed only."""

    def __init__(self, root: Path, fsync: bool = True, min_free_bytes: int = 0) -> None:
        self.root, self.fsync, self.min_free_bytes = root, fsync, min_free_bytes
        self._tmp = root / "tmp"
        self._tmp.mkdir(parents=True, exist_ok=True)
        self._known: set[str] = set()  # folders whose own entries are durable
        self._lock = threading.Lock()
        self._writers = ThreadPoolExecutor(WRITERS, "archive")

    def put(self, sop_uid: str, meta: bytes, parts: Iterable[bytes | memoryview]) -> str:
        """Preamble, ``meta`` (the encoded file meta group) and ``parts`` as one file; its path relative to the root."""
        return self.begin(meta, parts).name(sop_uid)

    def begin(self, meta: bytes, parts: Iterable[bytes | memoryview]) -> Pending:
        """As ``put``, but write and sync in a thread of their own: the caller checks the data set meanwhile."""
        temporary = self.new_temporary()
        return Pending(self, temporary, self._writers.submit(self._write, temporary, meta, parts))

    def _write(self, temporary: Path, meta: bytes, parts: Iterable[bytes | memoryview]) -> None:
        with _no_room_is_transient(), _removed_on_error(temporary), temporary.open("xb", buffering=0) as file:
            _write_all(file.fileno(), PREAMBLE + meta)
            for part in parts:
                _write_all(file.fileno(), part)
            self._sync(file.fileno())

    def adopt(self, temporary: Path, sop_uid: str) -> str:
        """Take a complete file that was written under ``new_temporary()``; its path relative to the root."""
        with _no_room_is_transient(), _removed_on_error(temporary):
            if self.fsync:
                descriptor = os.open(temporary, os.O_RDONLY)
                try:
                    self._sync(descriptor)
                finally:
                    os.close(descriptor)
            return self._name(temporary, sop_uid)

    def put_bytes(self, sop_uid: str, content: bytes) -> str:
        """A finished result; the same bytes again change nothing. Results have a shelf of their own, so that one which
        comes back from a PACS in another encoding never takes the place of the original."""
        relative = _relative(sop_uid, RESULTS)
        target = self.root / relative
        with contextlib.suppress(FileNotFoundError):
            if target.stat().st_size == len(content) and target.read_bytes() == content:
                return relative
        temporary = self.new_temporary()
        with _no_room_is_transient(), _removed_on_error(temporary):
            with temporary.open("xb", buffering=0) as file:
                _write_all(file.fileno(), content)
                self._sync(file.fileno())
            return self._name(temporary, sop_uid, RESULTS)

    def path(self, relative: str) -> Path:
        return self.root / relative

    def new_temporary(self) -> Path:
        """A fresh name to write to; ``adopt`` or remove it."""
        return self._tmp / f"{uuid4().hex}.part"

    def discard_temporaries(self) -> int:
        """Remove what an earlier process left half written. To be called before anything is received."""
        found = list(self._tmp.iterdir())
        for path in found:
            path.unlink(missing_ok=True)
        return len(found)

    def free_bytes(self) -> int:
        stat = os.statvfs(self.root)
        return stat.f_bavail * stat.f_frsize

    def has_room(self, more: int = 0) -> bool:
        """Whether ``more`` bytes may come without going below the floor that the settings keep free."""
        return self.free_bytes() - more >= self.min_free_bytes

    def discard(self, relative: str) -> None:
        """Remove a file that no row names, after its transaction failed."""
        (self.root / relative).unlink(missing_ok=True)

    def _name(self, temporary: Path, sop_uid: str, shelf: str = RECEIVED) -> str:
        relative = _relative(sop_uid, shelf)
        target = self.root / relative
        self._make(target.parent)
        temporary.replace(target)
        self._sync_folder(target.parent)
        return relative

    def _make(self, folder: Path) -> None:
        """``root/shelf/xx`` and its entries in the folders above, durable, once per process."""
        key = str(folder)
        if key in self._known:
            return
        folder.mkdir(parents=True, exist_ok=True)
        for above in (folder.parent, self.root):
            self._sync_folder(above)
        with self._lock:
            self._known.add(key)

    def _sync(self, descriptor: int) -> None:
        if self.fsync:
            os.fdatasync(descriptor)  # size and data; the times of the inode may be lost

    def _sync_folder(self, folder: Path) -> None:
        if not self.fsync:
            return
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


class Pending:
    """A file that is being written under a temporary name. Either ``name`` or ``drop`` must be called."""

    def __init__(self, archive: Archive, temporary: Path, written: Future[None]) -> None:
        self._archive, self._temporary, self._written = archive, temporary, written

    def name(self, sop_uid: str) -> str:
        """Wait until the content is durable, then give it its name; its path relative to the root."""
        self._written.result()
        with _no_room_is_transient(), _removed_on_error(self._temporary):
            return self._archive._name(self._temporary, sop_uid)

    def drop(self) -> None:
        """Leave nothing of it. Never raises for a write that failed by itself."""
        self._written.exception()
        self._temporary.unlink(missing_ok=True)


def _relative(sop_uid: str, shelf: str) -> str:
    digest = hashlib.sha256(sop_uid.encode()).hexdigest()
    return f"{shelf}/{digest[:2]}/{digest}.dcm"


def _write_all(descriptor: int, content: bytes | memoryview) -> None:
    view = memoryview(content)
    while len(view):
        view = view[os.write(descriptor, view) :]


@contextlib.contextmanager
def _no_room_is_transient() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise OutOfResources("The archive has no room left.") from error
        raise


@contextlib.contextmanager
def _removed_on_error(temporary: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
