"""What the receiver processes of one node must know of one another: who is associated and sends what, whose turn it is.

Small files under one folder, changed under one ``flock``. They describe the run that is going on, so nothing is synced
and a start begins with none; what a killed process leaves is taken down by its supervisor. An association is an empty
file ``open/<process>/<name>.<calling AE title in hex>``, into which the studies go that it sends, a UID a line: room
on disk is not needed to associate.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import struct
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from node.core import locks
from node.fetching import Fetching

LONGEST_SECONDS = 10.0  # for another process; each changes a file and lets go
TURN = struct.Struct("d")  # seconds of a clock that all processes share, such as time.monotonic


@dataclass(frozen=True)
class Count:
    """Associations that are open in all processes: of everybody, and of one calling AE title."""

    all: int
    of_peer: int


class Board:
    """As ``process`` sees and changes it; every method may be called from any thread."""

    def __init__(self, folder: Path, process: str = "") -> None:
        """process: the receiver that it is; empty for the supervisor, who only looks."""
        self._folder, self._process = folder, process
        self.fetching = Fetching(folder / "fetching")
        self._open, self._own = folder / "open", folder / "open" / process
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "lock").touch()
        self._known: dict[str, tuple[Path, set[str]]] = {}  # own associations, and what each sent of
        self._guard = threading.Lock()

    def clear(self) -> None:
        """Nobody is associated, nobody was rejected: a node starts."""
        shutil.rmtree(self._open, ignore_errors=True)
        for path in self._folder.iterdir():
            if path.name != "lock" and path.is_file():
                path.unlink(missing_ok=True)

    def serve(self) -> None:
        """This process takes associations from now on."""
        self._own.mkdir(parents=True, exist_ok=True)

    def retire(self) -> None:
        """This process takes no more associations; those that it has go on."""
        (self._folder / f"retired.{self._process}").touch()

    def serves(self, process: str) -> bool:
        """Whether it takes associations, or died while it did."""
        return (self._open / process).is_dir() and not (self._folder / f"retired.{process}").exists()

    def serving(self, besides: str = "") -> int:
        """How many processes do but for one that is named, dead ones included until they are released."""
        return sum(1 for path in self._open.glob("*") if path.name != besides)

    def release(self, process: str) -> int:
        """Take down what a dead process left; how many associations ended with it."""
        left = sum(1 for _ in (self._open / process).glob("*"))
        shutil.rmtree(self._open / process, ignore_errors=True)
        (self._folder / f"retired.{process}").unlink(missing_ok=True)
        return left

    def enter(self, association: str, calling_aet: str, most: int, most_of_peer: int) -> bool:
        """Whether one more association may be open; it is from now on. 0: no limit."""
        peer = calling_aet.encode("utf-8", "replace").hex()
        with self._locked():
            if most or most_of_peer:
                count = self._count(peer)
                if (most and count.all >= most) or (most_of_peer and count.of_peer >= most_of_peer):
                    return False
            path = self._own / f"{association}.{peer}"
            path.touch()
        with self._guard:
            self._known[association] = (path, set())
        return True

    def _count(self, peer: str) -> Count:
        names = [path.name for path in self._open.glob("*/*")]
        return Count(len(names), sum(name.rpartition(".")[2] == peer for name in names))

    def associations(self) -> int:
        """How many are open, in all processes."""
        return sum(1 for _ in self._open.glob("*/*"))

    def leave(self, association: str) -> None:
        with self._guard:
            path, _ = self._known.pop(association, (None, None))
        if path is not None:
            path.unlink(missing_ok=True)

    def sends(self, association: str, study_uid: str) -> None:
        """An object of this study came; to be said before its row can be seen. Nothing where none such is open."""
        with self._guard:
            path, studies = self._known.get(association, (None, set()))
            if path is None or study_uid in studies:
                return
            with path.open("ab", buffering=0) as file:
                file.write(f"{study_uid}\n".encode())
            studies.add(study_uid)

    def has_begun(self, association: str, study_uid: str = "") -> bool:
        """Whether this process's association has sent something already; with a UID, of that study."""
        with self._guard:
            _, studies = self._known.get(association, (None, set[str]()))
            return study_uid in studies if study_uid else bool(studies)

    def open_studies(self) -> frozenset[str]:
        """Studies that an association which is still open, in any process, has sent something of; and those that are
        being fetched."""
        found = set(self.fetching.studies())
        for path in self._open.glob("*/*"):
            with contextlib.suppress(FileNotFoundError):
                found.update(path.read_text(encoding="utf-8", errors="replace").splitlines())
        return frozenset(found)

    def turn(self, calling_aet: str, now: float, pause: float) -> float:
        """When it is this peer's turn; the next one is ``pause`` seconds later, in whatever process."""
        path = self._folder / f"turn.{calling_aet.encode('utf-8', 'replace').hex()}"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            locks.lock(descriptor, LONGEST_SECONDS)
            kept = os.pread(descriptor, TURN.size, 0)
            turn = max(now, *TURN.unpack(kept)) if len(kept) == TURN.size else now
            os.pwrite(descriptor, TURN.pack(turn + pause), 0)
        finally:
            os.close(descriptor)
        return turn

    def note_rejection(self, words: str) -> None:
        with self._locked():
            counts = self.rejected()
            counts[words] += 1
            temporary = self._folder / "rejected.part"
            with contextlib.suppress(OSError):  # a full disk; it is only a count
                temporary.write_text(json.dumps(counts), encoding="utf-8")
                temporary.replace(self._folder / "rejected.json")

    def rejected(self) -> Counter[str]:
        """Associations rejected since the start, by reason."""
        try:
            return Counter(json.loads((self._folder / "rejected.json").read_text(encoding="utf-8")))
        except (FileNotFoundError, ValueError):
            return Counter()

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        descriptor = os.open(self._folder / "lock", os.O_RDWR)
        try:
            locks.lock(descriptor, LONGEST_SECONDS)
            yield
        finally:
            os.close(descriptor)
