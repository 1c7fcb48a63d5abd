"""The commands that read: status and models; and migrate. Text to standard output, problems to standard error."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from node.app import open_registry
from node.core import settings
from node.core.audit import account
from node.core.errors import Misconfigured
from node.core.settings import Settings
from node.db import schema, story, told
from node.db.session import Database, url_of
from node.folders import Folders, database_url


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")


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
            _say("\n".join(mending.lines(session, data)))
            found, all_of_them = story.overview(session, most), story.studies(session)
            for line in found:
                when = line.last_received_at.strftime("%Y-%m-%d %H:%M:%SZ")
                _say("  ".join((line.study_uid, when, line.modalities, str(line.instances), line.state, line.sentence)))
            if len(found) < all_of_them:
                _say(f"The newest {len(found)} of {all_of_them} studies; more of them: --studies N.")
            return 0
        sentences = story.story(session, study_uid)
        advice = mending.advice(session, data, study_uid)
    if sentences is None:
        sys.stderr.write(f"lungnode: no study {study_uid} is stored here\n")
        return 1
    _say("\n".join((*sentences, *advice)))
    return 0


def migrate(data: Path) -> int:
    """Create or upgrade the schema."""
    data.mkdir(parents=True, exist_ok=True)
    database = Database(url_of(data, database_url(data)))
    before, after = schema.migrate(database.engine)
    if before != after:
        with database.write() as session:
            told.command(session, account(), f"migrate {before or 'none'} {after}", database.clock())
    _say(f"schema {after}, nothing to do" if before == after else f"schema {before or 'none'} -> {after}")
    return 0


def models(action: str, system: str | None) -> int:
    """list: one line a model; verify: digests, 1 when one is wrong or missing; card: one model's card as written.

    A card that names no weights is no fault.
    """
    registry = open_registry()
    cards = registry.cards()
    if action == "card":
        if system is None:
            raise Misconfigured(f"card needs the name of a model: {', '.join(card.system for card in cards)}")
        found = [card for card in cards if card.system == system]
        if not found:
            raise Misconfigured(f"there is no model {system}; there are {', '.join(card.system for card in cards)}")
        _say(found[0].text)
        return 0
    verdicts = registry.verify() if action == "verify" else {}
    for card in cards:
        verdict = f"  {verdicts[card.system] or 'digest matches'}" if verdicts else ""
        classes = ",".join(card.classes) or "-"
        _say(f"{card.system}  {card.version}  {card.kind}  {classes}  {card.weights_sha256[:12]}  {card.name}{verdict}")
    return 1 if any(verdicts.get(card.system) and card.weights_sha256 for card in cards) else 0
