"""The list of studies as the database gives it: pages by keyset, filters, what each line says. On both engines.

Not covered: how long it takes (tests/bench/pages.py), how it is drawn.
"""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import insert, select, update

from node.core.study import StudyState
from node.db import study_page, worklist
from node.db.key_tables import StudyKeys
from node.db.session import Database
from node.db.tables import Finding, Study
from node.db.worklist import Listed, Wanted
from tests.bench import ledger
from tests.pages.conftest import STUDIES


def everything(database: Database, wanted: Wanted, limit: int = STUDIES * 2) -> list[Listed]:
    found, after = list[Listed](), None
    while True:
        with database.read() as session:
            page = worklist.page(session, wanted, after, limit)
        found += page.studies
        if page.next is None:
            return found
        after = page.next


@pytest.mark.parametrize("limit", [7, STUDIES])
def test_pages_give_each_study_once_newest_first(filled: Database, limit: int) -> None:
    with filled.write() as session:  # several of the same moment
        session.execute(update(Study).where(Study.id.between(5, 25)).values(last_received_at=ledger.BEGAN))
    found = everything(filled, Wanted(), limit)
    assert len(found) == len({one.study_uid for one in found}) == STUDIES
    times = [one.last_received_at for one in found]
    assert times == sorted(times, reverse=True)


def test_a_study_that_comes_between_two_pages_moves_none_of_the_others(filled: Database) -> None:
    with filled.read() as session:
        first = worklist.page(session, Wanted(), None, 10)
    with filled.write() as session:
        newest = ledger.BEGAN + timedelta(days=900)
        session.execute(update(Study).where(Study.id == 3).values(last_received_at=newest))
    with filled.read() as session:
        second = worklist.page(session, Wanted(), first.next, STUDIES)
    seen = [one.study_uid for one in (*first.studies, *second.studies)]
    assert len(seen) == len(set(seen)) == STUDIES - 1
    assert ledger.uid(2) not in seen


def test_filters_give_what_they_say(filled: Database) -> None:
    with filled.write() as session:
        session.execute(update(Study).where(Study.id.in_([2, 9])).values(state="failed"))
        session.execute(insert(StudyKeys), [{"study_id": 4, "patient_name": "Ångström_%^Eva"}])
        session.execute(insert(StudyKeys), [{"study_id": 5, "patient_name": "Angler^Eva"}])
    uids = {name: {one.study_uid for one in everything(filled, wanted)} for name, wanted in {
        "failed": Wanted(state="failed"),
        "ct": Wanted(modality="CT"),
        "day": Wanted(day="2020-01-01"),
        "other day": Wanted(day="2020-01-02"),
        "patient": Wanted(person="P-3"),
        "accession": Wanted(person="A-17"),
        "name": Wanted(person="ångström_%"),
        "wildcard": Wanted(person="%"),
    }.items()}  # fmt: skip
    assert uids["failed"] == {ledger.uid(1), ledger.uid(8)}
    assert uids["ct"] == {ledger.uid(number) for number in range(0, STUDIES, 20)}
    assert (len(uids["day"]), len(uids["other day"])) == (STUDIES, 0)
    assert uids["patient"] == {ledger.uid(number) for number in (9, 10, 11)}
    assert uids["accession"] == {ledger.uid(17)}
    assert uids["name"] <= {ledger.uid(3)}  # SQLite knows no capital Å
    assert uids["wildcard"] == set()


def test_a_line_says_what_the_rows_say(filled: Database) -> None:
    with filled.read() as session:
        line = next(one for one in worklist.page(session, Wanted()).studies if one.study_uid == ledger.uid(4))
        decided = session.scalars(select(Finding).where(Finding.study_id == 5, Finding.decision)).all()
    assert [(one.system, one.class_name) for one in line.decided] == [(d.system, d.class_name) for d in decided]
    assert [one.probability for one in line.decided] == pytest.approx([d.probability for d in decided])
    assert (line.state, line.instances, line.outcome) == (StudyState.ANALYSED, 1, "analysed")
    assert line.deliveries == {"waiting": 2}


def test_a_superseded_analysis_is_not_told(filled: Database) -> None:
    with filled.read() as session:
        line = next(one for one in worklist.page(session, Wanted()).studies if one.study_uid == ledger.uid(3))
    assert (line.outcome, line.decided, line.deliveries) == ("", (), {})


def test_a_study_is_read_whole(filled: Database) -> None:
    with filled.read() as session:
        view = study_page.read(session, ledger.uid(4))
        assert study_page.read(session, "1.2.3") is None
    assert view is not None and view.analysis is not None
    assert (len(view.images), len(view.analysis.scores), len(view.sent)) == (1, ledger.EACH, 2)
    assert {(one.destination, one.state) for one in view.sent} == {("PACS@192.0.2.9:104", "waiting")}
    assert (view.patient_id, view.accession_number, view.state) == ("P-1", "A-4", StudyState.ANALYSED)
