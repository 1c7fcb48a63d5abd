"""A film and a CT series through made-up systems: who is asked, who refuses, what the mean and the indicators get.

The real systems are in tests/models; from the wire to the PACS is tests/e2e.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread

from models.api import ImageInput, LungField, LungPart, RefusedInput, VolumeField, VolumeInput
from node.core import settings
from node.core.job import JobKind
from node.core.settings import Analysis
from node.db import jobs
from node.pipeline.analyse import Analyse
from node.pipeline.ensemble import NOTHING_COMMON
from node.pipeline.judge import NO_FOCUS, Judge, Stages
from node.pipeline.select import Taken, TakenSeries
from node.results.record import ImageOutcome, SeriesOutcome
from tests.films import Film, drawn, uid, wrap
from tests.pipeline.fakes import NO_WEIGHTS, Fake, FakeLungs, FakeRegistry, identities
from tests.pipeline.slices import Scan, scan, stored
from tests.pipeline.waiting import Room

WANTED = Analysis("lungs", "lungs", ("one", "second"), ("slices", "wholes"), ("blood",), True, "cpu", 3)
ABSENT = NO_WEIGHTS.format("blood")


def registry(**changed: Fake) -> FakeRegistry:
    """All systems of WANTED; one is replaced by name."""
    usual = {
        "lungs": Fake("lungs", "lungs"),
        "one": Fake("one", "film", 0.9),
        "second": Fake("second", "film", 0.7),
        "slices": Fake("slices", "ct", 0.9),
        "wholes": Fake("wholes", "ct", 0.6, whole=True),
        "blood": Fake("blood", "indicators"),
    }
    return FakeRegistry(*(usual | changed).values())


def film(folder: Path, systems: FakeRegistry, wanted: Analysis = WANTED) -> ImageOutcome:
    taken = Taken(stored(wrap(Film(drawn(1, 128), "judged")), folder), False, "a film")
    return Judge(systems, wanted, "0.1.0").film(taken, Stages())


def series(folder: Path, systems: FakeRegistry, wanted: Analysis = WANTED) -> SeriesOutcome:
    taken = TakenSeries(tuple(stored(ds, folder) for ds in scan(Scan())), "a series")
    outcome, repeated = Judge(systems, wanted, "0.1.0").series(taken, Stages())
    assert repeated == ()
    return outcome


def test_a_film_has_every_system_the_mean_and_the_indicators(tmp_path: Path) -> None:
    blood = Fake("blood", "indicators")
    outcome = film(tmp_path, registry(blood=blood))
    assert identities(outcome.predictions) == ["one", "second", "ensemble"]
    assert outcome.predictions[2].scores[1].probability == pytest.approx(0.8)
    assert [measured.quantities[0].value for measured in outcome.indicators] == [12.5]
    assert [len(lesions) for lesions in blood.seen] == [2], "the foci of both systems"  # type: ignore[arg-type]
    assert outcome.refusals == ()


def test_indicators_get_the_foci_of_those_that_decided_for_covid19_alone(tmp_path: Path) -> None:
    blood = Fake("blood", "indicators")
    film(tmp_path, registry(blood=blood, second=Fake("second", "film", 0.1)))
    assert [len(lesions) for lesions in blood.seen] == [1]  # type: ignore[arg-type]


def test_without_a_focus_nothing_is_measured_and_it_is_no_failure(tmp_path: Path) -> None:
    blood = Fake("blood", "indicators")
    normal = {name: Fake(name, "film", 0.1) for name in ("one", "second")}
    outcome = film(tmp_path, registry(blood=blood, **normal))
    assert blood.seen == [] and outcome.indicators == ()
    (refusal,) = outcome.refusals
    assert (refusal.system, refusal.reason, refusal.nothing_to_judge) == ("blood", NO_FOCUS, True)


@pytest.mark.parametrize("covid19", [0.1, 0.9])
def test_indicators_without_weights_say_so_and_spoil_nothing(covid19: float, tmp_path: Path) -> None:
    films = {name: Fake(name, "film", covid19) for name in ("one", "second")}
    outcome = film(tmp_path, registry(blood=Fake("blood", "indicators", ships=False), **films))
    (refusal,) = outcome.refusals
    assert refusal.reason == ABSENT and refusal.model is not None and not refusal.nothing_to_judge
    assert len(outcome.predictions) == 3


def test_the_mean_needs_two_systems_and_the_setting(tmp_path: Path) -> None:
    alone = film(tmp_path, registry(second=Fake("second", "film", refuses="It is upside down.")))
    assert identities(alone.predictions) == ["one"]
    off = film(tmp_path, registry(), dataclasses.replace(WANTED, ensemble=False))
    assert identities(off.predictions) == ["one", "second"]


def test_systems_without_common_classes_have_no_mean_and_a_sentence(tmp_path: Path) -> None:
    outcome = series(tmp_path, registry(wholes=Fake("wholes", "ct", negative="non_covid")))
    assert identities(outcome.predictions) == ["slices", "wholes"]
    (refusal,) = outcome.refusals
    assert refusal.reason == NOTHING_COMMON and refusal.nothing_to_judge


def test_a_series_has_every_system_and_the_mean(tmp_path: Path) -> None:
    systems = registry()
    outcome = series(tmp_path, systems)
    assert identities(outcome.predictions) == ["slices", "wholes", "ensemble"]
    assert outcome.predictions[2].scores[1].probability == pytest.approx(0.75)
    assert [header.SOPInstanceUID for header in outcome.headers] == list(outcome.volume.slice_uids)
    (volume,) = systems.load_ct_system("slices").seen
    assert volume is outcome.volume


def test_lungs_stand_in_the_images_as_they_are_stored(tmp_path: Path) -> None:
    """They are found in what the systems see, here with the columns turned round."""
    mirrored = scan(Scan(), ImageOrientationPatient=[-1, 0, 0, 0, 1, 0])
    taken = TakenSeries(tuple(stored(ds, tmp_path) for ds in mirrored), "a series")
    outcome, _ = Judge(registry(), WANTED, "0.1.0").series(taken, Stages())
    assert outcome.lungs is not None and outcome.lungs.parts.shape == outcome.volume.voxels.shape
    assert (outcome.lungs.parts[:, 20:30, -15:-5] == LungPart.RIGHT).all()
    assert (outcome.lungs.parts[:, 20:30, -50:-40] == LungPart.LEFT).all()


def test_a_series_without_lungs_is_judged_and_a_sentence_says_so(tmp_path: Path) -> None:
    class Blind(FakeLungs):
        def segment(self, volume: VolumeInput) -> VolumeField:
            raise RefusedInput("No lung was found.")

    systems = registry()
    systems.volume_segmenter = Blind  # type: ignore[method-assign]
    outcome = series(tmp_path, systems)
    assert outcome.lungs is None and len(outcome.predictions) == 3
    assert [(refusal.system, refusal.reason) for refusal in outcome.refusals] == [("ct-lungs", "No lung was found.")]


@pytest.mark.parametrize("whole", [True, False])
def test_a_heart_is_kept_where_the_whole_of_it_was_found(whole: bool, tmp_path: Path) -> None:
    class Seeing(Fake):
        def segment(self, image: ImageInput) -> LungField:
            heart = np.zeros(image.shape, np.bool_)
            heart[40:60, 40:60] = True
            return dataclasses.replace(super().segment(image), heart=heart, heart_is_whole=whole)

    outcome = film(tmp_path, registry(lungs=Seeing("lungs", "lungs")))
    assert (outcome.heart is not None) is whole and len(outcome.biomarkers) == 1


def test_a_ct_system_without_weights_is_a_refusal(tmp_path: Path) -> None:
    outcome = series(tmp_path, registry(wholes=Fake("wholes", "ct", ships=False)))
    assert identities(outcome.predictions) == ["slices"]
    assert [refusal.reason for refusal in outcome.refusals] == [NO_WEIGHTS.format("wholes")]


def test_a_series_that_no_system_judges_is_refused_with_every_sentence(tmp_path: Path) -> None:
    systems = registry(slices=Fake("slices", "ct", refuses="No lung."), wholes=Fake("wholes", "ct", ships=False))
    with pytest.raises(RefusedInput, match=r"^No lung\. No weights of wholes"):
        series(tmp_path, systems)


def test_an_error_of_ours_is_not_taken_for_a_refusal(tmp_path: Path) -> None:
    class Broken(Fake):
        def predict(self, given: object, lungs: object = None) -> object:  # type: ignore[override]
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        series(tmp_path, registry(slices=Broken("slices", "ct")))


class Ward(Room):
    """A room whose closed studies are analysed by made-up systems."""

    def analyse(self, systems: FakeRegistry, data_sets: list[Dataset]) -> str:
        """The study UID; every data set received, the study closed and analysed."""
        for ds in data_sets:
            study_uid = self.take(ds)
        self.clock.pass_by(100)
        assert self.close() == [study_uid]
        whole = dataclasses.replace(settings.load(), analysis=WANTED)
        with self.database.write() as session:
            job = jobs.claim(session, JobKind.ANALYSE, "w", "t", self.clock())
        assert job is not None
        Analyse(self.database, self.archive, systems, whole, "0.1.0", self.clock)(job)
        return study_uid


def test_a_ct_study_becomes_rows_and_objects(tmp_path: Path) -> None:
    room = Ward(tmp_path)
    data_sets = scan(Scan())
    room.analyse(registry(), data_sets)
    (analysis,) = room.rows("SELECT * FROM analyses")
    assert (analysis["outcome"], analysis["instances_used"], analysis["instances_left_out"]) == ("analysed", 6, 0)
    assert "model.slices" in json.loads(str(analysis["stage_seconds"]))
    found = room.rows("SELECT system, class, sop_uid, modality, decision FROM findings")
    assert {row["system"] for row in found} == {"slices", "wholes", "ensemble"} and len(found) == 6
    by_uid = {str(ds.SOPInstanceUID) for ds in data_sets}
    assert {row["sop_uid"] for row in found} <= by_uid and {row["modality"] for row in found} == {"CT"}
    (lesion,) = room.rows("SELECT * FROM lesions")
    assert lesion["sop_uid"] == data_sets[5].SOPInstanceUID and lesion["x_mm"] == pytest.approx(29.5 * 0.75)
    slices = room.rows("SELECT value FROM details WHERE name = 'slice.covid19' ORDER BY value")
    assert [row["value"] for row in slices] == pytest.approx([0.9 * n / 5 for n in range(6)])
    assert "a CT series of 6 slices used, 0 left out" in room.events()
    kinds = [row["kind"] for row in room.rows("SELECT kind FROM outputs WHERE kind IN ('sr', 'sc') ORDER BY id")]
    assert kinds == ["sr", "sc", "sc", "sc"], "two key slices of one system, one of the other"
    taken = room.rows("SELECT DISTINCT reason FROM selections WHERE taken")
    assert taken == [{"reason": "Axial CT series of 6 images."}]


def test_a_film_study_keeps_biomarkers_and_predicted_values_as_details(tmp_path: Path) -> None:
    room = Ward(tmp_path)
    room.analyse(registry(), [wrap(Film(drawn(1, 128), "judged"))])
    found = {(row["system"], row["name"]): row["value"] for row in room.rows("SELECT system, name, value FROM details")}
    assert found["lungs", "cardiothoracic_ratio"] == pytest.approx(0.48)
    assert found["blood", "crp"] == 12.5
    models = {row["system"] for row in room.rows("SELECT system FROM analysis_models WHERE outcome = 'predicted'")}
    assert models == {"lungs", "one", "second", "ensemble", "blood"}


def test_a_repeated_place_is_left_out_by_name(tmp_path: Path) -> None:
    room = Ward(tmp_path)
    data_sets = scan(Scan())
    again = scan(Scan("again", "scan"))[1]
    again.SeriesInstanceUID = data_sets[0].SeriesInstanceUID
    room.analyse(registry(), [*data_sets, again])
    (left,) = room.rows("SELECT sop_uid, reason FROM selections WHERE NOT taken")
    assert "at the same place" in str(left["reason"])


def test_a_scan_of_a_hand_is_answered_with_its_sentence(tmp_path: Path) -> None:
    room = Ward(tmp_path)
    room.analyse(registry(), scan(Scan(), BodyPartExamined="HAND"))
    (analysis,) = room.rows("SELECT outcome, reason FROM analyses")
    assert analysis["outcome"] == "refused" and "BodyPartExamined says HAND" in str(analysis["reason"])
    (report,) = room.rows("SELECT path FROM outputs")
    content = room.archive.path(str(report["path"])).read_bytes()
    assert b"6 images of series" in content and b"CT of chest" in content


def test_slices_with_almost_no_header_become_a_report(data_folder: Path, tmp_path: Path) -> None:
    room = Ward(tmp_path)
    room.analyse(registry(), [dcmread(data_folder / "dicom" / f"lungmask-ct-{n}.dcm") for n in range(2)])
    (analysis,) = room.rows("SELECT outcome, reason FROM analyses")
    assert analysis == {"outcome": "refused", "reason": "The series has 2 CT images; at least 3 are needed."}
    assert len(room.rows("SELECT id FROM outputs")) == 1


def test_three_slices_with_almost_no_header_are_judged(data_folder: Path, tmp_path: Path) -> None:
    """Neither Patient's Name nor Modality: what the header does not say is no reason to refuse."""
    room = Ward(tmp_path)
    data_sets = [dcmread(data_folder / "dicom" / f"lungmask-ct-{n}.dcm") for n in (0, 1, 1)]
    data_sets[2].SOPInstanceUID = data_sets[2].file_meta.MediaStorageSOPInstanceUID = uid("instance", "third")
    data_sets[2].ImagePositionPatient = [0, 0, 2]
    room.analyse(registry(), data_sets)
    (analysis,) = room.rows("SELECT outcome, reason, instances_used FROM analyses")
    assert analysis == {"outcome": "analysed", "reason": "", "instances_used": 3}
