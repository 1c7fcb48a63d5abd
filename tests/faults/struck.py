"""The processes of a soak, and what may be struck of them: the node in its roles on one PostgreSQL, or as one node on
SQLite, with models that cost nothing, and Orthanc behind it.

On PostgreSQL a receiver and a worker are struck, and the database; another receiver and another worker are witnesses,
which nobody strikes, so that their memory can be followed from the beginning to the end. They start first: so that
worker has the duties first, and what delivering takes once and for good is not counted as growth. On SQLite the
first receiver and the first worker of the node are struck; its supervisor and the second of each are the witnesses.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.bench.costing import ROOT, STANDIN, Cost
from tests.peers import Orthanc, wait_until
from tests.postgres import Postgres
from tests.served import LungnodeProcess

ANALYSIS = """
[analysis]
segmenter = "standin-lungs"
biomarkers = ""
systems = ["standin-film"]
ct_systems = []
indicators = []
ensemble = false
"""  # with MODELS, where what models find does not matter: real ones load for long
SETTINGS = f"""{ANALYSIS}
[node]
workers = {{each}}

[receive]
processes = {{each}}

[completeness]
quiet_seconds_film = 0.2

[delivery]
backoff_seconds = [0.2, 0.5, 1.0, 2.0]

[queue]
lease_seconds = 6.0
"""
MODELS = {"STANDIN": json.dumps(vars(Cost(film=0.0))), "PYTHONPATH": f"{STANDIN}:{ROOT}"}
SUPERVISOR = "supervisor"
LONGEST_AWAY = 3.0  # seconds of a database that was killed
START_SECONDS = 240  # on a machine that does other work too


class Busy(LungnodeProcess):
    """Started on a machine that is busy with something else too."""

    def start(self, seconds: float = START_SECONDS) -> Busy:
        super().start(seconds)
        return self


@dataclass
class Struck:
    """strikes: by name; each returns when what it struck runs again, or is its supervisor's to start. witnesses: by the
    name of their node, which children of it are never struck; none named: all of them."""

    nodes: Mapping[str, LungnodeProcess]
    orthanc: Orthanc
    strikes: Mapping[str, Callable[[], None]]
    witnesses: Mapping[str, frozenset[str]]
    _turns: Iterator[LungnodeProcess] = field(init=False)

    def __post_init__(self) -> None:
        self._turns = itertools.cycle([node for node in self.nodes.values() if node.dicom_port])

    @property
    def any(self) -> LungnodeProcess:
        """One that is never struck as a whole."""
        return self.nodes[next(iter(self.witnesses))]

    def port(self) -> int:
        """Of the receiver whose turn it is."""
        return next(self._turns).dicom_port

    def memory(self) -> dict[str, tuple[int, int]]:
        """By witness: its process id, and the bytes that are its own alone (USS): a share in what others map too would
        change with how many those are."""
        found = {}
        for name, children in self.witnesses.items():
            for process in self.nodes[name].processes():
                with contextlib.suppress(psutil.NoSuchProcess):
                    called = _name(process)
                    if not children or called in {*children, SUPERVISOR}:
                        found[f"{name}: {called}"] = (process.pid, process.memory_full_info().uss)
        return found


@contextlib.contextmanager
def on_postgres(chance: random.Random, witnesses: bool) -> Iterator[Struck]:
    """Without witnesses nothing is to strike a whole node."""
    with contextlib.ExitStack() as stack:
        postgres, orthanc = stack.enter_context(Postgres()), stack.enter_context(Orthanc())
        archive = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lungnode-soak-")))
        environment = {
            **MODELS,
            "LUNGNODE_DATABASE_URL": postgres.url(postgres.made()),
            "LUNGNODE_DATABASE_ARCHIVE": str(archive),
        }

        def node(role: str) -> LungnodeProcess:
            settings = SETTINGS.format(each=1)
            made = Busy("--role", role, settings=settings, send_to=[orthanc.address], environment=environment)
            stack.enter_context(made)
            (made.data / "archive").symlink_to(archive)  # where the promises look for files
            return made

        nodes, unstruck = {}, {"receiver": frozenset({SUPERVISOR})}
        if witnesses:
            nodes |= {"second receiver": node("receiver"), "second worker": node("worker,web")}
            unstruck = dict.fromkeys(nodes, frozenset())
        nodes["receiver"], nodes["worker"] = receiver, worker = node("receiver"), node("worker")

        def database() -> None:
            postgres.kill9()
            time.sleep(chance.uniform(0, LONGEST_AWAY))
            postgres.start()

        yield Struck(
            nodes,
            orthanc,
            {
                "database": database,
                "receiver process": lambda: _kill(receiver, "receiver-1"),
                "worker process": lambda: _kill(worker, "worker-1"),
                "receiver node": lambda: _again(receiver),
                "worker node": lambda: _again(worker),
            },
            unstruck,
        )


@contextlib.contextmanager
def on_sqlite(_: random.Random, __: bool) -> Iterator[Struck]:
    settings = SETTINGS.format(each=2)
    with Orthanc() as orthanc, Busy(settings=settings, send_to=[orthanc.address], environment=MODELS) as node:
        yield Struck(
            {"node": node},
            orthanc,
            {
                "receiver process": lambda: _kill(node, "receiver-1"),
                "worker process": lambda: _kill(node, "worker-1"),
            },
            {"node": frozenset({"receiver-2", "worker-2"})},
        )


DATABASES = {"postgresql": on_postgres, "sqlite": on_sqlite}


def _kill(node: LungnodeProcess, name: str) -> None:
    """The child of this name, which its supervisor starts again."""

    def struck() -> bool:
        for process in node.processes()[1:]:
            with contextlib.suppress(psutil.NoSuchProcess):
                if _name(process) == name:
                    process.kill()
                    return True
        return False

    wait_until(struck, 120, f"{name} runs, and can be struck")


def _again(node: LungnodeProcess) -> None:
    node.kill9_everything()
    node.start()


def _name(process: psutil.Process) -> str:
    command = process.cmdline()
    return command[command.index("--name") + 1] if "--name" in command else SUPERVISOR
