"""Five thousand faults in associations, commands and data sets against the real node: it takes no harm of any.

After every batch the node answers C-ECHO and C-STORE, no process has ended, its log has no traceback and no patient's
name, threads and temporary files have gone, nothing lies outside the archive, every row has its file, and memory is
within ``target.LARGEST_GROWTH`` of where it began. Every C-STORE whose data set alone is broken is answered, and the
association goes on. ``make fuzz`` runs 200,000; what it finds is replayed here from ``found``. Not covered: what a
worker makes of broken pixels (tests/e2e/test_hostile_pixels.py), whole TLS conversations, SOP classes that
``messages`` has none of.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.cases import Case, case
from tests.fuzz.run import FOUND, batches, wrong_after
from tests.fuzz.target import Target

FAULTS = 5000


def test_five_thousand_faults(running: Target) -> None:
    for batch in batches(0, FAULTS):
        sentences = wrong_after(running, batch)
        assert sentences == [], f"after seeds {batch[0].seed} to {batch[-1].seed}"


@pytest.mark.parametrize("path", sorted(FOUND.glob("*.json")), ids=lambda path: path.stem)
def test_what_was_found_once_does_no_harm_again(running: Target, path: Path) -> None:
    assert wrong_after(running, [Case.read(path)]) == []


def test_a_case_is_made_of_its_seed_alone_and_is_kept_whole(tmp_path: Path) -> None:
    for seed in range(40):
        case(seed).write(tmp_path / "case.json")
        assert Case.read(tmp_path / "case.json") == case(seed)


def test_the_check_sees_what_is_wrong(running: Target) -> None:
    """A file that does not belong, and a traceback in the log."""
    stranger = running.node.folder / "stranger"
    stranger.write_text("")
    with running.node.log.open("a") as log:
        log.write("Traceback (most recent call last):\n")
    found = " ".join(running.sound())
    stranger.unlink()
    assert "outside the archive" in found and "traceback" in found
    assert running.sound() == []
