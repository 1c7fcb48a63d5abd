"""Two destinations of which one is away, refuses, or breaks off: the other waits for nothing, the ledger remembers.

The second destination is DCMTK's storescp. Not covered: single answers of a PACS (tests/pipeline, with a scripted
peer), back-off over hours.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.conftest import QUICK, assert_no_marker
from tests.films import CR, Film, drawn, encoded, wrap
from tests.peers import Orthanc, Storescp, free_port, wait_until
from tests.sending import store
from tests.served import LungnodeProcess

SECOND = "SECOND"


@pytest.fixture(scope="module")
def second_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def node(orthanc: Orthanc, second_port: int) -> Iterator[LungnodeProcess]:
    """A node of this module's own: its second destination is away at first."""
    second = f"{SECOND}@127.0.0.1:{second_port}"
    with LungnodeProcess(settings=QUICK, send_to=[orthanc.address, second]) as running:
        yield running


def test_the_live_destination_does_not_wait_for_the_dead_one(
    node: LungnodeProcess, orthanc: Orthanc, second_port: int
) -> None:
    film = _send(node, "one away")
    outputs = wait_until(lambda: _outputs(node, film), 90, "results exist")
    wait_until(lambda: orthanc.count(film.study_uid) == len(outputs), 30, "Orthanc has all")
    waiting = wait_until(
        lambda: [row for row in _ledger(node, film, SECOND) if row["attempts"] >= 3],
        20,
        "it was tried thrice",
    )
    assert all(row["state"] == "waiting" and row["comment"] for row in waiting)
    assert all(row["state"] == "delivered" for row in _ledger(node, film, orthanc.aet))
    assert "waiting for SECOND@" in node.status(film.study_uid)

    with Storescp(port=second_port, aet=SECOND) as second:
        wait_until(lambda: len(second.files()) == len(outputs), 20, "the second destination has all")
        node.wait_settled([film.study_uid])
        assert all(any(uid in path.name for path in second.files()) for uid in outputs)
    assert {row["state"] for row in _ledger(node, film, SECOND)} == {"delivered"}
    assert orthanc.count(film.study_uid) == len(outputs), "the live one got nothing twice"


@pytest.mark.parametrize("misbehaviour", ["--refuse", "--abort-during", "--abort-after"])
def test_a_destination_that_fails_is_tried_again(node: LungnodeProcess, second_port: int, misbehaviour: str) -> None:
    with Storescp(misbehaviour, port=second_port, aet=SECOND):
        film = _send(node, misbehaviour, view="LL")  # a refusal's report is enough here, and quick
        wait_until(
            lambda: [row for row in _ledger(node, film, SECOND) if row["attempts"] >= 2], 60, "it was tried twice"
        )
        assert {row["state"] for row in _ledger(node, film, SECOND)} == {"waiting"}
    with Storescp(port=second_port, aet=SECOND) as second:
        node.wait_settled([film.study_uid], 30)
        assert {row["state"] for row in _ledger(node, film, SECOND)} == {"delivered"}
        assert len([path for path in second.files() if _outputs(node, film)[0] in path.name]) == 1


def test_the_ledger_survives_a_restart(node: LungnodeProcess, second_port: int) -> None:
    film = _send(node, "restart", view="LL")
    wait_until(lambda: [row for row in _ledger(node, film, SECOND) if row["attempts"]], 60, "it was tried")
    assert node.sigterm() == 0
    with Storescp(port=second_port, aet=SECOND) as second:
        node.start()
        node.wait_settled([film.study_uid], 30)
        assert any(_outputs(node, film)[0] in path.name for path in second.files())


def test_no_identifying_value_is_logged(node: LungnodeProcess) -> None:
    assert node.events()
    assert_no_marker(node.logged(), "the logs")


def _send(node: LungnodeProcess, name: str, view: str = "PA") -> Film:
    film = Film(drawn(50, 256), f"destinations {name}", sop_class=CR, view=view)
    assert store(node.dicom_port, [encoded(wrap(film))]) == [0x0000]
    return film


def _outputs(node: LungnodeProcess, film: Film) -> list[str]:
    rows = node.rows(
        "SELECT sop_uid FROM outputs JOIN analyses ON analyses.id = analysis_id"
        " JOIN studies ON studies.id = study_id WHERE study_uid = ?",
        film.study_uid,
    )
    return [row["sop_uid"] for row in rows]


def _ledger(node: LungnodeProcess, film: Film, aet: str) -> list[dict[str, object]]:
    rows = node.rows(
        "SELECT deliveries.* FROM deliveries JOIN outputs ON outputs.id = output_id"
        " JOIN analyses ON analyses.id = analysis_id JOIN studies ON studies.id = study_id"
        " WHERE study_uid = ? AND destination LIKE ?",
        film.study_uid,
        f"{aet}@%",
    )
    return [dict(row) for row in rows]
