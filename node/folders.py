"""The data folder of one node: where what lies, the lock on it, and the settings of the run that is going on.

lungnode.sqlite   the database        archive/    received objects and results
                                      cache/      of an archive in a bucket
ports.json        the real ports      run/        the lock, the board of the receivers, and the settings of this run
"""

from __future__ import annotations

import fcntl
import json
import os
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from node.core import settings as configuration
from node.core.errors import LungnodeError, Misconfigured
from node.core.settings import Settings


@dataclass(frozen=True)
class Folders:
    """The layout of a data folder."""

    data: Path
    shared_archive: str = ""  # where several nodes have one together

    @classmethod
    def known(cls, data: Path) -> Folders:
        """As the run that is going on, or the last one, has them."""
        last = cls(data).last_settings()
        return cls(data, last.database.archive if last else "")

    @property
    def archive(self) -> Path:
        return Path(self.shared_archive) if self.shared_archive else self.data / "archive"

    @property
    def cache(self) -> Path:
        """Of a bucket. Never the folder of an archive: what a cache lets go of has to be a copy."""
        return self.data / "cache"

    @property
    def run(self) -> Path:
        return self.data / "run"

    @property
    def board(self) -> Path:
        return self.run / "board"

    @property
    def ports(self) -> Path:
        return self.data / "ports.json"

    @property
    def worker_settings(self) -> Path:
        return self.run / "settings.json"

    @property
    def reload(self) -> Path:
        """What became of the last reload, see ``reloading``."""
        return self.run / "reload.json"

    def member_id(self) -> str:
        """The name of this node among those that share its database; kept, so that a start knows what its last run
        was at."""
        file = self.run / "member"
        if not file.exists():
            file.write_text(uuid.uuid4().hex[:8], encoding="utf-8")
        return file.read_text(encoding="utf-8").strip()

    def write_worker_settings(self, effective: Settings) -> None:
        """Own rules of selection are copied, so that every worker of this run has those that were checked."""
        tree = configuration.as_tree(effective)
        of_sites = {f"selection-of-{name}": table for name, table in tree["sites"].items()}
        for name, table in {"selection": tree["analysis"], **of_sites}.items():
            if table["selection"]:
                copy = (self.run / f"{name}.toml").resolve()
                _replace(copy, Path(table["selection"]).read_bytes())
                table["selection"] = str(copy)
        _replace(self.worker_settings, json.dumps(tree).encode())

    def read_worker_settings(self) -> Settings:
        """Those of the run that is going on, or of the last one."""
        return configuration.from_tree(json.loads(self.worker_settings.read_text(encoding="utf-8")))

    def last_settings(self) -> Settings | None:
        """The same; None where nobody ever served this folder, or another version did."""
        try:
            return self.read_worker_settings()
        except (OSError, ValueError, KeyError, LungnodeError):
            return None

    def make(self) -> None:
        try:
            for folder in (self.data, self.archive, self.run):
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise Misconfigured(f"cannot use the data folder {self.data}: {error.strerror}") from error
        for path in (self.data, self.archive, self.run, *self.data.glob("lungnode.sqlite*")):
            if not os.access(path, os.R_OK | os.W_OK):
                raise Misconfigured(f"cannot use the data folder {self.data}: no right to write {path.name}")


def _replace(file: Path, content: bytes) -> None:
    """Whoever reads it meanwhile has the old or the new one, whole."""
    temporary = file.with_suffix(".part")
    temporary.write_bytes(content)
    temporary.replace(file)


def database_url(data: Path) -> str:
    """Of the environment, else of the last run on this folder; empty: the SQLite file there."""
    if named := os.environ.get("LUNGNODE_DATABASE_URL", ""):
        return named
    last = Folders(data).last_settings()
    return last.database.url if last else ""


def lock(folders: Folders) -> IO[str]:
    """Hold the data folder for this process: two nodes on one folder would analyse everything twice."""
    try:
        handle = (folders.run / "lock").open("w")
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise Misconfigured(f"another node runs on {folders.data}") from error
    except OSError as error:
        raise Misconfigured(f"cannot use the data folder {folders.data}: {error.strerror}") from error
    folders.ports.unlink(missing_ok=True)  # what an earlier node left; never a running one's
    folders.reload.unlink(missing_ok=True)
    handle.write(str(os.getpid()))
    handle.flush()
    return handle


def running(data: Path) -> int | None:
    """The process id of the node that runs on this folder; None where none does."""
    try:
        with (Folders(data).run / "lock").open() as handle:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return int((Folders(data).run / "lock").read_text() or 0) or None
    except OSError:
        pass
    return None
