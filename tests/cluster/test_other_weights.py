"""A worker with other models or settings than a job asks for, as a process: it is named, gets nothing of that, and
takes over, saying so, once nobody has what was asked for.

The models are stand-ins (tests/bench/standin); what differs is the ensemble. Not covered: weights whose file is not
what its card says (tests/models), the rules by themselves (test_members.py).
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

from node.db.members import ADOPTED
from tests.faults.modality import study
from tests.faults.struck import MODELS, SETTINGS
from tests.films import uid
from tests.peers import wait_until
from tests.postgres import Postgres
from tests.sending import store
from tests.served import LungnodeProcess

OURS = SETTINGS.format(each=1).replace("lease_seconds = 6.0", "lease_seconds = 3.0")
OTHERS = OURS.replace("ensemble = false", "ensemble = true")
SLOW = {**MODELS, "STANDIN": json.dumps({"film": 2.0, "ct": 0.0, "works": False})}


def test_a_worker_with_other_models_is_named_and_takes_over_alone(postgres: Postgres, tmp_path: Path) -> None:
    shared = {"LUNGNODE_DATABASE_URL": postgres.url(postgres.made()), "LUNGNODE_DATABASE_ARCHIVE": str(tmp_path)}
    with contextlib.ExitStack() as stack:

        def node(role: str, settings: str) -> LungnodeProcess:
            return stack.enter_context(LungnodeProcess("--role", role, settings=settings, environment=SLOW | shared))

        ours, receiver = node("worker", OURS), node("receiver", OURS)
        other = node("worker,web", OTHERS)
        for said in (receiver.status(), other.http("/health/ready")[1]):
            assert said.count("Its models or settings are not those of") == 1

        names = ["first", "second"]
        films = [film for name in names for film in study(name, chest=True)]
        assert store(receiver.dicom_port, films) == [0x0000, 0x0000]
        wait_until(lambda: ours.events("job.started"), 60, "one of them is being analysed", every=0.05)
        waiting = "SELECT 1 FROM jobs WHERE kind = 'analyse' AND state = 'ready'"
        wait_until(lambda: receiver.rows(waiting), 60, "the other waits", every=0.05)
        assert not other.events("job.started"), "it has not what that asks for"
        ours.kill9_everything()
        receiver.wait_settled([uid("study", name) for name in names], 90)
        assert len(other.events("job.done")) == 2
        for name in names:
            assert ADOPTED in other.status(uid("study", name))
