"""The composition root: settings -> database, archive, queue, receiver, web, workers. Start, drain, stop.

Everything the rooms need is built here and passed in. The data folder is all the state there is:

    lungnode.sqlite   the database        archive/    received objects and results
    ports.json        the real ports      run/        the lock, and the settings of this run for its workers
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib
import json
import logging
import os
import signal
import sys
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import IO, cast

from models.api import Registry
from node import __version__
from node.archive import Archive
from node.core import log, settings
from node.core.errors import Misconfigured
from node.core.settings import Settings
from node.db import schema, story
from node.db.session import Database, sqlite_url

logger = logging.getLogger(__name__)


def now() -> datetime:
    return datetime.now(UTC)


def open_registry() -> Registry:
    """The model registry of this installation. Reads cards only; torch is loaded by a worker's first load."""
    module = importlib.import_module("models.registry")
    return cast(Registry, module.Registry(Path(str(resources.files("models"))) / "weights"))


def pipeline_key(effective: Settings, registry: Registry) -> str:
    """Digest of what, besides the images, decides a result: settings of the analysis and the models' digests."""
    wanted = (effective.analysis.segmenter, *effective.analysis.systems)
    cards = {card.system: card for card in registry.cards()}
    missing = [system for system in wanted if system not in cards]
    if missing:
        raise Misconfigured(f"no model {', '.join(missing)} is installed; there are {', '.join(sorted(cards))}")
    parts = [f"{cards[system].system} {cards[system].version} {cards[system].weights_sha256}" for system in wanted]
    return hashlib.sha256("\n".join((*parts, effective.analysis.device)).encode()).hexdigest()


@dataclass(frozen=True)
class Folders:
    """The layout of a data folder."""

    data: Path

    @property
    def archive(self) -> Path:
        return self.data / "archive"

    @property
    def run(self) -> Path:
        return self.data / "run"

    @property
    def ports(self) -> Path:
        return self.data / "ports.json"

    @property
    def worker_settings(self) -> Path:
        return self.run / "settings.json"

    def make(self) -> None:
        try:
            for folder in (self.data, self.archive, self.run):
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise Misconfigured(f"cannot use the data folder {self.data}: {error.strerror}") from error


def lock(folders: Folders) -> IO[str]:
    """Hold the data folder for this process: two nodes on one folder would analyse everything twice."""
    handle = (folders.run / "lock").open("w")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise Misconfigured(f"another node runs on {folders.data}") from error
    return handle
