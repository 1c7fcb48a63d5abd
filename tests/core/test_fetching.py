"""Studies that are fetched from elsewhere stand on the board while that lasts, and no longer.

Not covered: that a real pull and real priors say so (tests/commands, tests/pipeline/test_priors.py).
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from node.board import Board

DIES = """
import sys
from pathlib import Path
from node.board import Board
fetched = Board(Path(sys.argv[1])).fetching.announced("1.9")
fetched.__enter__()
print("says so", flush=True)
sys.stdin.read()
"""


def test_a_study_is_open_while_it_is_fetched(tmp_path: Path) -> None:
    board, other = Board(tmp_path), Board(tmp_path, "receiver-1")
    with board.fetching.announced("1.2"), pytest.raises(KeyError), other.fetching.announced("1.3"):
        assert other.open_studies() == {"1.2", "1.3"}
        board.clear()
        assert board.open_studies() == {"1.2", "1.3"}, "a pull outlives a start of the node"
        raise KeyError
    assert not board.open_studies() and not other.associations() and not other.serving()


def test_what_a_dead_process_fetched_is_open_no_more(tmp_path: Path) -> None:
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", DIES, tmp_path], stdin=pipe, stdout=pipe) as process:
        assert process.stdout is not None and process.stdout.readline()
        board = Board(tmp_path)
        assert board.open_studies() == {"1.9"}
        process.kill()
        process.wait()
        assert not board.open_studies()
        assert not [path for path in (tmp_path / "fetching").iterdir() if path.suffix == ".study"]
