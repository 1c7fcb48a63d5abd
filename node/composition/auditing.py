"""The audit trail of a node that is served: its start, its end, what differs in its settings, and what keeps the trail.

Part of the composition root.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from starlette.middleware import Middleware

from node import __version__
from node.audit.keeping import Keeper
from node.core.audit import AuditEvent
from node.core.settings import Settings, as_tree
from node.db import audit
from node.db.session import Database
from node.folders import Folders
from node.pipeline.trail import Trail
from node.web.told import Told

COPIED = ("analysis", "selection")  # in the settings of a run the path of its own copy


class Auditing:
    """Made before the settings of this run are written: it reads those of the run before."""

    def __init__(
        self, database: Database, effective: Settings, folders: Folders, clock: Callable[[], datetime]
    ) -> None:
        self._database, self._clock = database, clock
        self._changed = changes(_last(folders), as_tree(effective))
        self._keeper = Keeper(database, effective.audit, effective.node.aet, clock)
        self.turn = self._keeper.turn
        self.before_routes = Middleware(Told, tell=Trail(database, clock).tell, dicomweb=effective.dicomweb.prefix)

    def started(self) -> None:
        """Once the schema is there."""
        self._keeper.begin()
        with self._database.write() as session:
            audit.append(session, AuditEvent("start", details={"version": __version__}), self._clock())
            if self._changed:
                audit.append(session, AuditEvent("settings", details=self._changed), self._clock())

    def changed(self, before: Settings, after: Settings) -> None:
        """A reload that holds."""
        if found := changes(as_tree(before), as_tree(after)):
            with self._database.write() as session:
                audit.append(session, AuditEvent("settings", details=found), self._clock())

    def refused(self, reason: str) -> None:
        """A reload that does not."""
        with self._database.write() as session:
            event = AuditEvent("settings", outcome="serious", details={"refused": reason})
            audit.append(session, event, self._clock())

    def stopped(self, turn: Callable[[], object]) -> None:
        """When everything else has ended: the last rows are chained and sent, where that is for this node to do."""
        with self._database.write() as session:
            audit.append(session, AuditEvent("stop"), self._clock())
        turn()


def _last(folders: Folders) -> Mapping[str, Any] | None:
    try:
        found = json.loads(folders.worker_settings.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def changes(before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> dict[str, list[Any]]:
    """ "section.key": [before, after] of what differs; of a first start nothing does."""
    if before is None:
        return {}
    now, found = json.loads(json.dumps(after)), {}
    for section in dict.fromkeys((*before, *now)):
        old, new = (tree.get(section, {}) for tree in (before, now))
        for key in dict.fromkeys((*old, *new)):
            pair = [old.get(key), new.get(key)]
            both = (section, key) == COPIED and all(pair)
            if section == "sites":
                pair = [value and {**value, "selection": bool(value.get("selection"))} for value in pair]
            if pair[0] != pair[1] and not both:
                found[f"{section}.{key}"] = pair
    return found
