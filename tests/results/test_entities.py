"""All objects of one study together: what they say of patient, study, series and frame of reference is the same.

dicom3tools' dcentvfy compares them, sources and results of several analyses. Its remark that Accession Number stands at
two levels is about the references to requests that a report is to hold (PS3.3 Table C.17-2). Not covered: what each
object says by itself (test_identity).
"""

from __future__ import annotations

import dataclasses
import functools
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydicom import Dataset

from node.core import settings
from node.results.build import MAKERS, build
from node.results.record import AnalysisRecord, BuiltObject, Predecessor
from tests.peers import program, run
from tests.results.hostile import WAYS, damaged
from tests.results.records import header, outcome, prediction
from tests.results.series import ct_record, of_series, series_outcome, slice_headers
from tests.results.test_objects import parsed

EVERYTHING = dataclasses.replace(settings.load().objects, kinds=tuple(MAKERS))
LATER = datetime(2024, 5, 7, 1, 2, 3, tzinfo=UTC)
KNOWN = "Different information entities for attribute - Element=<AccessionNumber> IE <Study> versus <Series>"


def study() -> list[Dataset]:
    """A film and a CT series of one study."""
    slices, film = slice_headers(), header("a film of the study")
    film.StudyInstanceUID = slices[0].StudyInstanceUID
    return [film, *slices]


def analysed(sources: list[Dataset], **changes: object) -> AnalysisRecord:
    """Two systems for the film, two that judge the slices."""
    film, *slices = sources
    films = (outcome(film, prediction(), prediction("cnncf-xr", 0.6)),)
    found = (of_series(slices, "bit-ct"), of_series(slices, "cnncf-ct"))
    return ct_record(
        slices, images=films, series=(series_outcome(slices, *found),), wanted=EVERYTHING, **changes
    )  # fmt: skip


@functools.cache
def usual() -> tuple[BuiltObject, ...]:
    return build(analysed(study()))


def compared(folder: Path, objects: list[Dataset]) -> list[str]:
    """What dcentvfy finds but for what is known."""
    paths = [folder / f"{number}.dcm" for number, _ in enumerate(objects)]
    for ds, path in zip(objects, paths, strict=True):
        ds.save_as(path, enforce_file_format=True)
    done = run([program("dcentvfy"), *paths])
    found = [line for line in done.text.splitlines() if line.strip() and KNOWN not in line]
    assert (done.code == 0) == (not any(line.startswith("Error") for line in found)), done.text
    return found


def read(objects: tuple[BuiltObject, ...]) -> list[Dataset]:
    return [parsed(built) for built in objects]


def test_results_and_sources_agree(tmp_path: Path) -> None:
    sources = study()
    made = build(analysed(sources))
    assert {built.kind for built in made} == {"sr", "regions", "sc", "stack", "page", "seg", "pr", "ko", "pm"}
    assert compared(tmp_path, [*sources, *read(made)]) == []


def test_later_analyses_join_the_series_of_earlier_ones(tmp_path: Path) -> None:
    """A report that takes the place of another, other software, another time: nothing of the series differs."""
    sources = study()
    first = build(analysed(sources))
    earlier = [Predecessor(b.kind, b.sop_class_uid, b.sop_instance_uid, b.series_instance_uid) for b in first[:2]]
    later = build(analysed(sources, started_at=LATER, predecessors=tuple(earlier)))
    newer = build(analysed(sources, started_at=LATER, software_version="0.2.0"))
    series = [{built.series_instance_uid for built in objects} for objects in (first, later, newer)]
    assert series[0] == series[1] == series[2]
    assert compared(tmp_path, read((*first, *later, *newer))) == []


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("way", ["too long", "control characters", "undecodable in ISO_IR 192"])
def test_results_of_a_hostile_header_agree(way: str, tmp_path: Path) -> None:
    damage, character_set = WAYS[way]
    sources = [damaged(ds, damage, character_set=character_set) for ds in study()]
    assert compared(tmp_path, read(build(analysed(sources)))) == []


@pytest.mark.parametrize(
    "keyword, value", [("PatientID", "ANOTHER"), ("PatientName", "Another"), ("SeriesDescription", "Another"),
                       ("StudyDate", "20200103")],
)  # fmt: skip
def test_what_does_not_agree_is_found(keyword: str, value: str, tmp_path: Path) -> None:
    made = read(usual())
    made.append(another(made[-1], keyword, value))
    assert any(line.startswith("Error") and keyword in line for line in compared(tmp_path, made))


def another(ds: Dataset, keyword: str, value: str) -> Dataset:
    """Another instance of the series that says something else."""
    other = ds.copy()
    other.file_meta = ds.file_meta.copy()
    other.SOPInstanceUID = other.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    setattr(other, keyword, value)
    return other
