"""The walls: imports run one way, both packages are this project's, starting is cheap, errors say what to do."""

import subprocess
import sys
from pathlib import Path

import models
import node
from node.core import errors

ROOT = Path(__file__).parents[2]


def test_both_packages_load_from_this_project() -> None:
    for package in (node, models):
        assert Path(str(package.__file__)).is_relative_to(ROOT)


def test_import_contracts_hold() -> None:
    run = subprocess.run([str(Path(sys.executable).parent / "lint-imports")], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout


def test_the_command_line_and_the_receiver_start_without_torch() -> None:
    for rooms, heavy in (
        ("node.cli, node.app", "torch monai scipy.stats alembic"),
        ("node.cli, node.receiving", "torch monai scipy highdicom apscheduler uvicorn starlette alembic"),
        ("node.cli, node.commands.mending, node.commands.steering", "numpy pydicom pynetdicom starlette alembic"),
        ("node.cli, node.db.queries.pages", "numpy pydicom pynetdicom starlette alembic rich"),
    ):
        code = f"import sys, {rooms}; print([m for m in '{heavy}'.split() if m in sys.modules])"
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert run.stdout.strip() == "[]", rooms


def test_every_error_says_whether_to_try_again() -> None:
    kinds = [
        kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.LungnodeError)
    ]
    assert len(kinds) >= 10
    for kind in kinds:
        assert isinstance(kind.retry, bool)
        assert f"{kind.__name__}" in str(errors.__doc__), f"{kind.__name__} is missing in the tree of errors.py"
