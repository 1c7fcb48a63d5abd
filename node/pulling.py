"""``lungnode pull``: studies of a peer into a node's data folder, with a progress bar; what is missing with its reason.

C-GET receives in this process and stores as the node would, whether that runs or not. C-MOVE has the peer send to the
node's own port, so the node must run and the peer must know its AE title.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from node.app import now
from node.archive import Archive
from node.asking import open_database
from node.core import settings
from node.core.errors import LungnodeError, Misconfigured
from node.core.settings import Destination, Settings
from node.db import intake as rows
from node.db import schema
from node.db.session import Database, sqlite_url
from node.dimse import pull as network
from node.dimse.pull import Fetched, Listed
from node.dimse.scu import Peer
from node.dimse.tls import Certificates
from node.folders import Folders
from node.pipeline.intake import Intake

Method = Literal["get", "move"]
SILENCE_SECONDS = 300.0  # a peer may fetch from tape, or report nothing before a C-MOVE is done


@dataclass(frozen=True)
class _Source:
    peer: Peer
    method: Method
    database: Database
    intake: Intake


def pull(
    data: Path, config: Path | None, source: str, study_uids: Sequence[str], keys: Mapping[str, str], method: Method
) -> int:
    """Pull the studies named and those that match ``keys``; 0 when all that the peer holds of them is here."""
    if not study_uids and not keys:
        raise Misconfigured("pull needs STUDY_UID..., --patient-id, --accession or --since")
    effective = _settings(data, config)
    logging.getLogger("node").addHandler(logging.NullHandler())  # each failure is said below
    found = Destination.parse(source)
    over_tls = Certificates(effective.tls) if found.name in effective.tls.destinations else None
    peer = Peer(
        found.host,
        found.port,
        found.aet,
        effective.node.aet,
        dimse_timeout=SILENCE_SECONDS,
        certificates=over_tls,
    )
    from_ = _Source(peer, method, database := _database(data, method), _intake(effective, data, database))
    try:
        studies = list(dict.fromkeys((*study_uids, *(network.find_studies(peer, keys) if keys else ()))))
        if not studies:
            sys.stderr.write(f"lungnode: {found.name} holds no study that matches\n")
            return 1
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True)) as progress:
            lost = [_pull_one(from_, study_uid, progress) for study_uid in studies]
        return 1 if any(lost) else 0
    finally:
        database.close()


def _settings(data: Path, config: Path | None) -> Settings:
    """Those named; else those of the node's last run on this folder; else the defaults."""
    folders = Folders(data)
    if config is None and folders.worker_settings.exists():
        return folders.read_worker_settings()
    return settings.load(config, os.environ)


def _database(data: Path, method: Method) -> Database:
    """That of the folder; C-GET may fill a new one."""
    if method == "move" or (data / "lungnode.sqlite").exists():
        return open_database(data)
    Folders(data).make()
    database = Database(sqlite_url(data))
    schema.migrate(database.engine)
    return database


def _intake(effective: Settings, data: Path, database: Database) -> Intake:
    archive = Archive(Folders(data).archive, effective.receive.fsync, effective.receive.min_free_bytes)
    return Intake(database, archive, effective.receive.max_instance_bytes, now)


def _pull_one(source: _Source, study_uid: str, progress: Progress) -> bool:
    """Whether anything of the study is missing, after saying what and why."""
    task = progress.add_task(f"{study_uid[-24:]} from {source.peer.aet}", total=None)
    try:
        listed = network.list_objects(source.peer, study_uid)
        if not listed:
            raise LungnodeError(f"{source.peer.aet} holds no such study")
        progress.update(task, total=len(listed))
        fetched = _fetch(source, study_uid, listed, progress, task)
    except LungnodeError as error:
        sys.stderr.write(f"{study_uid}: {error}\n")
        return True
    missing = [one for one in listed if not _is_here(source.database, one)]
    general = fetched.comment or f"{source.peer.aet} did not send it"
    reasons = {**{one.sop_instance_uid: general for one in missing}, **fetched.reasons}
    for uid, reason in reasons.items():
        sys.stderr.write(f"{study_uid}: {uid}: {reason}\n")
    sys.stdout.write(f"{study_uid}: {len(listed) - len(missing)} of {len(listed)} are here\n")
    return bool(missing)


def _fetch(source: _Source, study_uid: str, listed: Sequence[Listed], progress: Progress, task: TaskID) -> Fetched:
    if source.method == "get":
        return network.get(source.peer, study_uid, listed, source.intake, lambda: progress.advance(task))
    return network.move(
        source.peer, study_uid, source.peer.calling_aet, lambda done: progress.update(task, completed=done)
    )


def _is_here(database: Database, one: Listed) -> bool:
    with database.read() as session:
        known = rows.known_instance(session, one.sop_instance_uid)
    return known.sha256 is not None
