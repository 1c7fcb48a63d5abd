"""``kill -9`` at random moments under load: of the supervisor, of everything at once, of any one child, and of a node
that has only begun to start. A node that ended is started again; a child is the supervisor's to replace.

Knows no names of children: whatever processes the node has may be hit, and ``hit`` counts them by their command.
"""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections import Counter
from collections.abc import Sequence
from http.client import HTTPException

import psutil

from tests.faults.modality import Modality, study
from tests.peers import wait_until
from tests.served import LungnodeProcess

CHEST_EVERY = 8  # one study in so many is analysed; the others are refused with a report, which costs little
STUDIES_A_KILL = 1.5

SETTINGS = """
[completeness]
quiet_seconds_film = 0.3

[analysis]
systems = ["cxnet"]
ct_systems = []
indicators = []
biomarkers = ""
ensemble = false

[delivery]
backoff_seconds = [0.2, 0.5, 1.0]
"""
STANDIN_SETTINGS = SETTINGS.replace('systems = ["cxnet"]', 'segmenter = "standin-lungs"\nsystems = ["standin-film"]')


class Kills:
    """Strikes ``node`` again and again while ``modality`` sends. The same seed plans the same strikes."""

    def __init__(self, node: LungnodeProcess, modality: Modality, seed: int) -> None:
        self._node, self._modality, self._chance = node, modality, random.Random(seed)
        self.hit: Counter[str] = Counter()
        self._starts = 0
        self.names: list[str] = []

    def strike(self, times: int) -> None:
        """So many kills; the node runs at the end."""
        end = sum(self.hit.values()) + times
        while (done := sum(self.hit.values())) < end:
            self._load(int(STUDIES_A_KILL * (done + 1)))
            time.sleep(self._chance.choice((self._chance.uniform(0, 0.3), self._chance.uniform(0.3, 2.5))))
            if self._chance.random() < 0.7:
                self._one_child()
            else:
                self._the_node()
                self._start(done + 1 < end)

    def _load(self, number: int) -> None:
        """Have the modality send what is still missing to so many studies."""
        names = [f"kills {n}" for n in range(len(self.names), number)]
        first = len(self.names)
        self._modality.send([study(name, chest=(first + n) % CHEST_EVERY == 0) for n, name in enumerate(names)])
        self.names += names

    def _one_child(self) -> None:
        children = self._node.processes()[1:]
        if not children:
            return
        victim = self._chance.choice(children)
        with contextlib.suppress(psutil.NoSuchProcess):
            role = _role(victim.cmdline())
            victim.kill()
            self.hit[role] += 1

    def _the_node(self) -> None:
        """Everything, or the supervisor alone, which takes its children with it."""
        if self._chance.random() < 0.5:
            self._node.kill9_everything()
            self.hit["everything"] += 1
            return
        children = self._node.processes()[1:]
        assert self._node.process is not None
        self._node.process.kill()
        self._node.process.wait()
        self.hit["supervisor"] += 1
        wait_until(lambda: not living(children), 60, "its children end with a supervisor")

    def _start(self, again: bool) -> None:
        """Start it; every fifth time it is killed while it starts, and has to start once more."""
        self._starts += 1
        early = again and self._starts % 5 == 1
        blow = threading.Timer(self._chance.uniform(0.1, 2.0), self._node.kill9_everything)
        if early:
            blow.start()
        try:
            self._node.start()
        except (AssertionError, HTTPException):
            if not early:
                raise
        if early:
            blow.join()
            self.hit["starting"] += 1
            self._node.start()


def living(processes: Sequence[psutil.Process]) -> list[psutil.Process]:
    """Those that still do something; one that has ended and that nobody has asked for yet does not."""
    found = []
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def _role(command: Sequence[str]) -> str:
    """The subcommand that a child of the node runs."""
    after = command.index("node.cli") + 1 if "node.cli" in command else 0
    return command[after] if command else "ended"
