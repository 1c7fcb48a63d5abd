"""Parametric maps: the numbers of the heat come back in their place in the patient, with what they mean.

Records are made up. Identity and times are in test_identity, the way through Orthanc in test_seg. Not covered: what a
viewer shows.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset

from node.results import parametric
from node.results.record import AnalysisRecord
from tests.films import uid
from tests.peers import dciodvfy
from tests.results.records import record
from tests.results.series import KEYS, ct_record, of_series, series_outcome, slice_headers
from tests.results.test_objects import digests, parsed

PRONE = [-1, 0, 0, 0, -1, 0]


def written(made: AnalysisRecord) -> list[Dataset]:
    return [parsed(built) for built in parametric.maps(made)]


def with_heat(headers: list[Dataset]) -> AnalysisRecord:
    """A system with heat that no symmetry explains on every slice, two of which are key slices."""
    said = of_series(headers, "bit-ct")
    chance = np.random.default_rng(2)
    slices = [dataclasses.replace(one, heat=chance.random((96, 96), np.float32)) for one in said.slices]
    said = dataclasses.replace(said, slices=tuple(slices))
    return ct_record(headers, series=(series_outcome(headers, said),))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"ImageOrientationPatient": PRONE},
        {"PixelSpacing": [0.5, 1.25]},
        {"SliceThickness": None},
        {"SliceThickness": [1, 2]},
    ],
    ids=["axial", "prone", "oblong", "no thickness", "two thicknesses"],
)
def test_numbers_come_back_on_their_slices(changes: dict[str, object], tmp_path: Path) -> None:
    headers = slice_headers(**changes)
    made = with_heat(headers)
    (built,) = parametric.maps(made)
    path = tmp_path / "pm.dcm"
    path.write_bytes(built.content)
    assert dciodvfy(path) == []
    ds = parsed(built)
    slices = made.series[0].predictions[0].slices
    assert np.array_equal(ds.pixel_array, np.stack([slices[key].heat for key in KEYS]))
    for groups, key in zip(ds.PerFrameFunctionalGroupsSequence, KEYS, strict=True):
        (source,) = groups.DerivationImageSequence[0].SourceImageSequence
        assert source.ReferencedSOPInstanceUID == headers[key].SOPInstanceUID
        assert groups.PlanePositionSequence[0].ImagePositionPatient == headers[key].ImagePositionPatient
    (shared,) = ds.SharedFunctionalGroupsSequence
    orientation = shared.PlaneOrientationSequence[0].ImageOrientationPatient
    assert orientation == headers[0].ImageOrientationPatient
    assert shared.PixelMeasuresSequence[0].PixelSpacing == headers[0].PixelSpacing
    assert ds.FrameOfReferenceUID == headers[0].FrameOfReferenceUID


def test_the_numbers_say_what_they_mean() -> None:
    (ds, _) = written(ct_record())
    (shared,) = ds.SharedFunctionalGroupsSequence
    (meaning,) = shared.RealWorldValueMappingSequence
    assert (meaning.RealWorldValueSlope, meaning.RealWorldValueIntercept) == (1, 0)
    assert meaning.MeasurementUnitsCodeSequence[0].CodeValue == "1"
    assert meaning.QuantityDefinitionSequence[0].ConceptCodeSequence[0].CodeValue == "130403"
    assert meaning.LUTExplanation == "Where bit-ct looked for covid19"
    assert ds.ContentQualification == "RESEARCH" and "not for diagnosis" in ds.SeriesDescription


def test_each_system_with_key_slices_has_a_map_of_them() -> None:
    """The mean of the systems has no heat of its own."""
    maps = written(ct_record())
    assert [ds.get("NumberOfFrames") for ds in maps] == [2, 1]
    assert [ds.InstanceNumber for ds in maps] == [1, 2]
    assert len({ds.SeriesInstanceUID for ds in maps}) == 1 and len({ds.SOPInstanceUID for ds in maps}) == 2


def test_the_bytes_repeat() -> None:
    assert digests(tuple(parametric.maps(ct_record()))) == digests(tuple(parametric.maps(ct_record())))


def test_two_series_of_one_study_give_two_objects() -> None:
    other = slice_headers(SeriesInstanceUID=uid("series", "another"))
    made = [next(iter(parametric.maps(ct_record(headers)))) for headers in (slice_headers(), other)]
    assert made[0].sop_instance_uid != made[1].sop_instance_uid


def test_films_and_slices_without_a_place_have_none() -> None:
    assert written(record()) == []
    for missing in ("FrameOfReferenceUID", "PixelSpacing"):
        assert written(ct_record(slice_headers(**{missing: None}))) == []
