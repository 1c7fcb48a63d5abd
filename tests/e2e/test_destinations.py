"""Destinations that are away, refuse, break off, take pictures alone, want pictures alone, or know another patient.

DCMTK's storescp and Orthanc. Not covered: single answers of a PACS (tests/pipeline, with a scripted peer), back-off
over hours.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import pytest
from pydicom import dcmread

from tests.e2e.conftest import QUICK, assert_no_marker
from tests.faults.struck import ANALYSIS, MODELS
from tests.films import CR, SC, Film, drawn, encoded, wrap
from tests.peers import LOOPBACK, Orthanc, Storescp, free_port, wait_until
from tests.sending import store
from tests.served import LungnodeProcess, lungnode

SECOND = "SECOND"


@pytest.fixture(scope="module")
def second_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def node(orthanc: Orthanc, second_port: int) -> Iterator[LungnodeProcess]:
    """A node of this module's own: its second destination is away at first. Any results will do."""
    second = f"{SECOND}@127.0.0.1:{second_port}"
    to = [orthanc.address, second]
    with LungnodeProcess(settings=QUICK + ANALYSIS, send_to=to, environment=MODELS) as running:
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


def test_an_operator_pauses_and_resumes_a_running_node(
    node: LungnodeProcess, orthanc: Orthanc, second_port: int
) -> None:
    second = f"{SECOND}@127.0.0.1:{second_port}"

    def steer(*arguments: str) -> str:
        done = lungnode("destinations", *arguments, "--data", node.data)
        assert done.code == 0, done.text
        return done.out

    with Storescp(port=second_port, aet=SECOND) as peer:
        steer("pause", second)
        film = _send(node, "paused", view="LL")
        wait_until(lambda: {row["state"] for row in _ledger(node, film, orthanc.aet)} == {"delivered"}, 60, "the other")
        assert peer.files() == [] and {row["attempts"] for row in _ledger(node, film, SECOND)} == {0}
        assert f"{second}  paused since" in steer("list") and "(paused since" in node.status(film.study_uid)
        assert "sent to again" in steer("resume", second)
        assert "deliveries wait again" in steer("retry", second, "--study", film.study_uid)
        node.wait_settled([film.study_uid], 30)
        assert {row["state"] for row in _ledger(node, film, SECOND)} == {"delivered"} and len(peer.files()) == 1
    assert lungnode("destinations", "pause", "NOBODY@nowhere:104", "--data", node.data).code == 2
    assert lungnode("destinations", "pause", second, "--study", "1.2", "--data", node.data).code == 2


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


class PictureArchive(Storescp):
    """A storescp that knows Secondary Capture alone: whatever else is proposed, it rejects the abstract syntax."""

    def start(self) -> Self:
        profile = self.folder / "pictures.cfg"
        profile.write_text(
            "[[TransferSyntaxes]]\n[Plain]\nTransferSyntax1 = LittleEndianExplicit\n"
            "TransferSyntax2 = LittleEndianImplicit\n"
            "[[PresentationContexts]]\n[Pictures]\n"
            "PresentationContext1 = SecondaryCaptureImageStorage\\Plain\n"
            "[[Profiles]]\n[Pictures]\nPresentationContexts = Pictures\n"
        )
        self.accepts = ("-xf", profile, "Pictures")
        return super().start()


@dataclass(frozen=True)
class Ward:
    """A node with an Orthanc that is asked by C-FIND and has to commit, the same one asked by QIDO-RS, an archive that
    takes pictures alone, and one that is sent heat maps alone."""

    node: LungnodeProcess
    orthanc: Orthanc
    picky: PictureArchive
    modest: Storescp

    @property
    def by_web(self) -> str:
        return f"{self.orthanc.aet}@localhost:{self.orthanc.dicom_port}"


@pytest.fixture(scope="module")
def ward(orthanc: Orthanc) -> Iterator[Ward]:
    with PictureArchive(aet="PICKY") as picky, Storescp(aet="MODEST") as modest:
        qido = f"http://{LOOPBACK}:{orthanc.http_port}/dicom-web"
        settings = (
            QUICK
            + f"""
[analysis]
systems = ["cxnet"]
ct_systems = []
indicators = []
biomarkers = ""

[destinations."{orthanc.address}"]
identity_check = "c-find"
commit = true
[destinations."{orthanc.aet}@localhost:{orthanc.dicom_port}"]
identity_check = "{qido}"
kinds = ["summary"]
[destinations."{picky.address}"]
[destinations."{modest.address}"]
kinds = ["heat-maps"]
"""
        )
        with LungnodeProcess("--aet", "LUNGWARD", settings=settings) as node:
            orthanc.know("ward", "LUNGWARD", node.dicom_port)  # of its own: it is told there what was committed
            yield Ward(node, orthanc, picky, modest)


def test_each_destination_gets_what_its_table_says(ward: Ward) -> None:
    film = _send(ward.node, "each its own")
    ward.node.wait_settled([film.study_uid])
    owed = {aet: _kinds(ward.node, film, aet) for aet in ("ORTHANC@127", "ORTHANC@localhost", "PICKY", "MODEST")}
    assert owed["MODEST"] == {"sc": "delivered"} and owed["ORTHANC@localhost"] == {"sr": "delivered"}
    assert {"sr", "regions", "sc"} <= set(owed["ORTHANC@127"]) and set(owed["ORTHANC@127"].values()) == {"delivered"}
    committed = {row["committed_at"] is not None for row in _ledger(ward.node, film, "ORTHANC@127")}
    assert committed == {True} and not any(row["committed_at"] for row in _ledger(ward.node, film, "MODEST"))
    got = [dcmread(path) for path in ward.modest.files()]
    assert [(ds.SOPClassUID, ds.StudyInstanceUID) for ds in got] == [(SC, film.study_uid)]


def test_an_archive_of_pictures_gets_the_page_and_the_next_study_goes_straight(ward: Ward) -> None:
    first = _send(ward.node, "pictures alone")
    ward.node.wait_settled([first.study_uid])
    owed = _kinds(ward.node, first, "PICKY")
    assert (owed["sr"], owed["regions"], owed["sc"], owed["page"]) == ("replaced", "replaced", "delivered", "delivered")
    assert _of_study(ward.picky, first) == {SC: 2}, "a heat map and the page"
    assert f"in another form for {ward.picky.address}" in ward.node.status(first.study_uid)
    said = lungnode("destinations", "--data", ward.node.data)
    assert said.code == 0 and f"{ward.modest.address}  refused nothing" in said.out
    assert {line.split("does not take ")[1] for line in said.out.splitlines() if "does not take" in line} == {
        "Comprehensive 3D SR Storage", "Comprehensive SR Storage", "Enhanced SR Storage",
    }  # fmt: skip

    second = _send(ward.node, "pictures alone again", view="LL")  # a report alone, whose association is all rejected
    ward.node.wait_settled([second.study_uid])
    assert _of_study(ward.picky, second) == {SC: 1}, "the page"
    assert all(row["attempts"] == 0 for row in _ledger(ward.node, second, "PICKY") if row["state"] == "replaced")

    forgotten = lungnode("destinations", "forget", ward.picky.address, "--data", ward.node.data)
    assert forgotten.code == 0 and "3 refused SOP classes forgotten" in forgotten.out
    assert lungnode("destinations", "forget", "NOBODY@nowhere:104", "--data", ward.node.data).code == 2


def test_a_study_of_another_patient_there_is_held_and_one_of_the_same_is_sent(ward: Ward) -> None:
    """Orthanc has the study before its results come, once as the node has it and once under another patient."""
    same, mixed = (Film(drawn(50, 256), f"known {name}", sop_class=CR, view="LL") for name in ("same", "mixed"))
    edited = dataclasses.replace(mixed, identity=dataclasses.replace(mixed.identity, patient_id="EDITEDTHERE"))
    assert store(ward.orthanc.dicom_port, [encoded(wrap(same)), encoded(wrap(edited))]) == [0x0000] * 2
    assert store(ward.node.dicom_port, [encoded(wrap(same)), encoded(wrap(mixed))]) == [0x0000] * 2
    ward.node.wait_settled([same.study_uid, mixed.study_uid])
    for aet in ("ORTHANC@127", "ORTHANC@localhost"):
        assert {(row["state"], row["comment"]) for row in _ledger(ward.node, same, aet)} == {("delivered", "")}
        assert {(row["state"], row["comment"]) for row in _ledger(ward.node, mixed, aet)} == {
            ("failed", "Held: The destination knows the study with another PatientID.")
        }
    assert [ds.SOPClassUID for ds in ward.orthanc.datasets(mixed.study_uid)] == [CR], "no result beside the film"
    assert "is held" in ward.node.status(mixed.study_uid)
    assert "EDITEDTHERE" not in ward.node.status(mixed.study_uid) + ward.node.logged()
    assert_no_marker(ward.node.logged(), "the logs")


def _kinds(node: LungnodeProcess, film: Film, aet: str) -> dict[str, str]:
    """Kind of output -> how its delivery ended; of reports that were said in several forms, the first."""
    found: dict[str, str] = {}
    for row in _ledger(node, film, aet):
        (output,) = node.rows("SELECT kind FROM outputs WHERE id = ?", row["output_id"])
        found.setdefault(output["kind"], str(row["state"]))
    return found


def _of_study(archive: Storescp, film: Film) -> Counter[str]:
    """SOP class -> instances of the study that the archive holds."""
    read = [dcmread(path, stop_before_pixels=True) for path in archive.files()]
    return Counter(str(ds.SOPClassUID) for ds in read if ds.StudyInstanceUID == film.study_uid)


def _send(node: LungnodeProcess, name: str, view: str = "PA") -> Film:
    film = Film(drawn(50, 256), f"destinations {name}", sop_class=CR, view=view)
    assert store(node.dicom_port, [encoded(wrap(film))]) == [0x0000]
    return film


def _outputs(node: LungnodeProcess, film: Film) -> list[str]:
    """Those that a destination is owed; the page is kept."""
    rows = node.rows(
        "SELECT sop_uid FROM outputs JOIN analyses ON analyses.id = analysis_id"
        " JOIN studies ON studies.id = study_id WHERE study_uid = ?"
        " AND outputs.id IN (SELECT output_id FROM deliveries)",
        film.study_uid,
    )
    return [row["sop_uid"] for row in rows]


def _ledger(node: LungnodeProcess, film: Film, aet: str) -> list[dict[str, object]]:
    rows = node.rows(
        "SELECT deliveries.* FROM deliveries JOIN outputs ON outputs.id = output_id"
        " JOIN analyses ON analyses.id = analysis_id JOIN studies ON studies.id = study_id"
        " WHERE study_uid = ? AND destination LIKE ?",
        film.study_uid,
        f"{aet}%",
    )
    return [dict(row) for row in rows]
