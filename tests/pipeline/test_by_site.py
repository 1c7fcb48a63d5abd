"""Each study analysed as its site wants it, from receipt to the ledger, with made-up systems.

Not covered: that associations bring the site (tests/dimse/test_sites.py); real models.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from node.core.job import Job, JobKind
from node.core.keeping import Priors
from node.core.settings import Settings
from node.core.site import Route, Site
from node.core.study import Origin
from node.db import jobs
from node.db import priors as prior_rows
from node.pipeline.analyse import Analyse
from node.pipeline.by_site import BySite
from node.pipeline.completeness import close_quiet_studies
from node.pipeline.header import Received
from tests.films import SC, Film, drawn, encoded, uid, wrap
from tests.pipeline.test_judge import registry
from tests.pipeline.test_superseding import wishes
from tests.pipeline.waiting import SETTINGS, Room

OURS, NORTH, SOUTH = "OURS@127.0.0.1:104", "NPACS@127.0.0.1:105", "SPACS@127.0.0.1:106"
ROUTES = {"": Route("all"), "north": Route("north"), "south": Route("south", urgent=True)}


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path)


def sited() -> Settings:
    sites = {"north": Site(("N",), (NORTH,)), "south": Site(("S",), (SOUTH,), systems=("second",))}
    return dataclasses.replace(wishes(OURS), sites=sites)


def receive(room: Room, name: str, site: str | None, **film: object) -> str:
    """The study UID."""
    sent = encoded(wrap(Film(drawn(1, 96), name, **film)))  # type: ignore[arg-type]
    received = Received(sent.data_set, sent.transfer_syntax_uid, sent.sop_class_uid, sent.sop_instance_uid)
    return room.intake.receive(received, Origin("a", "SCU", "ANY", "127.0.0.1", site=site)).study_instance_uid


def close(room: Room, priors: Priors | None = None) -> None:
    room.clock.pass_by(100)
    close_quiet_studies(room.database, SETTINGS, "node", frozenset(), room.clock(), priors, routes=ROUTES)


def claim(room: Room) -> Job:
    with room.database.write() as session:
        job = jobs.claim(session, JobKind.ANALYSE, "w", "t", room.clock(), "node")
    assert job is not None
    return job


def analyse(room: Room, settings: Settings) -> None:
    def make(wanted: Settings, refusal: str) -> Analyse:
        return Analyse(room.database, room.archive, registry(), wanted, "0.1.0", room.clock, refusal=refusal)

    BySite(room.database, settings, make)(claim(room))


def owed(room: Room, study_uid: str) -> set[object]:
    return {
        row["destination"]
        for row in room.rows(
            "SELECT DISTINCT destination FROM deliveries JOIN outputs ON outputs.id = output_id JOIN analyses"
            " ON analyses.id = analysis_id JOIN studies ON studies.id = study_id WHERE study_uid = :uid",
            uid=study_uid,
        )
    }


def systems(room: Room, study_uid: str) -> set[object]:
    sql = (
        "SELECT system FROM analysis_models JOIN analyses ON analyses.id = analysis_id JOIN studies"
        " ON studies.id = study_id WHERE study_uid = :uid AND analysis_models.outcome = 'predicted'"
    )
    return {row["system"] for row in room.rows(sql, uid=study_uid)}


def test_results_go_to_the_destinations_of_their_site_alone(room: Room) -> None:
    studies = {site: receive(room, site or "own", site) for site in ("", "north", "south")}
    close(room)
    for _ in studies:
        analyse(room, sited())
    found = {site: owed(room, study) for site, study in studies.items()}
    assert found == {"": {OURS}, "north": {NORTH}, "south": {SOUTH}}
    assert systems(room, studies["south"]) == systems(room, studies["north"]) - {"one", "ensemble"}


def test_a_study_of_a_site_that_is_gone_gets_a_report_and_nobody_is_sent_it(room: Room) -> None:
    study = receive(room, "gone", "east")
    close(room)
    analyse(room, sited())
    assert not owed(room, study) and "the site east, which the settings no longer name" in room.events()
    (report,) = room.rows("SELECT path FROM outputs WHERE kind = 'sr'")
    assert b"no longer name" in room.archive.path(str(report["path"])).read_bytes()


def test_whatever_comes_without_an_ae_title_joins_the_study_that_is_here(room: Room) -> None:
    """An upload by STOW-RS, for example."""
    study = receive(room, "first", "north", study="one")
    assert receive(room, "second", None, study="one") == study
    other = receive(room, "third", None, study="another")
    found = {row["study_uid"]: row["site"] for row in room.rows("SELECT study_uid, site FROM studies")}
    assert found == {study: "north", other: ""}


def test_a_prior_is_of_the_site_of_the_study_that_it_was_fetched_for(room: Room) -> None:
    receive(room, "now", "north")
    with room.database.write() as session:
        prior_rows.mark(session, uid("study", "then"), 1, "SCU@127.0.0.1:104", room.clock())
    receive(room, "then", None, study="then")
    sites = room.rows("SELECT site FROM studies")
    assert [row["site"] for row in sites] == ["north", "north"]


def test_the_job_asks_for_a_worker_that_knows_all_sites_and_its_key_for_the_models_of_one(room: Room) -> None:
    """The same study sent to another site would be another analysis; the same one to the same site is not."""
    receive(room, "a", "north")
    receive(room, "b", "")
    close(room)
    rows = room.rows("SELECT pipeline, key FROM jobs ORDER BY id")
    assert [row["pipeline"] for row in rows] == ["node", "node"] and rows[0]["key"] != rows[1]["key"]


def test_a_site_may_be_urgent_as_a_whole(room: Room) -> None:
    """What is no film goes as early as a film."""
    receive(room, "of the north", "north", sop_class=SC)
    receive(room, "of the south", "south", sop_class=SC)
    close(room)
    rows = room.rows("SELECT site, priority FROM jobs JOIN studies ON studies.id = subject_id")
    assert {row["site"]: row["priority"] for row in rows} == {"north": 10, "south": 0}
