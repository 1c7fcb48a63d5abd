"""``lungnode send``: files and folders to a peer by C-STORE, with a progress bar; each refusal with its reason."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from node.core.errors import Misconfigured
from node.dimse import scu


def files_under(paths: Iterable[Path]) -> list[Path]:
    """Every file named, and every file in the folders named, in a stable order."""
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found += sorted(file for file in path.rglob("*") if file.is_file() and not file.name.startswith("."))
        elif path.is_file():
            found.append(path)
        else:
            raise Misconfigured(f"there is no file or folder {path}")
    return found


def send(host: str, port: int, paths: Iterable[Path], *, calling_aet: str, called_aet: str) -> int:
    """Send all; 0 when every file was taken, 1 when any was refused or could not be sent."""
    logging.getLogger("node").addHandler(logging.NullHandler())  # each file's fate is said below
    files = files_under(paths)
    if not files:
        raise Misconfigured("there is no file to send")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(f"to {called_aet}", total=len(files))
        outcomes = scu.send_files(
            host, port, calling_aet, called_aet, files, on_progress=lambda _: progress.advance(task)
        )
    refused = [outcome for outcome in outcomes if not outcome.delivered]
    for outcome in outcomes:
        if outcome.comment or not outcome.delivered:
            sys.stderr.write(f"{outcome.path}: {outcome.comment}\n")
    sys.stdout.write(f"{len(files) - len(refused)} of {len(files)} taken by {called_aet} at {host}:{port}\n")
    return 1 if refused else 0
