"""A chest CT goes in by C-STORE and comes back to the PACS as a report, key-slice heat maps and a segmentation.

Two studies: a drawn thorax, and the slices of a real COVID-19 CT (8-bit, mapped back to Hounsfield units). Not covered:
whether what the models say is right, and selection rule by rule (tests/pipeline).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom import Dataset
from pydicom.uid import SegmentationStorage

from tests.e2e.conftest import assert_no_marker
from tests.e2e.reading import SC, SR, of_class, probabilities, saved, texts
from tests.films import encoded
from tests.peers import Orthanc, dciodvfy, storescu
from tests.pipeline.slices import Scan, scan, thorax
from tests.sending import store
from tests.served import LungnodeProcess


@dataclass(frozen=True)
class SentSeries:
    slices: list[Dataset]
    results: list[Dataset]

    @property
    def study_uid(self) -> str:
        return str(self.slices[0].StudyInstanceUID)

    @property
    def report(self) -> Dataset:
        (report,) = of_class(self.results, SR)
        return report


def _answered(node: LungnodeProcess, orthanc: Orthanc, slices: list[Dataset]) -> SentSeries:
    study = str(slices[0].StudyInstanceUID)
    node.wait_settled([study], 240)
    return SentSeries(slices, orthanc.datasets(study))


@pytest.fixture(scope="module")
def drawn_ct(node: LungnodeProcess, orthanc: Orthanc) -> SentSeries:
    slices = scan(Scan("ct drawn", voxels=thorax(24, 128)))
    assert set(store(node.dicom_port, [encoded(ds) for ds in slices])) == {0x0000}
    return _answered(node, orthanc, slices)


@pytest.fixture(scope="module")
def real_ct(
    node: LungnodeProcess, orthanc: Orthanc, data_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> SentSeries:
    files = sorted((data_folder / "ct_volume_covid").glob("*.jpg"))
    grey = np.stack([np.asarray(Image.open(file).convert("L"), dtype=np.float32) for file in files])
    slices = scan(Scan("ct real", voxels=(grey / 255 * 1500 - 1350).astype(np.int16)))
    folder = tmp_path_factory.mktemp("ct")
    for ds in slices:
        ds.save_as(folder / f"{ds.SOPInstanceUID}.dcm", enforce_file_format=True)
    ran = storescu(node.dicom_port, [folder])
    assert ran.code == 0, ran.text
    return _answered(node, orthanc, slices)


@pytest.fixture(params=["drawn_ct", "real_ct"])
def sent(request: pytest.FixtureRequest) -> SentSeries:
    found: SentSeries = request.getfixturevalue(request.param)
    return found


def test_the_report_has_the_classes_of_bit_and_the_sentence_of_cnncf(node: LungnodeProcess, sent: SentSeries) -> None:
    records = node.query("--study", sent.study_uid)
    assert {record["system"] for record in records} == {"bit-ct"}
    assert {record["class"] for record in records} == {"non_covid", "covid19"}
    assert len(probabilities(sent.report)) == 2
    assert "cnncf-ct" in texts(sent.report) and "No weights of cnncf-ct ship" in texts(sent.report)


def test_key_slices_come_back_over_the_slices_they_show(sent: SentSeries, tmp_path: Path) -> None:
    maps = of_class(sent.results, SC)
    assert 1 <= len(maps) <= 5
    sources = {str(ds.SOPInstanceUID): ds for ds in sent.slices}
    for ds in maps:
        source = sources[str(ds.SourceImageSequence[0].ReferencedSOPInstanceUID)]
        assert (ds.Rows, ds.Columns) == (source.Rows, source.Columns)
        assert ds.PatientID == source.PatientID and ds.StudyInstanceUID == source.StudyInstanceUID
    assert len({str(ds.SeriesInstanceUID) for ds in maps}) == 1


def test_the_lungs_come_back_as_a_segmentation_of_the_series(sent: SentSeries) -> None:
    (ds,) = of_class(sent.results, SegmentationStorage)
    labels = [item.SegmentLabel for item in ds.SegmentSequence]
    assert labels[:2] == ["Right lung", "Left lung"] and all("focus" in label for label in labels[2:])
    assert ds.FrameOfReferenceUID == sent.slices[0].FrameOfReferenceUID
    first, *_ = ds.PerFrameFunctionalGroupsSequence
    (source,) = first.DerivationImageSequence[0].SourceImageSequence
    (slice_,) = [one for one in sent.slices if one.SOPInstanceUID == source.ReferencedSOPInstanceUID]
    assert first.PlanePositionSequence[0].ImagePositionPatient == slice_.ImagePositionPatient
    inside = slice_.pixel_array[ds.pixel_array[0] > 0]
    assert np.median(inside) - 1024 < -700, "what is marked has the density of lung"


def test_validators_find_no_error_and_logs_no_name(node: LungnodeProcess, sent: SentSeries, tmp_path: Path) -> None:
    for ds in sent.results:
        assert dciodvfy(saved(ds, tmp_path)) == []
    assert_no_marker(node.logged(), "the logs")
