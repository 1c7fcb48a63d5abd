"""``lungnode destinations``: how each destination stands, and what an operator may do about it while the node runs.

Everything goes through the database, so it holds for the node that runs now and for the next one.
"""

from __future__ import annotations

import sys
from pathlib import Path

from node.commands.asking import now, open_database
from node.core.audit import account
from node.core.errors import Misconfigured
from node.db import destinations as standings
from node.db import fallback as other_forms
from node.db import results, told
from node.db.session import Database
from node.folders import Folders


def destinations(data: Path, action: str, name: str | None, study_uid: str | None) -> int:
    """list: what each is owed, how it stands, what it does not take. pause, resume: sending to it. retry: what waits or
    was given up there, now. forget: what it does not take is tried again."""
    database = open_database(data)
    if action == "list":
        for line in _lines(database):
            sys.stdout.write(line + "\n")
        return 0
    if study_uid is not None and action != "retry":
        raise Misconfigured("--study goes with retry")
    known = _known(database, data)
    if name is None or name not in known:
        raise Misconfigured(f"{action} needs a destination of this node: {', '.join(known) or 'there is none'}")
    sys.stdout.write(f"{name}: {_act(database, action, name, study_uid)}\n")
    return 0


def _act(database: Database, action: str, name: str, study_uid: str | None) -> str:
    with database.write() as session:
        told.command(session, account(), f"destinations {action} {name}", now(), study_uid or "")
        if action == "pause":
            news = standings.pause(session, name, now())
            return "paused; an association that is under way ends as it ends" if news else "was paused before"
        if action == "resume":
            return "sent to again" if standings.resume(session, name) else "was not paused"
        if action == "forget":
            classes, again = other_forms.forget(session, name, now())
            return f"{classes} refused SOP classes forgotten, {again} deliveries wait again"
        if study_uid is not None and results.study_id_of(session, study_uid) is None:
            raise Misconfigured(f"no study {study_uid} is stored here")
        again, sooner = standings.retry(session, name, now(), study_uid)
        return f"{again} deliveries wait again, {sooner} are due now instead of later"


def _known(database: Database, data: Path) -> list[str]:
    """Those of the ledger, then those of the settings that were owed nothing yet."""
    with database.read() as session:
        found = other_forms.destinations(session)
    folders = Folders(data)
    if folders.worker_settings.exists():
        found += [peer.name for peer in folders.read_worker_settings().peers]
    return list(dict.fromkeys(found))


def _lines(database: Database) -> list[str]:
    lines = []
    with database.read() as session:
        refusals = other_forms.refusals(session)
        for name in other_forms.destinations(session):
            counted = ", ".join(f"{count} {state}" for state, count in standings.owed(session, name).items())
            lines.append(f"{name}  {counted}")
            if sentence := standings.standing(session, name).sentence:
                lines.append(f"{name}  {sentence}")
            found = [_refusal_line(refusal) for refusal in refusals if refusal.destination == name]
            lines += found or [f"{name}  refused nothing"]
    return lines


def _refusal_line(refusal: other_forms.Refusal) -> str:
    since = refusal.refused_at.strftime("%Y-%m-%d %H:%M:%SZ")
    return f"{refusal.destination}  since {since}  does not take {standings.class_name(refusal.sop_class_uid)}"
