"""The archive in a bucket, for nodes that share no folder: the folder is a cache of it on each machine.

An object is received into a file as ever, and put into the bucket before it counts as kept; who needs it elsewhere has
it fetched. No two things ever have one name: each name ends in a random number, so nothing is written over, nothing
that is removed can be something that came meanwhile, and what a cache holds is what the bucket held. The row says which
name counts. So no lock reaches beyond one machine, and none has to.
"""

from __future__ import annotations

import contextlib
import io
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import IO, BinaryIO, cast
from uuid import uuid4

from node.archive.cache import Cache
from node.archive.folder import (
    ARCHIVE_ID,
    RECEIVED,
    RESULTS,
    SHELVES,
    Archive,
    failure,
    failure_is_transient,
    name_of,
    removed_on_error,
)
from node.archive.objects import Away, Damaged, ObjectStore
from node.core.errors import Misconfigured, OutOfResources
from node.incoming import Incoming, open_new

SETTLED = {  # what is younger may be about to get its row, or has one that this database lost or never had
    RECEIVED: timedelta(days=7),
    RESULTS: timedelta(days=1),
}
PROBE = "probe"  # written by whoever asks whether the bucket can be
PROBE_SECONDS = 5.0  # for which one answer speaks
WRITE_SECONDS = 60.0  # between two that are written, where none fails: each is paid for, and may be a version for ever


class BucketArchive(Archive):
    """``Archive`` in all that callers see; every method may be called from any thread. settled: see SETTLED."""

    is_remote = True

    def __init__(
        self, root: Path, fsync: bool, min_free_bytes: int, store: ObjectStore, cache_bytes: int,
        settled: Mapping[str, timedelta] = SETTLED,
    ) -> None:  # fmt: skip
        super().__init__(root, fsync, min_free_bytes)
        self._store, self._settled = store, settled
        self._well_until = self._writes_until = float("-inf")
        self._cache = Cache(tuple(root / shelf for shelf in SHELVES), self._tmp, cache_bytes)

    def keep(self, incoming: Incoming, sop_uid: str) -> str:
        """Put a received file into the bucket; its name there. The cache has it too."""
        relative = _fresh(sop_uid, RECEIVED)
        with failure_is_transient(), removed_on_error(incoming.path):
            incoming.written(self.fsync)  # so that a power cut leaves no other bytes under its name in the cache
            with incoming.path.open("rb") as content:
                size = self._store.put(relative, content)
        with contextlib.suppress(OSError), removed_on_error(incoming.path):  # it is kept, whatever ails the cache
            self._take(incoming.path, relative)
            self._cache.added(size)
        incoming.close()
        return relative

    def put_bytes(self, sop_uid: str, content: bytes) -> str:
        """A finished result. The same one again is another object, and the first one goes as what no row names."""
        relative = _fresh(sop_uid, RESULTS)
        self._store.put(relative, io.BytesIO(content))
        self.has_room(len(content))
        with contextlib.suppress(OSError), self._written() as (file, path):  # it is kept, whatever ails the cache
            file.write(content)
            self._finish(file, path, relative)
        return relative

    def path(self, relative: str) -> Path:
        """In the cache, fetched where it is not there. What the bucket has not, or not as it was put, is a path without
        a file."""
        path = self.root / relative
        with contextlib.suppress(FileNotFoundError, Damaged), _some_faults_last():
            if not self._cache.use(path):
                with self._written() as (file, temporary):
                    self._store.get(relative, file, self.has_room)
                    self._finish(file, temporary, relative)
        return path

    @contextlib.contextmanager
    def reading(self, relatives: Iterable[str]) -> Iterator[None]:
        """They are fetched side by side."""
        with self._cache.reading():
            for _ in self._writers.map(self.path, relatives):
                pass
            yield

    def opened(self, relative: str) -> IO[bytes]:
        with _some_faults_last(), self._written() as (file, path):
            self._store.get(relative, file, self.has_room)
            file.seek(0)
            path.unlink()
            return os.fdopen(os.dup(file.fileno()), "rb")

    def holds(self, relative: str, sha256: str) -> bool:
        return self._store.holds(relative)

    def files(self) -> set[str]:
        """Of the bucket, without what may be about to get its row. A million take a thousand answers of the store."""
        return {name for shelf in SHELVES for name in self._listed(shelf, self._settled[shelf])}

    def names(self) -> set[str]:
        return {name for shelf in SHELVES for name in self._listed(shelf, timedelta.min)}

    def _listed(self, shelf: str, settled: timedelta) -> Iterator[str]:
        listed = self._store.listed(shelf)
        return (found.name for found in listed if found.age >= settled and found.name.endswith(".dcm"))

    def cached(self) -> set[str]:
        return super().files()

    def forget(self, relatives: Iterable[str]) -> None:
        for relative in relatives:
            (self.root / relative).unlink(missing_ok=True)

    def discard(self, relative: str) -> None:
        self._store.remove(relative)
        self.forget([relative])

    def settle(self, relatives: Iterable[str]) -> None:
        """What the store removed is removed."""

    @contextlib.contextmanager
    def locked(self, folder: str) -> Iterator[None]:
        """On this machine alone; what is in the bucket may be in no folder here."""
        self._make(self.root / folder)
        with super().locked(folder):
            yield

    def has_room(self, more: int = 0) -> bool:
        """The cache gives way first."""
        if super().has_room(more):
            return True
        self._cache.give_way(2 * self.min_free_bytes + more - self.free_bytes())
        return super().has_room(more)

    def trouble(self) -> str:
        if time.monotonic() >= self._well_until:
            try:
                self._probe()
            except Away as error:
                self._writes_until = float("-inf")
                return error.reason
            self._well_until = time.monotonic() + PROBE_SECONDS
        return super().trouble()

    def _probe(self) -> None:
        """Now and then by writing, else by asking."""
        if time.monotonic() < self._writes_until:
            self._store.holds(PROBE)
            return
        self._store.put(PROBE, io.BytesIO())
        self._writes_until = time.monotonic() + WRITE_SECONDS

    @property
    def place(self) -> str:
        return self._store.url

    def identity(self) -> str:
        """Misconfigured where the bucket cannot be written, listed, read and cleared: a node begins with this."""
        try:
            self._store.put(PROBE, io.BytesIO())
            self._store.remove(PROBE)
            next(self._store.listed(RECEIVED), None)
            return super().identity()
        except Away as error:
            raise Misconfigured(f"the archive {self.place} cannot be used: {error.reason}") from error

    def mark(self) -> str:
        found = io.BytesIO()
        with contextlib.suppress(FileNotFoundError):
            self._store.get(ARCHIVE_ID, found)
        return found.getvalue().decode("utf-8", "replace").strip()

    def identify(self, identity: str) -> None:
        self._store.put_first(ARCHIVE_ID, identity.encode())
        if super().identity() != identity:
            raise FileExistsError(ARCHIVE_ID)

    def remark(self, mark: str) -> None:
        self._store.put(ARCHIVE_ID, io.BytesIO(mark.encode()))

    @contextlib.contextmanager
    def _written(self) -> Iterator[tuple[BinaryIO, Path]]:
        """A temporary file, which is gone afterwards unless it was renamed."""
        path = self.new_temporary()
        with removed_on_error(path), os.fdopen(open_new(path, direct=False), "w+b") as file:
            yield cast(BinaryIO, file), path

    def _finish(self, file: BinaryIO, path: Path, relative: str) -> None:
        file.flush()
        self._sync(file.fileno())
        size = file.tell()
        self._take(path, relative)
        self._cache.added(size)

    def _take(self, temporary: Path, relative: str) -> None:
        target = self.root / relative
        self._make(target.parent)
        for path in (target.parent, temporary):
            _give_to_owner(path, self.root)
        temporary.replace(target)


@contextlib.contextmanager
def _some_faults_last() -> Iterator[None]:
    """Those of the object; one of the disk may be over later."""
    try:
        yield
    except (FileNotFoundError, Damaged):
        raise
    except OSError as error:
        raise OutOfResources(failure(error)) from error


def _give_to_owner(path: Path, of: Path) -> None:
    """What a command of root's fetches is the node's as well."""
    if os.geteuid() == 0:
        owner = of.stat()
        with contextlib.suppress(PermissionError):  # of a root that may not
            os.chown(path, owner.st_uid, owner.st_gid)


def _fresh(sop_uid: str, shelf: str) -> str:
    """A name that nothing else ever has."""
    return f"{name_of(sop_uid, shelf).removesuffix('.dcm')}-{uuid4().hex[:16]}.dcm"
