"""The main path (tests/e2e/test_main_path.py) with drawn films, on PostgreSQL, and what operators ask of such a node.

Not covered: real films and late ones, which are no others to a database; several nodes (test_cluster.py).
"""

from __future__ import annotations

import pytest

from tests.e2e.test_main_path import (
    DRAWN,
    Sent,
    all_sent,
    test_a_resend_gives_no_new_result,
    test_orthanc_gives_back_the_bytes_that_were_built,
    test_other_bytes_under_a_known_uid_are_refused,
    test_results_routed_back_are_stored_and_not_analysed,
    test_the_pacs_holds_one_report_and_exactly_the_outputs,
)
from tests.served import LungnodeProcess, lungnode

SHARED = (
    all_sent,
    test_a_resend_gives_no_new_result,
    test_orthanc_gives_back_the_bytes_that_were_built,
    test_other_bytes_under_a_known_uid_are_refused,
    test_results_routed_back_are_stored_and_not_analysed,
    test_the_pacs_holds_one_report_and_exactly_the_outputs,
)  # collected here by their names


@pytest.fixture(params=DRAWN)
def sent(request: pytest.FixtureRequest, all_sent: dict[str, Sent]) -> Sent:
    return all_sent[request.param]


def test_commands_ask_the_database_of_the_last_run(node: LungnodeProcess, sent: Sent) -> None:
    assert "analysed" in node.status(sent.study_uid)
    assert node.query("--study", sent.study_uid)
    assert not (node.data / "lungnode.sqlite").exists()
    ran = lungnode("audit", "verify", "--data", node.data)
    assert ran.code == 0, ran.text
