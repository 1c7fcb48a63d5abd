"""What receiver processes know of one another, as properties over several boards on one folder.

Each board stands for a process; that the locks hold between real ones is shown by tests/e2e/test_receivers.py.
"""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.board import Board

PEERS = ("SCANNER", "Ü.\\/", "")
STEP = st.tuples(st.sampled_from(("enter", "leave", "send", "die")), st.integers(0, 2), st.integers(0, 20))


def processes(folder: Path, count: int = 3) -> list[Board]:
    found = [Board(folder, f"receiver-{number}") for number in range(count)]
    for board in found:
        board.serve()
    return found


@given(st.lists(STEP, max_size=60), st.integers(0, 6), st.integers(0, 4))
def test_every_board_agrees_with_the_plain_account(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int, int]], most: int, most_of_peer: int
) -> None:
    """Whatever comes and goes in whatever process, dies and begins anew: limits and open studies are those of all."""
    folder = tmp_path_factory.mktemp("boards")
    boards = processes(folder)
    open_: dict[tuple[int, str], tuple[str, set[str]]] = {}
    for number, (what, process, one) in enumerate(steps):
        key = (process, f"a{one}")
        if what == "enter" and key not in open_:
            peer = PEERS[one % 3]
            of_peer = sum(calling == peer for calling, _ in open_.values())
            wanted = not ((most and len(open_) >= most) or (most_of_peer and of_peer >= most_of_peer))
            assert boards[process].enter(key[1], peer, most, most_of_peer) is wanted
            if wanted:
                open_[key] = (peer, set())
        elif what == "leave":
            boards[process].leave(key[1])
            open_.pop(key, None)
        elif what == "send":
            boards[process].sends(key[1], f"1.2.{number}")
            if key in open_:
                open_[key][1].add(f"1.2.{number}")
            assert boards[process].has_begun(key[1]) is (key in open_)
        elif what == "die":
            died = [key for key in open_ if key[0] == process]
            assert Board(folder).release(f"receiver-{process}") == len(died)
            open_ = {key: value for key, value in open_.items() if key not in died}
            assert Board(folder).serving() == 2
            boards[process] = Board(folder, f"receiver-{process}")
            boards[process].serve()
        for board in boards:
            assert board.open_studies() == frozenset().union(*(studies for _, studies in open_.values()))


def test_a_limit_holds_when_all_come_at_once(tmp_path: Path) -> None:
    boards, entered = processes(tmp_path), []

    def come(board: Board, number: int) -> None:
        for one in range(8):
            if board.enter(f"{number}-{one}", "SCANNER", 10, 0):
                entered.append(one)

    threads = [threading.Thread(target=come, args=(board, n)) for n, board in enumerate(boards)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(entered) == 10


def test_a_start_finds_nothing_of_an_earlier_run(tmp_path: Path) -> None:
    (board,) = processes(tmp_path, 1)
    board.enter("a", "SCANNER", 0, 0)
    board.sends("a", "1.2.3")
    board.note_rejection("too many associations")
    assert board.turn("SCANNER", 1e9, 1.0) == 1e9, "as a clock that began anew after a restart of the machine"
    assert Board(tmp_path).rejected() == Counter({"too many associations": 1})
    Board(tmp_path).clear()
    assert Board(tmp_path).open_studies() == frozenset() and Board(tmp_path).rejected() == Counter()
    assert Board(tmp_path).serving() == 0 and board.turn("SCANNER", 5.0, 1.0) == 5.0
