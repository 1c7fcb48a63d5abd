"""The systemd units, as systemd reads them: both are valid, confine what they start alike, and are rated for it.

Not covered: a start under systemd, which the machines of the tests do not run.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from node.core import settings
from node.core.cluster import ROLES
from tests.deploy.containers import DOCKER
from tests.peers import program, run

ALONE, ROLE = "lungnode.service", "lungnode@.service"
OWN = ("Description", "RequiresMountsFor", "Environment", "ExecStart", "StateDirectory", "ReadWritePaths")
PROGRAM = "/opt/lungnode/.venv/bin/lungnode"
MOST_EXPOSED = 2.0  # of 10, as `systemd-analyze security` counts; "OK" begins below 4.1


def lines(unit: str) -> list[str]:
    text = (DOCKER / unit).read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def installed(unit: str, folder: Path) -> Path:
    """As on a machine that has the program; a template by one of its instances."""
    text = (DOCKER / unit).read_text(encoding="utf-8").replace(PROGRAM, program("true"))
    path = folder / unit.replace("@.", "@worker.")
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("unit", [ALONE, ROLE])
def test_systemd_takes_the_unit(unit: str, tmp_path: Path) -> None:
    ran = run([program("systemd-analyze"), "verify", str(installed(unit, tmp_path))])
    assert ran.code == 0 and not ran.text.strip(), ran.text


@pytest.mark.parametrize("unit", [ALONE, ROLE])
def test_the_unit_exposes_little(unit: str, tmp_path: Path) -> None:
    path = str(installed(unit, tmp_path))
    ran = run([program("systemd-analyze"), "security", "--offline=true", "--no-pager", path])
    found = re.search(r"Overall exposure level for .*: (\d+\.\d)", ran.text)
    assert found and float(found[1]) <= MOST_EXPOSED, ran.text


def test_a_role_is_confined_as_the_node_that_does_everything() -> None:
    assert [line for line in lines(ROLE) if line.split("=")[0] not in OWN] == [
        line for line in lines(ALONE) if line.split("=")[0] not in OWN
    ]


@pytest.mark.parametrize("role", [role for role in ROLES if role != "all"])
def test_an_instance_is_the_role_of_its_name(role: str) -> None:
    environment = dict(
        line.removeprefix("Environment=").replace("%i", role).split("=", 1)
        for line in lines(ROLE)
        if line.startswith("Environment=")
    )
    assert environment.pop("PGPASSFILE")
    shared = {"LUNGNODE_DATABASE_URL": "postgresql://lungnode@db/lungnode"}  # of the settings file
    assert settings.load(None, environment | shared, {}).queue.roles == (role,)
