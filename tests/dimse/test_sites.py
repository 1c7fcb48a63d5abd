"""Several sites behind one port, over real sockets: what came to one AE title is seen and fetched by that one alone.

Not covered: analysis and delivery (tests/pipeline/test_by_site.py, tests/e2e/test_reload.py); storage commitment, which
answers for all that is kept here; DICOMweb, which has no called AE title and shows all sites to whoever has the right.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from pynetdicom import AE
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelMove  # type: ignore[attr-defined]

from node.core.site import Site
from tests.dimse.asking import PATIENT_ROOT, STUDY_ROOT, identifier
from tests.dimse.station import Station, film, station
from tests.films import uid
from tests.peers import LOOPBACK, Storescp
from tests.sending import Encoded, associate, store, store_encoded

MOVE = str(StudyRootQueryRetrieveInformationModelMove)
IMPLICIT = "1.2.840.10008.1.2"
NOT_AUTHORIZED = 0x0124  # PS3.7 C.5.22


@pytest.fixture(scope="module")
def peers() -> Iterator[tuple[Storescp, Storescp]]:
    with Storescp(aet="NPACS") as north, Storescp(aet="SPACS") as south:
        yield north, south


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory, peers: tuple[Storescp, Storescp]) -> Iterator[Station]:
    north, south = peers
    sites = {
        "north": Site(("NORTH", "NORTH2"), (north.address,), calling_aets=("NSCU", "ASKER")),
        "south": Site(("SOUTH",), (south.address,)),
        "closed": Site(("CLOSED",), calling_addresses=("10.0.0.0/8",)),
    }
    with station(tmp_path_factory.mktemp("sites"), sites=sites, require_called_aet=True) as running:
        assert store(running.port, [of("north", 1)], "NSCU", "NORTH") == [0]
        assert store(running.port, [of("south", 1)], "SSCU", "SOUTH") == [0]
        assert store(running.port, [of("own", 1)]) == [0]
        yield running


def of(study: str, number: int) -> Encoded:
    return film(f"{study} {number}", study=study)


def test_a_study_is_of_the_site_that_received_it_and_the_row_says_so(node: Station) -> None:
    found = {row["study_uid"]: row["site"] for row in node.rows("SELECT study_uid, site FROM studies")}
    assert [found[uid("study", name)] for name in ("north", "south", "own")] == ["north", "south", ""]


@pytest.mark.parametrize("instance", [of("north", 1), of("north", 2)], ids=["the same again", "one more"])
@pytest.mark.parametrize("called", ["SOUTH", "LUNGNODE"])
def test_an_object_of_another_site_s_study_is_refused_with_a_sentence(
    node: Station, instance: Encoded, called: str
) -> None:
    before = node.rows("SELECT count(*) AS n FROM instances")
    assert store(node.port, [instance], "SSCU", called) == [NOT_AUTHORIZED]
    assert node.rows("SELECT count(*) AS n FROM instances") == before
    assert "another site" in node.refusals()[-1][1]


def test_one_study_that_begins_at_two_sites_at_once_belongs_to_one(node: Station) -> None:
    for number in range(4):
        statuses: dict[str, int | None] = {}
        both = threading.Barrier(2)

        def send(called: str, study: str, statuses: dict[str, int | None], both: threading.Barrier) -> None:
            instance = of(study, len(called))  # another object each
            with associate(node.port, [(instance.sop_class_uid, instance.transfer_syntax_uid)], "NSCU", called) as one:
                both.wait(20)
                statuses[called] = store_encoded(one, instance)

        threads = [
            threading.Thread(target=send, args=(called, f"race {number}", statuses, both))
            for called in ("SOUTH", "NORTH2")
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(status for status in statuses.values() if status is not None) == [0, NOT_AUTHORIZED]
        kept = node.rows(
            "SELECT site, count(*) AS n FROM instances JOIN series ON series.id = series_id JOIN studies"
            " ON studies.id = study_id WHERE study_uid = :uid GROUP BY site",
            uid=uid("study", f"race {number}"),
        )
        winner = next(called for called, status in statuses.items() if status == 0)
        assert kept == [{"site": {"SOUTH": "south", "NORTH2": "north"}[winner], "n": 1}]


@pytest.mark.parametrize(
    "calling, called, answer",
    [
        ("NSCU", "NORTH", None),
        ("SSCU", "NORTH", (1, 1, 3)),
        ("SSCU", "SOUTH", None),
        ("ANY", "LUNGNODE", None),
        ("ANY", "NOSUCH", (1, 1, 7)),
        ("ANY", "CLOSED", (1, 1, 1)),
    ],
)
def test_who_may_call_which_title(
    node: Station, calling: str, called: str, answer: tuple[int, int, int] | None
) -> None:
    ae = AE(calling)
    ae.add_requested_context(STUDY_ROOT)
    association = ae.associate(LOOPBACK, node.port, ae_title=called)
    assert association.is_established is (answer is None)
    if answer:
        said = association.acceptor.primitive
        assert said is not None and (said.result, said.result_source, said.diagnostic) == answer
    else:
        association.release()


SITES = [("NORTH", "north"), ("SOUTH", "south"), ("LUNGNODE", "own")]


@pytest.mark.parametrize("called, name", SITES)
def test_a_query_finds_the_studies_of_its_site_alone(node: Station, called: str, name: str) -> None:
    with associate(node.port, [(STUDY_ROOT, IMPLICIT)], "ASKER", called) as asking:
        answers = asking.send_c_find(identifier("STUDY", StudyInstanceUID=""), STUDY_ROOT)
        found = {str(one.StudyInstanceUID) for _, one in answers if one is not None}
    assert found & {uid("study", other) for _, other in SITES} == {uid("study", name)}


@pytest.mark.parametrize("called, name", [("NORTH", "north"), ("SOUTH", "south"), ("LUNGNODE", "")])
def test_a_patient_of_several_sites_is_at_each_with_the_studies_of_that_site(
    node: Station, called: str, name: str
) -> None:
    """All films here are of one patient, whose newest study is the node's own and must hide nothing."""
    (of_site,) = node.rows("SELECT count(*) AS n FROM studies WHERE site = :site", site=name)
    with associate(node.port, [(PATIENT_ROOT, IMPLICIT)], "ASKER", called) as asking:
        answers = asking.send_c_find(identifier("PATIENT", NumberOfPatientRelatedStudies=""), PATIENT_ROOT)
        found = [one for _, one in answers if one is not None]
    assert [int(one.NumberOfPatientRelatedStudies) for one in found] == [of_site["n"]]


@pytest.mark.parametrize(
    "called, study, destination, status",
    [
        ("NORTH", "north", "NPACS", 0x0000),
        ("NORTH", "north", "SPACS", 0xA801),  # move destination unknown, PS3.4 Table C.4-2: another site's
        ("LUNGNODE", "north", "NPACS", 0xA801),
        ("SOUTH", "south", "SPACS", 0x0000),
    ],
)
def test_a_move_goes_to_the_destinations_of_its_site_alone(
    node: Station, called: str, study: str, destination: str, status: int
) -> None:
    with associate(node.port, [(MOVE, IMPLICIT)], "ASKER", called) as moving:
        wanted = identifier("STUDY", StudyInstanceUID=uid("study", study))
        answers = [answer for answer, _ in moving.send_c_move(wanted, destination, MOVE)]
    assert answers[-1].Status == status


def test_what_is_of_another_site_is_not_moved(node: Station, peers: tuple[Storescp, Storescp]) -> None:
    with associate(node.port, [(MOVE, IMPLICIT)], "ASKER", "SOUTH") as moving:
        wanted = identifier("STUDY", StudyInstanceUID=uid("study", "north"))
        answers = [answer for answer, _ in moving.send_c_move(wanted, "SPACS", MOVE)]
    assert answers[-1].Status == 0x0000 and answers[-1].NumberOfCompletedSuboperations == 0
