"""``lungnode status`` and ``migrate``, and how all commands find a node's database and settings.

Text goes to standard output, problems to standard error. What takes long to import stays out of here, since somebody
waits for each command.
"""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from pathlib import Path

from node.core import settings
from node.core.audit import account
from node.core.errors import Misconfigured
from node.core.settings import Settings
from node.db import schema, story, told
from node.db.session import Database, url_of
from node.folders import Folders, database_url


def say(text: str) -> None:
    """A line on standard output."""
    sys.stdout.write(text + "\n")


def now() -> datetime:
    return datetime.now(UTC)


def open_database(data: Path) -> Database:
    """The database of a data folder; Misconfigured where there is none, or one of another version."""
    url = database_url(data)
    if not url and not (data / "lungnode.sqlite").exists():
        raise Misconfigured(f"{data} holds no lungnode database")
    database = Database(url_of(data, url))
    schema.require_current(database.engine)
    return database


def settings_of(data: Path | None, config: Path | None) -> Settings:
    """The settings of ``config``, else those with which a node last ran on ``data``, else the shipped ones."""
    if config is None and data is not None and Folders(data).worker_settings.exists():
        return Folders(data).read_worker_settings()
    return settings.load(config, os.environ)


def status(data: Path, study_uid: str | None, most: int) -> int:
    """How the node does, a line for each of the newest ``most`` studies; or one study's story. 1 when it is unknown."""
    from node.commands import mending  # it opens the database by this module

    with open_database(data).read() as session:
        if study_uid is None:
            say("\n".join(mending.lines(session, data)))
            found, all_of_them = story.overview(session, most), story.studies(session)
            for line in found:
                when = line.last_received_at.strftime("%Y-%m-%d %H:%M:%SZ")
                say("  ".join((line.study_uid, when, line.modalities, str(line.instances), line.state, line.sentence)))
            if len(found) < all_of_them:
                say(f"The newest {len(found)} of {all_of_them} studies; more of them: --studies N.")
            return 0
        sentences = story.story(session, study_uid)
        advice = mending.advice(session, data, study_uid)
    if sentences is None:
        sys.stderr.write(f"lungnode: no study {study_uid} is stored here\n")
        return 1
    say("\n".join((*sentences, *advice)))
    return 0


def migrate(data: Path) -> int:
    """Create or upgrade the schema."""
    data.mkdir(parents=True, exist_ok=True)
    database = Database(url_of(data, database_url(data)))
    before, after = schema.migrate(database.engine)
    if before != after:
        with database.write() as session:
            told.command(session, account(), f"migrate {before or 'none'} {after}", database.clock())
    say(f"schema {after}, nothing to do" if before == after else f"schema {before or 'none'} -> {after}")
    return 0
