"""``lungnode select``: a stored study, or files, and what every rule would do to them; nothing is written anywhere.

The command runs within the test's process, but for one call of each kind. Not covered: the rules one by one
(tests/film, tests/pipeline). The node here has no worker; that an analysis agrees with what is foreseen is in
tests/pipeline/test_trial.py.
"""

from __future__ import annotations

import contextlib
import io
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset

from node import cli
from tests.e2e.conftest import QUICK, assert_no_marker
from tests.films import Film, drawn, encoded, uid, wrap, write
from tests.peers import Ran, wait_until
from tests.pipeline.slices import Scan, change, scan
from tests.sending import store
from tests.served import LungnodeProcess, lungnode

STUDY = uid("study", "dry run")
OLDER = "[image.age]\nyears = 200\n"
OWN = '[image.view]\nsentence = "It is no frontal film: {value}."\n'


def study() -> list[Dataset]:
    """A frontal film, a lateral, one of a knee, the frontal once more; a chest CT with a localizer, and a thick one."""
    frontal = Film(drawn(3, 128), "frontal", "dry run")
    lateral = Film(drawn(4, 128), "lateral", "dry run", view="LL")
    knee = Film(drawn(5, 128), "knee", "dry run", body_part="KNEE")
    again = Film(drawn(3, 128), "again", "dry run")
    thin = scan(Scan("thin", "dry run", 6))
    change(thin[0], ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    thick = scan(Scan("thick", "dry run", 4))
    return [*map(wrap, (frontal, lateral, knee, again)), *thin, *thick]


@pytest.fixture(scope="module")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LungnodeProcess]:
    """It stores the study and analyses nothing. Its own rules are changed once it runs, which changes nothing."""
    rules = tmp_path_factory.mktemp("site") / "rules.toml"
    rules.write_text(OWN)
    settings = f'{QUICK}\n[analysis]\nselection = "{rules}"\n'
    with LungnodeProcess("--workers", "0", settings=settings) as running:
        assert set(store(running.dicom_port, [encoded(ds) for ds in study()])) == {0x0000}
        rules.write_text(OLDER)
        yield running


def select(*arguments: str | Path) -> Ran:
    """``lungnode select`` within this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli.main(["select", *map(str, arguments)])
    return Ran(code, out.getvalue(), err.getvalue())


def asked(receiver: LungnodeProcess, *arguments: str | Path) -> list[dict[str, Any]]:
    return parsed(select(STUDY, "--data", receiver.data, "--format", "json", *arguments))


def parsed(ran: Ran) -> list[dict[str, Any]]:
    assert ran.code == 0, ran.text
    found: list[dict[str, Any]] = json.loads(ran.out)
    return found


def by_rule(found: list[dict[str, Any]]) -> dict[str, int]:
    """Images by the rule that leaves them out; "" for those that are taken."""
    counts: dict[str, int] = {}
    for one in found:
        assert one["taken"] == (one["rule"] == "") and one["sentence"].endswith(".")
        counts[one["rule"]] = counts.get(one["rule"], 0) + one["images"]
    return counts


EXPECTED = {"": 1 + 5, "view": 1, "body-part": 1, "duplicate": 1, "localizer": 1, "choice": 4}


def test_each_image_has_its_verdict(receiver: LungnodeProcess) -> None:
    """By the rules that the node was started with."""
    found = asked(receiver)
    assert by_rule(found) == EXPECTED
    films = {one["sop_instance_uid"]: one for one in found if one["modality"] == "DX"}
    assert films[uid("instance", "frontal")]["taken"] != films[uid("instance", "again")]["taken"]
    assert films[uid("instance", "lateral")]["sentence"] == "It is no frontal film: LL."
    assert {one["study_uid"] for one in found} == {STUDY}
    series = {one["series_uid"]: one for one in found if one["modality"] == "CT" and one["images"] > 1}
    assert series[uid("series", "thin")]["sentence"] == "Axial CT series of 5 images, chosen of 2."
    assert "covers" in series[uid("series", "thick")]["sentence"]


def test_the_table_says_the_same_and_names_nobody(receiver: LungnodeProcess) -> None:
    table = lungnode("select", STUDY, "--data", receiver.data)
    assert table.code == 0, table.text
    for one in asked(receiver):
        (line,) = [line for line in table.out.splitlines() if one["series_uid"] in line and one["sentence"] in line]
        assert one["rule"] in line
    assert_no_marker(table.text + json.dumps(asked(receiver)), "the answers of select")


def test_other_rules_are_tried_without_a_change(receiver: LungnodeProcess, tmp_path: Path) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text(OLDER)
    assert by_rule(asked(receiver, "--rules", rules))["age"] == 2 + 5 + 4, "all that came so far"
    config = tmp_path / "node.toml"
    config.write_text(f'[analysis]\nselection = "{rules}"\nct_systems = []\n')
    counts = by_rule(asked(receiver, "--config", config))
    assert counts["age"] == 2 and counts["ct-unread"] == 10
    assert by_rule(asked(receiver)) == EXPECTED


def test_nothing_is_written(receiver: LungnodeProcess) -> None:
    def everything() -> tuple[list[str], set[tuple[str, int]]]:
        with sqlite3.connect(f"file:{receiver.data / 'lungnode.sqlite'}?mode=ro", uri=True) as database:
            rows = list(database.iterdump())
        files = {(str(path), path.stat().st_mtime_ns) for path in receiver.data.rglob("*.dcm")}
        return rows, files

    receiver_is_at_rest(receiver)
    before = everything()
    asked(receiver)
    assert everything() == before


def receiver_is_at_rest(receiver: LungnodeProcess) -> None:
    """The study is closed, its job waits for a worker that does not come, and its texts were read for queries."""
    wait_until(lambda: bool(receiver.rows("SELECT 1 FROM jobs WHERE kind = 'analyse'")), 30, "the study is closed")
    series = "SELECT 1 FROM series_keys"
    count = len({one["series_uid"] for one in asked(receiver)})
    wait_until(lambda: len(receiver.rows(series)) == count, 60, "every series was read for queries")


def test_files_that_nobody_stores(tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    for ds in study():
        write(ds, folder)
    (folder / "notes.txt").write_text("Zebramarker")
    (folder / "copy.dcm").write_bytes((folder / f"{uid('instance', 'frontal')}.dcm").read_bytes())
    ran = lungnode("select", "--files", folder, "--format", "json")
    assert by_rule(parsed(ran)) == {**EXPECTED, "unreadable": 1, "repeated": 1}
    assert_no_marker(ran.text, "the answer of select")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["files"], "nothing is stored"


def test_real_files(data_folder: Path) -> None:
    """One real film in two files, slices without headers, a perfusion map, a child by its header."""
    found = parsed(select("--files", data_folder / "dicom", "--format", "json"))
    counts = by_rule(found)
    assert counts[""] == 1 and counts["reformatted"] == 1 and counts["age"] == 1 and counts["few-images"] == 2
    (taken,) = [one for one in found if one["taken"]]
    assert taken["modality"] == "CR" and "The age of the patient is not stated" in taken["remarks"]


def test_a_card_s_age_is_told(receiver: LungnodeProcess, tmp_path: Path) -> None:
    young = write(change(wrap(Film(drawn(3, 128), "young")), PatientAge="015Y"), tmp_path)
    rules = tmp_path / "rules.toml"
    rules.write_text("[image.age]\nyears = 0\n")
    (one,) = parsed(select("--files", young, "--rules", rules, "--format", "json"))
    assert (one["rule"], one["taken"]) == ("card", False)
    assert "The patient is younger than 16 years, from which on cxnet judges patients." in one["sentence"]


@pytest.mark.parametrize(
    "arguments, code, told",
    [
        (["1.2.3", "--data", "DATA"], 1, "no study 1.2.3 is stored"),
        ([], 2, "STUDY_UID --data DIR, or --files"),
        (["1.2.3"], 2, "STUDY_UID --data DIR, or --files"),
        (["1.2.3", "--data", "DATA", "--files", "DATA"], 2, "STUDY_UID --data DIR, or --files"),
        (["--files", "nowhere.dcm"], 2, "no file or folder"),
        (["1.2.3", "--data", "nowhere"], 2, "holds no lungnode database"),
        ([STUDY, "--data", "DATA", "--rules", "nowhere.toml"], 2, "nowhere.toml"),
    ],
)
def test_what_cannot_be_answered(arguments: list[str], code: int, told: str, receiver: LungnodeProcess) -> None:
    ran = select(*[str(receiver.data) if word == "DATA" else word for word in arguments])
    assert (ran.code, ran.out) == (code, "") and told in ran.err and "Traceback" not in ran.err


def test_a_node_with_rules_that_cannot_be_understood_does_not_start(tmp_path: Path) -> None:
    rules, config = tmp_path / "rules.toml", tmp_path / "node.toml"
    rules.write_text("[image.age]\nyear = 3\n")
    config.write_text(f'[analysis]\nselection = "{rules}"\n')
    ran = lungnode("serve", "--data", tmp_path / "data", "--config", config, "--dicom-port", "0", "--http-port", "0")
    assert ran.code == 2 and "[image.age] knows no year" in ran.err and "Traceback" not in ran.err
