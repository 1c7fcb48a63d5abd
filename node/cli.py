"""The command line: parsing and exit codes, nothing else. ``lungnode COMMAND --help`` explains each command.

Exit codes: 0 done; 1 done but something was refused or is wrong (each with its reason); 2 the command or the settings
cannot be used. Imports of a command's rooms happen when it is called, so that ``--help`` answers at once.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from node import __version__
from node.commands import audit, models, query, reloading, rules, users
from node.commands.arguments import RESEARCH, count, moment
from node.core import heap, settings
from node.core.errors import LungnodeError, Misconfigured


def main(arguments: Sequence[str] | None = None) -> int:
    """arguments: instead of those of this program, where another one asks."""
    if arguments is None:
        heap.starts()
    parsed = _parser().parse_args(arguments)
    try:
        return int(parsed.run(parsed))
    except Misconfigured as error:
        sys.stderr.write(f"lungnode: {error}\n")
        return 2
    except LungnodeError as error:
        sys.stderr.write(f"lungnode: {error}\n")
        return 1
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader, e.g. head, has gone
        return 0
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="lungnode", description=f"DICOM-native AI node for chest imaging. {RESEARCH}")
    parser.add_argument("--version", action="version", version=f"lungnode {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_serve(commands)
    _add_send(commands)
    _add_pull(commands)
    _add_status(commands)
    _add_retry(commands)
    query.add(commands)
    audit.add(commands)
    users.add(commands)
    _add_select(commands)
    rules.add(commands)
    reloading.add(commands)
    _add_destinations(commands)
    _add_retention(commands)
    _add_models(commands)
    models.add(commands)
    _add_migrate(commands)
    _add_backup(commands)
    _add_demo(commands)
    worker, receiver = commands.add_parser("worker"), commands.add_parser("receiver")  # started by serve, not by people
    for child in (worker, receiver):
        child.add_argument("--data", type=Path, required=True)
        child.add_argument("--name", required=True)
        child.add_argument("--parent", type=int, required=True, help="process id of the node that started it")
    worker.add_argument("--gpu", default="", help="the one that it has, as CUDA_VISIBLE_DEVICES names it")
    receiver.add_argument("--doors", nargs="+", required=True, help="NAME=DESCRIPTOR of each socket that it inherits")
    worker.set_defaults(run=_worker)
    receiver.set_defaults(run=_receiver)
    return parser


def _add_serve(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    serve = commands.add_parser("serve", help="run the node until SIGTERM", description=f"Run the node. {RESEARCH}")
    serve.add_argument("--data", type=Path, required=True, metavar="DIR", help="all the state there is")
    serve.add_argument("--config", type=Path, metavar="FILE", help="settings that differ from config/node.toml")
    serve.add_argument("--aet", metavar="TITLE", help="our AE title (LUNGNODE)")
    serve.add_argument("--dicom-port", type=int, metavar="PORT", help="11112; 0 takes any free port")
    serve.add_argument("--http-port", type=int, metavar="PORT", help="8080; 0 takes any free port")
    serve.add_argument("--send-to", nargs="+", action="extend", metavar="AET@HOST:PORT", help="where results go")
    serve.add_argument("--database", metavar="URL", help="postgresql://USER@HOST/NAME (SQLite in the data folder)")
    serve.add_argument("--role", metavar="ROLES", help="receiver, web, worker, several with commas (all)")
    serve.add_argument("--workers", type=int, metavar="N", help="analysis processes; 0 receives only")
    serve.set_defaults(run=_serve)


def _serve(parsed: argparse.Namespace) -> int:
    flags = {
        ("node", "aet"): parsed.aet,
        ("node", "dicom_port"): parsed.dicom_port,
        ("node", "http_port"): parsed.http_port,
        ("node", "workers"): parsed.workers,
        ("delivery", "destinations"): parsed.send_to,
        ("database", "url"): parsed.database,
        ("queue", "roles"): parsed.role.split(",") if parsed.role else None,
    }
    read = partial(settings.load, parsed.config, os.environ, flags)
    effective = read()
    from node import app

    return app.serve(effective, parsed.data, read)


def _worker(parsed: argparse.Namespace) -> int:
    from node import working

    return working.run_worker(parsed.data, parsed.name, parsed.parent, parsed.gpu)


def _receiver(parsed: argparse.Namespace) -> int:
    from node.queue.worker import bind_to_parent

    if bind_to_parent(parsed.parent)():  # before a second of imports: it holds the port that the next node wants
        return 1
    from node import receiving

    doors = dict(door.split("=") for door in parsed.doors)
    descriptors = {name: int(number) for name, number in doors.items()}
    return receiving.run_receiver(parsed.data, parsed.name, parsed.parent, descriptors)


def _add_send(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    send = commands.add_parser("send", help="send files or folders by C-STORE")
    send.add_argument("peer", metavar="HOST:PORT")
    send.add_argument("paths", nargs="+", type=Path, metavar="PATH")
    send.add_argument("--aet", default="LUNGSEND", metavar="TITLE", help="our AE title (LUNGSEND)")
    send.add_argument("--called-aet", default="LUNGNODE", metavar="TITLE", help="the peer's AE title (LUNGNODE)")
    send.set_defaults(run=_send)


def _send(parsed: argparse.Namespace) -> int:
    host, colon, port = parsed.peer.rpartition(":")
    if not colon or not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise Misconfigured(f"the peer is written HOST:PORT, not {parsed.peer!r}")
    from node.commands import sending

    return sending.send(host, int(port), parsed.paths, calling_aet=parsed.aet, called_aet=parsed.called_aet)


def _add_pull(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    pull = commands.add_parser("pull", help="fetch studies from a peer by C-GET or C-MOVE")
    pull.add_argument("study", nargs="*", metavar="STUDY_UID")
    pull.add_argument("--from", dest="source", metavar="AET@HOST:PORT", help="the peer that holds them")
    pull.add_argument("--data", type=Path, required=True, metavar="DIR", help="of the node that is to have them")
    pull.add_argument("--config", type=Path, metavar="FILE", help="settings (those of the node's last run)")
    pull.add_argument("--patient-id", metavar="ID", help="all studies of this patient")
    pull.add_argument("--accession", metavar="NUMBER", help="all studies with this accession number")
    pull.add_argument("--since", type=moment, metavar="DATE", help="only studies of this day or later")
    pull.add_argument("--method", choices=("get", "move"), default="get", help="move: to the running node (get)")
    pull.add_argument("--priors", action="store_true", help="the priors of these studies, by the rules of [priors]")
    pull.set_defaults(run=_pull)


def _pull(parsed: argparse.Namespace) -> int:
    from node.commands import pulling

    if parsed.priors:
        return pulling.pull_priors(parsed.data, parsed.config, parsed.source, parsed.study)
    if not parsed.source:
        raise Misconfigured("pull needs --from AET@HOST:PORT")
    since = f"{parsed.since:%Y%m%d}-" if parsed.since else None
    asked = {"PatientID": parsed.patient_id, "AccessionNumber": parsed.accession, "StudyDate": since}
    keys = {keyword: value for keyword, value in asked.items() if value}
    return pulling.pull(parsed.data, parsed.config, parsed.source, parsed.study, keys, parsed.method)


def _add_status(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    status = commands.add_parser("status", help="one line per study, or one study's whole story")
    status.add_argument("study", nargs="?", metavar="STUDY_UID")
    status.add_argument("--data", type=Path, required=True, metavar="DIR")
    status.add_argument("--studies", type=count, default=100, metavar="N", help="the newest so many (100)")
    status.set_defaults(run=_status)


def _status(parsed: argparse.Namespace) -> int:
    from node.commands import asking

    return asking.status(parsed.data, parsed.study, parsed.studies)


def _add_retry(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    retry = commands.add_parser("retry", help="another try of an analysis that was given up")
    retry.add_argument("study", metavar="STUDY_UID")
    retry.add_argument("--data", type=Path, required=True, metavar="DIR")
    retry.set_defaults(run=_retry)


def _retry(parsed: argparse.Namespace) -> int:
    from node.commands import mending

    return mending.retry(parsed.data, parsed.study)


def _add_select(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    words = f"What of a study would be analysed, and by which rule the rest would not; nothing is stored. {RESEARCH}"
    select = commands.add_parser(
        "select", help="what of a study would be analysed, and why the rest not", description=words
    )
    select.add_argument("study", nargs="?", metavar="STUDY_UID")
    select.add_argument("--data", type=Path, metavar="DIR", help="the node that stores the study")
    select.add_argument("--files", type=Path, nargs="+", metavar="PATH", help="files or folders instead of a study")
    select.add_argument("--config", type=Path, metavar="FILE", help="settings to try (those of the node's last run)")
    select.add_argument("--rules", type=Path, metavar="FILE", help="rules to try, as [analysis] selection names them")
    select.add_argument("--format", choices=("table", "json", "csv"), default="table")
    select.set_defaults(run=_select)


def _select(parsed: argparse.Namespace) -> int:
    from node.commands import choosing

    if parsed.files and not parsed.study and not parsed.data:
        return choosing.files(parsed.files, parsed.config, parsed.rules, parsed.format)
    if parsed.files or not parsed.study or not parsed.data:
        raise Misconfigured("select needs STUDY_UID --data DIR, or --files PATH...")
    return choosing.stored(parsed.data, parsed.study, parsed.config, parsed.rules, parsed.format)


def _add_destinations(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    destinations = commands.add_parser("destinations", help="how each destination stands: list, pause, resume, retry")
    actions = ("list", "pause", "resume", "retry", "forget")
    destinations.add_argument("action", nargs="?", choices=actions, default="list")
    destinations.add_argument("name", nargs="?", metavar="NAME", help="AET@HOST:PORT, for all but list")
    destinations.add_argument("--study", metavar="STUDY_UID", help="for retry: this study alone")
    destinations.add_argument("--data", type=Path, required=True, metavar="DIR")
    destinations.set_defaults(run=_destinations)


def _destinations(parsed: argparse.Namespace) -> int:
    from node.commands import steering

    return steering.destinations(parsed.data, parsed.action, parsed.name, parsed.study)


def _add_retention(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    retention = commands.add_parser("retention", help="what may go from the archive: plan, hold, free, allow")
    retention.add_argument("action", nargs="?", choices=("plan", "hold", "free", "allow"), default="plan")
    retention.add_argument("study", nargs="?", metavar="STUDY_UID", help="for hold and free")
    retention.add_argument("--dry-run", action="store_true", help="as plan: what would go, and why the rest stays")
    retention.add_argument("--data", type=Path, required=True, metavar="DIR")
    retention.add_argument("--config", type=Path, metavar="FILE", help="settings to try (those of the node's last run)")
    retention.set_defaults(run=_retention)


def _retention(parsed: argparse.Namespace) -> int:
    from node.commands import retaining

    action = "plan" if parsed.dry_run else parsed.action
    return retaining.act(parsed.data, action, parsed.study, parsed.config)


def _add_models(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    models = commands.add_parser("models", help="the models that ship: list, verify, card")
    models.add_argument("action", nargs="?", choices=("list", "verify", "card"), default="list")
    models.add_argument("system", nargs="?", help="for card")
    models.set_defaults(run=_models)


def _models(parsed: argparse.Namespace) -> int:
    from node.commands import listing

    return listing.models(parsed.action, parsed.system)


def _add_migrate(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    migrate = commands.add_parser("migrate", help="bring the database to this version's schema")
    migrate.add_argument("--data", type=Path, required=True, metavar="DIR")
    migrate.set_defaults(run=_migrate)


def _migrate(parsed: argparse.Namespace) -> int:
    from node.commands import asking

    return asking.migrate(parsed.data)


def _add_backup(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    backup = commands.add_parser("backup", help="a copy of the data folder, also while the node runs")
    backup.add_argument("--data", type=Path, required=True, metavar="DIR")
    backup.add_argument("--to", type=Path, required=True, metavar="DIR", help="may be served as --data, as it is")
    backup.set_defaults(run=_backup)


def _backup(parsed: argparse.Namespace) -> int:
    from node.commands import backup

    return backup.backup(parsed.data, parsed.to)


def _add_demo(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    demo = commands.add_parser("demo", help="one film through the whole path, then end")
    demo.add_argument("film", nargs="?", type=Path, metavar="FILM", help="DICOM, PNG or JPEG; default: a drawn film")
    demo.add_argument("--out", type=Path, default=Path("demo-out"), metavar="DIR")
    demo.set_defaults(run=_demo)


def _demo(parsed: argparse.Namespace) -> int:
    from node.demo import run

    return run.demo(parsed.film, parsed.out)


if __name__ == "__main__":
    sys.exit(main())
