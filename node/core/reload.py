"""What of new settings can hold while a node runs, and what waits for its next start.

Ports, folders and the database are held by processes that run; whatever else differs holds from the reload on.
"""

from __future__ import annotations

from typing import Any

from node.core.settings import Settings, as_tree, from_tree

WHOLE = frozenset({"database", "archive", "queue", "web", "oidc", "audit", "tracing", "dicomweb"})  # sections
KEYS = {
    "node": ("aet", "dicom_host", "dicom_port", "http_host", "http_port", "workers", "threads_per_worker"),
    "receive": ("processes", "fsync"),
    "analysis": ("device",),
    "tls": ("port", "only", "certificate", "key"),
    "query": ("serve",),
}


def waits(section: str, key: str) -> bool:
    """Whether a change of it holds from the next start on."""
    return section in WHOLE or key in KEYS.get(section, ())


def merged(running: Settings, wanted: Settings) -> tuple[Settings, list[str]]:
    """What holds after a reload, and which keys of it wait, as section.key. Misconfigured where what holds now and what
    is new do not go together."""
    old, new = as_tree(running), as_tree(wanted)
    waiting = [name for name in changed(running, wanted) if waits(*name.split(".", 1))]
    for name in waiting:
        section, key = name.split(".", 1)
        new[section][key] = old[section][key]
    return from_tree(new), waiting


def changed(before: Settings, after: Settings) -> list[str]:
    """section.key of all that differs."""
    old, new = as_tree(before), as_tree(after)
    keys = {section: dict.fromkeys((*old[section], *new[section])) for section in new}
    return [f"{section}.{key}" for section in new for key in keys[section] if _differs(old, new, section, key)]


def _differs(old: Any, new: Any, section: str, key: str) -> bool:
    absent = object()
    return bool(old[section].get(key, absent) != new[section].get(key, absent))
