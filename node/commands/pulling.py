"""``lungnode pull``: studies of a peer into a node's data folder, with a progress bar; what is missing with its reason;
and the priors of studies that are there, by the rules of [priors].

C-GET receives in this process and stores as the node would, whether that runs or not. C-MOVE has the peer send to the
node's own port, so the node must run and the peer must know its AE title.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from node.archive import Archive
from node.board import Board
from node.commands.asking import now, open_database, settings_of
from node.composition.archiving import archive_of
from node.composition.keeping import priors, source_peer
from node.composition.sharing import share
from node.core.audit import account
from node.core.errors import LungnodeError, Misconfigured
from node.core.settings import Settings
from node.db import intake as rows
from node.db import priors as prior_rows
from node.db import results, schema, told
from node.db.session import Database, sqlite_url
from node.dimse import pull as network
from node.dimse.associating import Peer
from node.dimse.prior_source import Method
from node.dimse.pull import Fetched, Listed
from node.fetching import Fetching
from node.folders import Folders, database_url
from node.pipeline.intake import Intake
from node.pipeline.priors import Priors


@dataclass(frozen=True)
class _Source:
    peer: Peer
    method: Method
    database: Database
    intake: Intake
    fetching: Fetching


def pull(
    data: Path, config: Path | None, source: str, study_uids: Sequence[str], keys: Mapping[str, str], method: Method
) -> int:
    """Pull the studies named and those that match ``keys``; 0 when all that the peer holds of them is here."""
    if not study_uids and not keys:
        raise Misconfigured("pull needs STUDY_UID..., --patient-id, --accession or --since")
    effective = settings_of(data, config)
    logging.getLogger("node").addHandler(logging.NullHandler())  # each failure is said below
    peer = source_peer(effective, source)
    database, fetching = _database(data, method), Board(Folders(data).board).fetching
    from_ = _Source(peer, method, database, _intake(effective, data, database), fetching)
    try:
        studies = list(dict.fromkeys((*study_uids, *(network.find_studies(peer, keys) if keys else ()))))
        if not studies:
            sys.stderr.write(f"lungnode: {source} holds no study that matches\n")
            return 1
        with database.write() as session:
            for study_uid in studies:
                told.command(session, account(), f"pull --from {source} --method {method}", now(), study_uid)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True)) as progress:
            lost = [_pull_one(from_, study_uid, progress) for study_uid in studies]
        return 1 if any(lost) else 0
    finally:
        database.close()


def pull_priors(data: Path, config: Path | None, source: str | None, study_uids: Sequence[str]) -> int:
    """What the node would fetch for these studies, now. source: instead of that of the settings."""
    if not study_uids:
        raise Misconfigured("pull --priors needs STUDY_UID..., studies of this node")
    effective = settings_of(data, config)
    effective = replace(effective, priors=replace(effective.priors, source=source or effective.priors.source))
    if not effective.priors.source:
        raise Misconfigured("pull --priors needs --from AET@HOST:PORT, or priors.source in the settings")
    logging.getLogger("node").addHandler(logging.NullHandler())
    database = open_database(data)
    wanted = priors(effective, database, _archive(effective, data, database), now, Board(Folders(data).board))
    with database.write() as session:
        for uid in study_uids:
            told.command(session, account(), f"pull --priors --from {effective.priors.source}", now(), uid)
    try:
        return max(_priors_of(wanted, database, uid) for uid in study_uids)
    finally:
        database.close()


def _priors_of(wanted: Priors, database: Database, study_uid: str) -> int:
    with database.read() as session:
        study_id = results.study_id_of(session, study_uid)
    if study_id is None:
        sys.stderr.write(f"{study_uid}: no such study is stored here\n")
        return 1
    try:
        said = wanted.fetch(study_id)
    except LungnodeError as error:
        sys.stderr.write(f"{study_uid}: {error}\n")
        return 1
    with database.write() as session:
        prior_rows.settle(session, study_id, now())
    sys.stdout.write(f"{study_uid}: {said}\n")
    return 0


def _database(data: Path, method: Method) -> Database:
    """That of the folder; C-GET may fill a new one."""
    if method == "move" or database_url(data) or (data / "lungnode.sqlite").exists():
        return open_database(data)
    Folders(data).make()
    database = Database(sqlite_url(data))
    schema.migrate(database.engine)
    return database


def _archive(effective: Settings, data: Path, database: Database) -> Archive:
    """Misconfigured where it is not that of the database: what goes elsewhere is nowhere for the node."""
    archive = archive_of(effective, Folders.known(data))
    share(database, archive, is_alone=False)
    return archive


def _intake(effective: Settings, data: Path, database: Database) -> Intake:
    return Intake(database, _archive(effective, data, database), effective.receive.max_instance_bytes, now)


def _pull_one(source: _Source, study_uid: str, progress: Progress) -> bool:
    """Whether anything of the study is missing, after saying what and why."""
    task = progress.add_task(f"{study_uid[-24:]} from {source.peer.aet}", total=None)
    try:
        listed = network.list_objects(source.peer, study_uid)
        if not listed:
            raise LungnodeError(f"{source.peer.aet} holds no such study")
        progress.update(task, total=len(listed))
        with source.fetching.announced(study_uid):
            fetched = _fetch(source, study_uid, listed, progress, task)
    except LungnodeError as error:
        sys.stderr.write(f"{study_uid}: {error}\n")
        return True
    missing = [one for one in listed if not _is_here(source.database, one)]
    general = fetched.comment or network.not_come(source.peer, source.method)
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
    with database.looking() as connection:
        known = rows.known_instance(connection, one.sop_instance_uid)
    return known.sha256 is not None
