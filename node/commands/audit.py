"""``lungnode audit``: verify, head, export, status. It reads the trail; only the node itself writes and chains it."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from node.core.errors import Misconfigured

if TYPE_CHECKING:
    from node.db.audit import Head


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    words = "the audit trail: verify it, print its newest hash, export it, how its collector stands"
    audit = commands.add_parser("audit", help=words)
    audit.add_argument("action", choices=("verify", "head", "export", "status"))
    audit.add_argument("--data", type=Path, required=True, metavar="DIR")
    kept = "for verify: what head printed once, SEQUENCE:HASH; that row must still be there"
    audit.add_argument("--from", dest="kept", metavar="HEAD", help=kept)
    audit.set_defaults(run=_audit)


def _audit(parsed: argparse.Namespace) -> int:
    if parsed.kept is not None and parsed.action != "verify":
        raise Misconfigured("--from goes with verify")
    actions = {"verify": _verify, "head": _head, "export": _export, "status": _status}
    return actions[parsed.action](parsed)


def _verify(parsed: argparse.Namespace) -> int:
    """1 where a row was changed, removed, put in or moved."""
    from node.commands.asking import open_database
    from node.db import audit

    with open_database(parsed.data).read() as session:
        said = audit.verify(session, _kept(parsed.kept))
    _say(f"{said.rows} rows hold, up to {said.head}; {said.unchained} wait to be chained")
    if said.problem:
        sys.stderr.write(f"lungnode: {said.problem}\n")
    return 1 if said.problem else 0


def _kept(text: str | None) -> Head | None:
    from node.db.audit import Head

    if text is None:
        return None
    found = re.fullmatch(r"(\d{1,18}):([0-9a-f]{64})", text)
    if not found:
        raise Misconfigured(f"--from takes what lungnode audit head printed, not {text!r}")
    return Head(int(found[1]), found[2])


def _head(parsed: argparse.Namespace) -> int:
    from node.commands.asking import open_database
    from node.db import audit

    with open_database(parsed.data).read() as session:
        _say(str(audit.head(session)))
    return 0


def _export(parsed: argparse.Namespace) -> int:
    """One JSON object a line, chained rows in their order, with all that verifying them elsewhere takes."""
    import json

    from node.commands.asking import open_database
    from node.db import audit

    with open_database(parsed.data).read() as session:
        last = 0
        while rows := audit.rows(session, last):
            for row in rows:
                _say(json.dumps(row))
            last = rows[-1]["sequence"]
    return 0


def _status(parsed: argparse.Namespace) -> int:
    """1 where the collector does not take messages."""
    from node.commands.asking import open_database
    from node.db import audit, audit_outbox

    with open_database(parsed.data).read() as session:
        _say(f"newest {audit.head(session)}; {audit.unchained(session)} wait to be chained")
        standings = audit_outbox.standings(session)
    for one in standings:
        _say(f"collector {one.collector}: has up to {one.sequence}, {one.waiting} wait. {one.problem}".rstrip())
    if not standings:
        _say("no collector ([audit] collector)")
    return 1 if any(one.problem for one in standings) else 0


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
