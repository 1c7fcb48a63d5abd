"""What is stuck of a node, seen from its data folder, and ``lungnode retry``; how a node does is ``condition``."""

from __future__ import annotations

import contextlib
import http.client
import json
import ssl
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from node import condition
from node.commands.asking import now, open_database
from node.core import settings
from node.core.audit import account
from node.core.settings import Settings
from node.db import stuck, told
from node.folders import Folders
from node.pipeline.disks import disks
from node.pipeline.probe import WAIT_SECONDS, Trouble

ANSWER_SECONDS = 5 + WAIT_SECONDS  # the node may have to find out that its database is held
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # bound to, and where that answers


def lines(session: Session, data: Path) -> list[str]:
    """How the node of this folder does."""
    return condition.lines(condition.of(session, _node(data), now()))


def advice(session: Session, data: Path, study_uid: str) -> list[str]:
    """How to mend what is stuck of one study."""
    found = condition.of(session, _node(data), now())
    return [f"To try again: {found.command(one)}" for one in found.stuck if one.subject == study_uid]


def retry(data: Path, study_uid: str) -> int:
    """Another try of an analysis that was given up. 1 when there is no such study."""
    with open_database(data).write() as session:
        again = stuck.study_again(session, study_uid, now())
        if again:
            told.command(session, account(), "retry", now(), study_uid)
    if again is None:
        sys.stderr.write(f"lungnode: no study {study_uid} is stored here\n")
        return 1
    said = "waits for analysis again" if again else "its analysis was not given up, so nothing is tried again"
    sys.stdout.write(f"{study_uid}: {said}\n")
    return 0


def _node(data: Path) -> condition.Node:
    """What its folder tells: its disk, the settings of its last run, and whether it answers now."""
    folders = Folders.known(data)
    effective = folders.last_settings() or settings.load()
    said = _says(folders, effective)
    workers = effective.node.workers if said is not None else None
    cannot_write = (said or {}).get("cannot_write", {})
    troubles = tuple(Trouble(str(subject), str(reason)) for subject, reason in cannot_write.items())
    counts = (said or {}).get("receivers")
    receivers = condition.Receivers(**counts) if counts else None
    archive, floor = folders.archive if folders.archive.exists() else data, effective.receive.min_free_bytes
    file = None if effective.database.url else data / "lungnode.sqlite"
    room = disks(archive, file, floor, effective.limits.warn_free_factor, cached=bool(effective.archive.url))
    return condition.Node(data, said is not None, room, workers, troubles, receivers)


def _says(folders: Folders, effective: Settings) -> dict[str, Any] | None:
    """What the node of this folder says of itself; None where none lives. Its lock would tell that too, but to try it
    could keep a node from starting. Whose certificate it is does not matter on the way to oneself."""
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    host, scheme = effective.node.http_host, "https" if effective.web.certificate else "http"
    with contextlib.suppress(OSError, ValueError, KeyError, http.client.HTTPException):
        port = int(json.loads(folders.ports.read_text(encoding="utf-8"))["http"])
        ready = f"{scheme}://{EVERYWHERE.get(host, host)}:{port}/health/ready"
        try:
            with urllib.request.urlopen(ready, timeout=ANSWER_SECONDS, context=trusting) as answer:
                said: dict[str, Any] = json.load(answer)
        except urllib.error.HTTPError as error:  # it lives; 503: and says its problems
            said = json.load(error) if error.code == 503 else {}
        return said
    return None
