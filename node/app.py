"""The composition root: settings -> database, archive, queue, receiver, web, workers. Start, drain, stop.

Everything the rooms need is built here and passed in. The data folder is all the state there is:

    lungnode.sqlite   the database        archive/    received objects and results
    ports.json        the real ports      run/        settings of this run for the workers, the lock
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
from collections.abc import Sequence
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
