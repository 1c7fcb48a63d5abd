"""The archive in a folder: complete DICOM files, durable before anybody is told of them.

Owns the layout ``root/received|results/xx/<sha256 of the SOP Instance UID>.dcm`` and ``root/tmp``; a path is never
made of text that a peer sent. A result is written in ``tmp``, synced, renamed, and its folder is synced. A received
object (``Incoming``) is written in ``tmp`` while it comes in, renamed, and then file and folder are synced together:
one journal commit of the file system for both. Its row is written after that, so a file without a row is none.
Knows no database and no data set.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO
from uuid import uuid4

from node.core import locks
from node.core.errors import OutOfResources
from node.incoming import Chunks, Incoming, digest_of, is_abandoned, takes_direct

PREAMBLE = bytes(128) + b"DICM"  # PS3.10 section 7.1
SHELVES = RECEIVED, RESULTS = "received", "results"
LONGEST_SECONDS = 25.0  # that a folder is waited for; senders wait 30 s for an answer
WRITERS = 16  # threads that write and sync; each holds one file
ARCHIVE_ID = "archive-id"  # whose archive it is, beside the shelves
BLOCK = bytes(4096)
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE)


class Archive:
    """Files by SOP Instance UID. ``fsync`` false gives up durability, to compare speed only."""

    is_remote = False  # whether the folder is a cache alone

    def __init__(self, root: Path, fsync: bool = True, min_free_bytes: int = 0) -> None:
        self.root, self.fsync, self.min_free_bytes = root, fsync, min_free_bytes
        self._tmp = root / "tmp"
        self._tmp.mkdir(parents=True, exist_ok=True)
        self._known: set[str] = set()  # folders whose own entries are durable
        self.in_doubt: set[str] = set()  # files that this process kept, while nobody knows whether their row is there
        self._lock = threading.Lock()
        self._writers = ThreadPoolExecutor(WRITERS, "archive")
        self._chunks, self._direct = Chunks(), takes_direct(self._tmp)

    def prepare(self, name: str = RECEIVED) -> None:
        """Make the folders of a shelf at once, so that none has to be made and synced for an object."""
        shelf = self.root / name
        for number in range(256):
            (shelf / f"{number:02x}").mkdir(parents=True, exist_ok=True)
        for above in (shelf, self.root):
            self._sync_folder(above)
        with self._lock:
            self._known.update(str(shelf / f"{number:02x}") for number in range(256))

    def incoming(self, meta: bytes) -> Incoming:
        """A file to receive into, which begins with preamble and ``meta``. Either ``keep`` or ``drop`` it."""
        with failure_is_transient():
            return Incoming(self.new_temporary(), PREAMBLE + meta, self._chunks, self._writers, self._direct)

    def keep(self, incoming: Incoming, sop_uid: str) -> str:
        """Give a received file its name and make both durable; its path relative to the root."""
        relative = name_of(sop_uid, RECEIVED)
        target = self.root / relative
        with failure_is_transient(), removed_on_error(incoming.path, target):
            incoming.written(sync=False)
            self._make(target.parent)
            incoming.path.replace(target)
            incoming.written(self.fsync)
            self._sync_folder(target.parent)
        incoming.close()
        return relative

    def drop(self, incoming: Incoming) -> None:
        """Leave nothing of a file that is not kept. What a failing disk leaves is taken away at the next start."""
        with contextlib.suppress(OSError):
            incoming.close()
        with contextlib.suppress(OSError):
            incoming.path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def claimed(self, sop_uid: str) -> Iterator[None]:
        """Nobody else, in any thread or process, keeps or discards a received file of this name meanwhile. The lock is
        that of its folder, so one in 256 other names waits too."""
        folder = name_of(sop_uid, RECEIVED).rpartition("/")[0]
        with failure_is_transient():
            self._make(self.root / folder)
        with self.locked(folder):
            yield

    @contextlib.contextmanager
    def locked(self, folder: str) -> Iterator[None]:
        """``claimed``, for all names of one folder, relative to the root. TimeoutError where another keeps it long."""
        descriptor = os.open(self.root / folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            locks.lock(descriptor, LONGEST_SECONDS)
            yield
        finally:
            os.close(descriptor)

    def put_bytes(self, sop_uid: str, content: bytes) -> str:
        """A finished result; the same bytes again change nothing. Results have a shelf of their own, so that one which
        comes back from a PACS in another encoding never takes the place of the original."""
        relative = name_of(sop_uid, RESULTS)
        target = self.root / relative
        with contextlib.suppress(FileNotFoundError):
            if target.stat().st_size == len(content) and target.read_bytes() == content:
                return relative
        temporary = self.new_temporary()
        with failure_is_transient(), removed_on_error(temporary):
            with temporary.open("xb", buffering=0) as file:
                _write_all(file.fileno(), content)
                self._sync(file.fileno())
            return self._name(temporary, sop_uid, RESULTS)

    def path(self, relative: str) -> Path:
        """A file to read now. Where it has to be fetched and cannot be, a Transient error says so."""
        return self.root / relative

    @contextlib.contextmanager
    def reading(self, relatives: Iterable[str]) -> Iterator[None]:
        """The paths of these, once asked for, hold until the end of this. Without the shelves, which may be on a share,
        none of them can be said to be gone."""
        if not any((self.root / shelf).is_dir() for shelf in SHELVES):
            raise OutOfResources("The folder of the archive is not there.")
        yield

    def opened(self, relative: str) -> IO[bytes]:
        """What is durable of it, and no copy."""
        return self.path(relative).open("rb")

    def new_temporary(self) -> Path:
        """A fresh name to write to; ``adopt`` or remove it."""
        return self._tmp / f"{uuid4().hex}.part"

    def discard_temporaries(self) -> int:
        """Remove what an earlier process left half written, but not what another one, ``lungnode pull``, is receiving.
        To be called before workers write results."""
        found = [path for path in self._tmp.iterdir() if is_abandoned(path)]
        for path in found:
            path.unlink(missing_ok=True)
        return len(found)

    def files(self) -> set[str]:
        """Every received object and result, relative to the root. Of a million, a second and 200 MB."""
        folders = [path for shelf in SHELVES for path in (self.root / shelf).glob("*/")]
        named = ((f"{path.parent.name}/{path.name}/", os.scandir(path)) for path in folders)
        return {folder + file.name for folder, files in named for file in files if file.name.endswith(".dcm")}

    def names(self) -> set[str]:
        """``files``, those too that may be about to get their row."""
        return self.files()

    def cached(self) -> set[str]:
        """Copies on this machine of what is durable elsewhere."""
        return set()

    def forget(self, relatives: Iterable[str]) -> None:
        """Let go of such copies."""

    def holds(self, relative: str, sha256: str) -> bool:
        """Whether the file of a received object is there and still has its data set; of a bucket, whether it is there
        and nobody has found it damaged."""
        try:
            with self.path(relative).open("rb") as file:
                return digest_of(file) == sha256
        except OSError:
            return False

    def trouble(self) -> str:
        """Why it cannot be written now, found out by writing; empty: it can."""
        path = self.new_temporary()
        try:
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
            try:
                os.write(descriptor, BLOCK)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            return error.strerror or type(error).__name__
        finally:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
        return ""

    @property
    def place(self) -> str:
        return str(self.root)

    def identity(self) -> str:
        """By which nodes on one database know that it is theirs; empty: it has none yet."""
        return self.mark().partition(" ")[0]

    def mark(self) -> str:
        """The identity and, of a bucket, what ``pipeline.tenure`` writes behind it."""
        try:
            return (self.root / ARCHIVE_ID).read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            return ""

    def identify(self, identity: str) -> None:
        """FileExistsError where another was first, if that can be told."""
        (self.root / ARCHIVE_ID).write_text(identity, encoding="utf-8")

    def remark(self, mark: str) -> None:
        self.identify(mark)

    def free_bytes(self) -> int:
        stat = os.statvfs(self.root)
        return stat.f_bavail * stat.f_frsize

    def has_room(self, more: int = 0) -> bool:
        """Whether ``more`` bytes may come without going below the floor that the settings keep free."""
        return self.free_bytes() - more >= self.min_free_bytes

    def discard(self, relative: str) -> None:
        """Remove a file that no row names, after its transaction failed."""
        (self.root / relative).unlink(missing_ok=True)

    def settle(self, relatives: Iterable[str]) -> None:
        """What was discarded of these stays so after a power cut."""
        for folder in {(self.root / relative).parent for relative in relatives}:
            if folder.exists():
                self._sync_folder(folder)

    def _name(self, temporary: Path, sop_uid: str, shelf: str = RECEIVED) -> str:
        relative = name_of(sop_uid, shelf)
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


def name_of(sop_uid: str, shelf: str) -> str:
    digest = hashlib.sha256(sop_uid.encode()).hexdigest()
    return f"{shelf}/{digest[:2]}/{digest}.dcm"


def _write_all(descriptor: int, content: bytes | memoryview) -> None:
    view = memoryview(content)
    while len(view):
        view = view[os.write(descriptor, view) :]


@contextlib.contextmanager
def failure_is_transient() -> Iterator[None]:
    """Whatever ails the disk is no fault of what was to be written."""
    try:
        yield
    except OSError as error:
        raise OutOfResources(failure(error)) from error


def failure(error: OSError) -> str:
    """Why the archive does not take something, in a sentence."""
    if error.errno in FULL:
        return "The archive has no room left."
    return f"The archive cannot be written: {error.strerror or type(error).__name__}."


@contextlib.contextmanager
def removed_on_error(*paths: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        for path in paths:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
        raise
