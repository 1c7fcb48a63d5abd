"""What became of the last reload, for ``lungnode reload`` and ``lungnode status``: a small file of the run.

Part of the composition root, which writes it when a reload is over.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from node.folders import Folders


@dataclass(frozen=True)
class Reload:
    """at: when it was over. refused: why nothing of it holds; empty: it does. changed: what holds since then, and
    waiting: what does from the next start on, each as section.key."""

    at: datetime
    refused: str = ""
    changed: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()

    def sentence(self) -> str:
        if self.refused:
            return f"The new settings were refused, and the old ones hold: {self.refused}"
        said = [f"Changed: {', '.join(self.changed)}." if self.changed else "Nothing that can change now has changed."]
        if self.waiting:
            said.append(f"From the next start on: {', '.join(self.waiting)}.")
        return " ".join(said)


OF_RECEIVERS = frozenset(
    {"receive", "delivery", "destinations", "objects", "query", "commitment", "limits", "access", "sites", "tls"}
)
OF_WORKERS = frozenset({"analysis", "lanes", "results", "objects", "delivery", "destinations", "sites"})


def concerns_receivers(changed: Iterable[str]) -> bool:
    return any(name == "node.log_level" or name.partition(".")[0] in OF_RECEIVERS for name in changed)


def concerns_workers(changed: Iterable[str]) -> bool:
    alone = ("node.log_level", "receive.min_free_bytes")  # the archive takes results from a worker too
    return any(name in alone or name.partition(".")[0] in OF_WORKERS for name in changed)


def write(folders: Folders, reload: Reload) -> None:
    fields = {**dataclasses.asdict(reload), "at": reload.at.isoformat()}
    temporary = folders.reload.with_suffix(".part")
    temporary.write_text(json.dumps(fields), encoding="utf-8")
    temporary.replace(folders.reload)


def last(data: Path) -> Reload | None:
    """Of the run that goes on, or the last one; None where there was none."""
    try:
        found = json.loads(Folders(data).reload.read_text(encoding="utf-8"))
        at = datetime.fromisoformat(found["at"])
        return Reload(at, found["refused"], tuple(found["changed"]), tuple(found["waiting"]))
    except (OSError, ValueError, KeyError):
        return None
