"""``lungnode rules``: what the rules of a configuration make of a study, and what a new configuration would change.

``try`` says it of files or of a stored study, ``compare`` of the newest stored studies against the settings that the
node runs with. Nothing is stored and no model is loaded; what decides is in ``pipeline.foresight``.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from node.core.errors import Misconfigured

NEWEST = 20


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    words = "what the rules make of a study (site, turn, images, systems, destinations), and what new ones would change"
    rules = commands.add_parser("rules", help=words)
    rules.add_argument("action", choices=("try", "compare"))
    rules.add_argument("what", nargs="*", metavar="FILE|STUDY", help="for try: files and folders, or a stored study")
    rules.add_argument("--data", type=Path, metavar="DIR", help="the node that stores the study and runs")
    rules.add_argument("--config", type=Path, metavar="FILE", help="settings to try (those of the node's last run)")
    rules.add_argument("--called", metavar="AET", help="for files: the AE title that they would come to (node.aet)")
    rules.add_argument("--last", type=int, default=NEWEST, metavar="N", help=f"for compare: so many studies ({NEWEST})")
    rules.set_defaults(run=_rules)


def _rules(parsed: argparse.Namespace) -> int:
    if parsed.action == "compare":
        if not parsed.data or not parsed.config or parsed.what:
            raise Misconfigured("rules compare needs --data DIR and --config FILE, and no study")
        return _compare(parsed.data, parsed.config, parsed.last)
    if not parsed.what:
        raise Misconfigured("rules try needs FILE..., or STUDY --data DIR")
    paths = [Path(text) for text in parsed.what]
    if all(path.exists() for path in paths):
        return _try_files(paths, parsed.data, parsed.config, parsed.called)
    if len(paths) > 1 or not parsed.data:
        raise Misconfigured("rules try needs files that exist, or one STUDY --data DIR")
    return _try_stored(parsed.what[0], parsed.data, parsed.config)


def _try_files(paths: list[Path], data: Path | None, config: Path | None, called: str | None) -> int:
    """1 where a file is no DICOM object."""
    from node.commands import choosing
    from node.commands.asking import settings_of
    from node.commands.sending import files_under
    from node.composition.routing import open_registry
    from node.pipeline.foresight import foresee, whose_called

    effective = settings_of(data, config)
    studies, odd = choosing.of_files(files_under(paths))
    whose = whose_called(effective, called or effective.node.aet)
    for study_uid, instances in studies.items():
        _say(study_uid, foresee(effective, open_registry().cards(), whose, instances).sentences())
    for verdict in odd:
        _say(verdict.sop_instance_uid or "a file", [verdict.sentence])
    return 1 if odd else 0


def _try_stored(study_uid: str, data: Path, config: Path | None) -> int:
    """1 where the study is unknown."""
    from node.commands import choosing
    from node.commands.asking import settings_of
    from node.composition.routing import open_registry
    from node.pipeline.foresight import foresee, whose_stored

    instances = choosing.of_stored_study(data, study_uid)
    if not instances:
        sys.stderr.write(f"lungnode: no study {study_uid} is stored here\n")
        return 1
    whose, effective = whose_stored(choosing.site_of_stored_study(data, study_uid)), settings_of(data, config)
    _say(study_uid, foresee(effective, open_registry().cards(), whose, instances).sentences())
    return 0


def _compare(data: Path, config: Path, last: int) -> int:
    from node.commands import choosing
    from node.commands.asking import open_database, settings_of
    from node.composition.routing import open_registry, routes
    from node.core import settings
    from node.db import intake as rows
    from node.folders import Folders
    from node.pipeline.foresight import differences, foresee, whose_stored

    if not Folders(data).worker_settings.exists():
        raise Misconfigured(f"no node ever ran on {data}: there is nothing to compare with")
    now, then, cards = settings_of(data, None), settings.load(config, os.environ), open_registry().cards()
    routes(then, open_registry())  # whether its models and rules are there
    with open_database(data).read() as session:
        newest = rows.newest_studies(session, last)
    changed = 0
    for study_uid, site in newest:
        instances = choosing.of_stored_study(data, study_uid)
        before, after = (foresee(one, cards, whose_stored(site), instances) for one in (now, then))
        if said := differences(before, after):
            changed += 1
            _say(study_uid, said)
    sys.stdout.write(f"{changed} of the newest {len(newest)} studies would change.\n")
    return 0


def _say(subject: str, sentences: list[str]) -> None:
    sys.stdout.write("\n".join([subject, *(f"  {sentence}" for sentence in sentences)]) + "\n")
