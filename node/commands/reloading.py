"""``lungnode reload``: the node that runs takes its settings anew, whole or not at all, and says what became of it."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from pathlib import Path

from node.core.errors import Misconfigured

PATIENCE_SECONDS, POLL_SECONDS = 60.0, 0.1


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    words = "have a running node take its settings anew; associations go on, and bad settings change nothing"
    reload = commands.add_parser("reload", help=words)
    reload.add_argument("--data", type=Path, required=True, metavar="DIR")
    reload.set_defaults(run=_reload)


def _reload(parsed: argparse.Namespace) -> int:
    """1 where the new settings were refused, or no answer came."""
    from node.composition import reloading
    from node.folders import running

    process = running(parsed.data)
    if process is None:
        raise Misconfigured(f"no node runs on {parsed.data}; lungnode serve reads the settings when it starts")
    before = reloading.last(parsed.data)
    os.kill(process, signal.SIGHUP)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (now := reloading.last(parsed.data)) == before:
        if time.monotonic() >= deadline or running(parsed.data) != process:
            sys.stderr.write("lungnode: the node did not say what became of it; its log does\n")
            return 1
        time.sleep(POLL_SECONDS)
    assert now is not None
    (sys.stderr if now.refused else sys.stdout).write(f"{now.sentence()}\n")
    return 1 if now.refused else 0
