"""One file of the archive while it is received: memory to receive into, written out chunk by chunk as it fills.

Chunks go past the page cache where the file system allows it (O_DIRECT): fresh pages cost more than the disk does, and
what was received is not read at once. Memory is page-aligned and kept for the next object; a file that is larger than
two chunks takes no more of it than a small one. The digest is that of the data set, without preamble and meta group.
Nothing is durable before ``Archive.keep`` has returned.
"""

from __future__ import annotations

import fcntl
import hashlib
import mmap
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO, TypeVar

T = TypeVar("T")
CHUNK = 1 << 20
BLOCK = 4096  # addresses, offsets and lengths of direct writes are multiples of it
SPARE = 64  # chunks kept for later objects
META = 128 + 4 + 12  # preamble, prefix, and the element that says how long the rest of the meta group is (PS3.10 7.1)


def digest_of(file: IO[bytes]) -> str:
    """SHA-256 of the data set in a stored file, as at its receipt: of what stands behind preamble and meta group."""
    digest, front = hashlib.sha256(), file.read(META)
    file.seek(META + int.from_bytes(front[META - 4 :], "little"))
    while piece := file.read(CHUNK):
        digest.update(piece)
    return digest.hexdigest()


class Chunks:
    """Page-aligned memory in pieces of CHUNK bytes, used again and again."""

    def __init__(self) -> None:
        self._free: list[mmap.mmap] = []

    def take(self) -> mmap.mmap:
        try:
            return self._free.pop()
        except IndexError:
            return mmap.mmap(-1, CHUNK)

    def give(self, chunk: mmap.mmap) -> None:
        if len(self._free) < SPARE:
            self._free.append(chunk)


def open_new(path: Path, direct: bool) -> int:
    """Locked until it is closed, so that it is not taken for what a dead process left."""
    flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | (os.O_DIRECT if direct else 0)
    descriptor = os.open(path, flags, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    return descriptor


def is_abandoned(path: Path) -> bool:
    """Whether nobody has it open any more."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:  # it has its name by now, or cannot be read: no lock speaks for it
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


def takes_direct(folder: Path) -> bool:
    """Whether files in this folder can be written past the page cache."""
    probe = folder / "direct.part"
    try:
        descriptor = os.open(probe, os.O_CREAT | os.O_RDWR | os.O_DIRECT, 0o600)
    except OSError:
        return False
    else:
        try:
            return os.pwrite(descriptor, mmap.mmap(-1, BLOCK), 0) == BLOCK
        except OSError:
            return False
        finally:
            os.close(descriptor)
    finally:
        probe.unlink(missing_ok=True)


class Incoming:
    """Receive into ``room()`` and say so by ``took``; ``finish`` when all has come. The archive keeps it or drops it.

    A disk that fails does not stop the peer in mid-sentence: the rest is received and let go, and ``written`` raises.
    """

    def __init__(self, path: Path, front: bytes, chunks: Chunks, writers: ThreadPoolExecutor, direct: bool) -> None:
        self.path, self._chunks, self._writers = path, chunks, writers
        self._descriptor = open_new(path, direct)
        self._chunk, self._other = chunks.take(), None  # type: mmap.mmap, mmap.mmap | None
        self._chunk[: len(front)] = front
        self._begin, self._fill, self._hashed = 0, len(front), len(front)
        self._front = len(front)
        self._writing: Future[None] | None = None
        self._digest = hashlib.sha256()
        self._failed: OSError | None = None

    @property
    def received(self) -> int:
        """Bytes of the data set so far."""
        return self._begin + self._fill - self._front

    def room(self, most: int) -> memoryview:
        """Where the next bytes go: at least one, at most ``most``."""
        if self._fill == CHUNK:
            self._turn_over()
        return memoryview(self._chunk)[self._fill : min(CHUNK, self._fill + most)]

    def took(self, count: int) -> None:
        self._fill += count

    def _turn_over(self) -> None:
        """Hand the full chunk to a writer and go on in the other one."""
        self._wait()
        full, begin = self._chunk, self._begin
        self._writing = self._writers.submit(self._write, full, begin, CHUNK)
        self._digest.update(memoryview(full)[self._hashed : CHUNK])
        self._chunk, self._other = self._other or self._chunks.take(), full
        self._begin, self._fill, self._hashed = begin + CHUNK, 0, 0

    def _wait(self) -> None:
        if self._writing is not None:
            writing, self._writing = self._writing, None
            try:
                writing.result()
            except OSError as error:
                self._failed = self._failed or error

    def _write(self, chunk: mmap.mmap, begin: int, length: int) -> None:
        view = memoryview(chunk)[: -(-length // BLOCK) * BLOCK]
        done = len(view) if self._failed else 0
        while done < len(view):
            done += os.pwrite(self._descriptor, view[done:], begin + done)

    def finish(self) -> None:
        """Nothing more comes: write a small file, or begin to write the last chunk of a large one. ``whole`` and
        ``digest`` may be asked meanwhile."""
        self._wait()
        if self._begin:
            self._writing = self._writers.submit(self._write_last, self._chunk, self._begin, self._fill)
            return
        try:  # waking another thread costs more than what it could do meanwhile
            self._write_last(self._chunk, self._begin, self._fill)
        except OSError as error:
            self._failed = self._failed or error

    def _write_last(self, chunk: mmap.mmap, begin: int, length: int) -> None:
        self._write(chunk, begin, length)
        os.ftruncate(self._descriptor, begin + length)  # direct writes are whole blocks

    def digest(self) -> str:
        """SHA-256 of the data set; after ``finish``."""
        self._digest.update(memoryview(self._chunk)[self._hashed : self._fill])
        self._hashed = self._fill
        return self._digest.hexdigest()

    def whole(self, read: Callable[[memoryview], T]) -> T:
        """What ``read`` makes of the whole data set: in memory where it is still there, else mapped from the file."""
        if not self._begin:
            return read(memoryview(self._chunk)[self._front : self._fill])
        self.written(sync=False)
        size = self._begin + self._fill
        content = mmap.mmap(self._descriptor, size, access=mmap.ACCESS_READ)
        return read(memoryview(content)[self._front :])  # unmapped with its last view, which an error may hold

    def written(self, sync: bool) -> None:
        """Wait until the file is complete, and durable where ``sync`` is wanted."""
        self._wait()
        if self._failed:
            raise self._failed
        if sync:
            os.fsync(self._descriptor)

    def close(self) -> None:
        """Give descriptor and memory back. Never raises for a write that failed by itself."""
        if self._writing is not None:
            self._writing.exception()
            self._writing = None
        os.close(self._descriptor)
        for chunk in (self._chunk, self._other):
            if chunk is not None:
                self._chunks.give(chunk)
