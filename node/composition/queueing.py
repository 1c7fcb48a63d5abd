"""Which queue engine the settings ask for. Part of the composition root."""

from __future__ import annotations

import importlib
from typing import cast

from node.core.settings import Settings
from node.db.session import Database
from node.queue.engine import Engine, Ledger


def engine_of(effective: Settings, database: Database, pipeline: str) -> Engine:
    """pipeline: which models and settings this node's workers have. Procrastinate is imported where it is asked for."""
    if effective.queue.engine == "ledger":
        return Ledger()
    module = importlib.import_module("node.queue.postgres")
    return cast(Engine, module.Procrastinate(database, pipeline))
