"""``lungnode retention``: what would go from the archive and why the rest stays; hold, free, allow.

Everything goes through the database, so it holds for the node that runs now and for the next one. ``plan`` changes
nothing: it asks what the node's duty asks, with the settings of its last run or with those to be tried.
"""

from __future__ import annotations

import shlex
from pathlib import Path

from node.commands.asking import now, open_database, say, settings_of
from node.composition import keeping
from node.composition.archiving import archive_of
from node.core.audit import account
from node.core.errors import Misconfigured
from node.db import holds, told
from node.db import retention as rows
from node.folders import Folders

NOT_DUE = "no rule asks for its removal yet"


def plan(data: Path, config: Path | None) -> int:
    """Every study with files, the least recently needed first."""
    database, effective = open_database(data), settings_of(data, config)
    if not effective.retention.is_on:
        say("[retention] is off: nothing is ever removed")
    archive = archive_of(effective, Folders.known(data))
    keeper = keeping.retention(effective, database, archive, now)
    decision = keeper.decide()
    going = {one.id: rule for one, rule in decision.going}
    with database.read() as session:
        known = rows.candidates(session, keeper.bounds())
    for one in known:
        rule = going.get(one.id)
        said = (
            f"goes, {one.bytes / 2**20:.1f} MiB: {rule}" if rule else f"stays: {'; '.join(one.objections) or NOT_DUE}"
        )
        say(f"{one.study_uid}  {said}")
    size = sum(one.bytes for one in known if one.id in going)
    say(f"{len(going)} of {len(known)} studies would go, {size / 2**20:.1f} MiB of what was received and its results")
    if decision.sentence:
        command = shlex.join(("lungnode", *decision.remedy, "--data", str(data)))
        say(decision.sentence + ("" if decision.remedy[-1] == "plan" else f" To let them go: {command}"))
    return 0


def hold(data: Path, study_uid: str) -> int:
    """It stays until it is freed; a study that is not here yet too."""
    with open_database(data).write() as session:
        news = holds.hold(session, study_uid, now())
        told.command(session, account(), "retention hold", now(), study_uid)
    say(f"{study_uid}: {'on hold' if news else 'was on hold before'}")
    return 0


def free(data: Path, study_uid: str) -> int:
    with open_database(data).write() as session:
        done = holds.free(session, study_uid)
        told.command(session, account(), "retention free", now(), study_uid)
    say(f"{study_uid}: {'no longer on hold' if done else 'was not on hold'}")
    return 0


def allow(data: Path) -> int:
    """More than retention.max_percent_per_day may go, for a day."""
    with open_database(data).write() as session:
        until = holds.allow(session, now())
        told.command(session, account(), "retention allow", now())
    say(f"until {until:%Y-%m-%d %H:%M:%SZ} the limit retention.max_percent_per_day does not hold")
    return 0


def act(data: Path, action: str, study_uid: str | None, config: Path | None) -> int:
    if action in ("hold", "free"):
        if study_uid is None:
            raise Misconfigured(f"retention {action} needs STUDY_UID")
        return (hold if action == "hold" else free)(data, study_uid)
    if study_uid is not None:
        raise Misconfigured(f"retention {action} takes no STUDY_UID")
    return allow(data) if action == "allow" else plan(data, config)
